"""`query` by DuckDB over a small local lake: answers, forms, named queries, and what is refused."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_app.cli import main
from batch_app.query.named import read_named
from streaming_app.demo.proof import QUERY
from streaming_app.sink.layout import clean_schema
from tests.audit_lake import REPOSITORY, LakeBuilder
from tests.query_lake import write_dead_letters, write_orders

QUERIES = str(REPOSITORY / "conf/queries")


@pytest.fixture
def lake(tmp_path, orders):
    write_orders(tmp_path / "lake", orders)
    write_dead_letters(tmp_path / "lake")
    return LakeBuilder(str(tmp_path / "lake"), orders).config_file(tmp_path)


def ask(capfdbinary, config, *arguments: str, code: int = 0) -> str:
    assert main(["query", "--config", config, "--queries", QUERIES, *arguments]) == code
    captured = capfdbinary.readouterr()
    return (captured.out if code == 0 else captured.err).decode()


def rows(capfdbinary, config, *arguments: str) -> list[dict]:
    return json.loads(ask(capfdbinary, config, *arguments, "--json"), parse_float=Decimal)


def test_question_of_the_design_is_answered_by_sql_and_by_name(lake, capfdbinary):
    expected = [
        {"input_source": "stream", "total_orders": 2, "revenue": Decimal("30.50"), "avg_ticket_size": Decimal("15.25")},
        {"input_source": "batch", "total_orders": 2, "revenue": Decimal("5.50"), "avg_ticket_size": Decimal("2.75")},
    ]
    assert rows(capfdbinary, lake, f"{QUERY} ORDER BY 1 DESC") == expected
    assert rows(capfdbinary, lake, "--named", "sales_by_input_source") == expected


def test_named_queries_answer_what_their_names_say(lake, capfdbinary):
    assert rows(capfdbinary, lake, "--named", "revenue_by_city_and_day") == [
        {"order_date": "2026-03-02", "city": "Jakarta", "orders": 1, "revenue": Decimal("4.50")},
        {"order_date": "2026-03-01", "city": "Bandung", "orders": 1, "revenue": Decimal("20.50")},
        {"order_date": "2026-03-01", "city": "Jakarta", "orders": 1, "revenue": Decimal("10.00")},
        {"order_date": "1969-12-31", "city": None, "orders": 1, "revenue": Decimal("1.00")},
    ]
    assert rows(capfdbinary, lake, "--named", "top_items") == [
        {"item": "Café", "sold": 2, "orders": 1, "revenue": Decimal("20.50")},
        {"item": "Tea", "sold": 5, "orders": 3, "revenue": Decimal("15.50")},
    ]
    hours = rows(capfdbinary, lake, "--named", "average_ticket_by_hour")
    assert [(row["order_hour"], row["orders"], row["avg_ticket_size"]) for row in hours] == [
        (9, 2, Decimal("15.25")),
        (23, 2, Decimal("2.75")),
    ]
    reasons = rows(capfdbinary, lake, "--named", "dead_letters_by_reason")
    assert [(row["reason"], row["dead_letters"]) for row in reasons] == [
        ("city.in_set", 2),
        ("invalid_json", 1),
        ("amount.positive", 1),
    ]
    freshness = rows(capfdbinary, lake, "--named", "freshness")
    assert [row["newest_order"] for row in freshness] == ["2026-03-01T09:59:59.999999", "2026-03-02T23:00:00"]
    assert all(row["age_seconds"] > 0 for row in freshness)


def test_every_shipped_query_is_described_and_listed(lake, capfdbinary):
    found = rows(capfdbinary, lake, "--list")
    assert [row["name"] for row in found] == sorted(read_named(QUERIES))
    assert len(found) == 6
    assert all(row["description"] for row in found)


def test_named_queries_are_views_that_other_sql_can_use(lake, capfdbinary):
    answer = rows(capfdbinary, lake, "SELECT item FROM top_items WHERE sold > 4")
    assert answer == [{"item": "Tea"}]


def test_times_before_1970_microseconds_and_unicode_are_exact(lake, capfdbinary):
    answer = rows(capfdbinary, lake, "SELECT order_ts, city, item FROM clean WHERE order_date < DATE '1970-01-01'")
    assert answer == [{"order_ts": "1969-12-31T23:59:59.000001", "city": None, "item": "Tea"}]
    assert "Café" in ask(capfdbinary, lake, "SELECT item FROM clean", "--format", "csv")


def test_conditions_on_times_are_in_utc_without_a_zone(lake, tmp_path, capfdbinary, orders):
    old = next((tmp_path / "lake").rglob("part-o1.parquet"))
    row = {"order_id": "o9", "source_position": "o9", "order_ts": datetime(2026, 3, 1, 12, tzinfo=UTC)}
    more = pa.Table.from_pylist([row], schema=clean_schema(orders))
    pq.write_table(pa.concat_tables([pq.ParquetFile(old).read(), more]), old)  # statistics of more than one value
    sql = "SELECT order_id FROM clean WHERE order_ts >= TIMESTAMP '2026-03-01 09:59:59.999999' AND order_date = DATE '2026-03-01'"
    assert rows(capfdbinary, lake, sql + " ORDER BY 1") == [{"order_id": "o2"}, {"order_id": "o9"}]
    types = "SELECT DISTINCT typeof(order_ts) a, typeof(ingested_at) b FROM clean"
    assert rows(capfdbinary, lake, types) == [{"a": "TIMESTAMP", "b": "TIMESTAMP"}]


def test_column_that_old_files_do_not_have_is_null_in_them(lake, tmp_path, capfdbinary, orders):
    old = next((tmp_path / "lake").rglob("part-o1.parquet"))
    pq.write_table(pq.ParquetFile(old).read().drop_columns(["city"]), old)
    answer = rows(capfdbinary, lake, "SELECT order_id, city FROM clean WHERE input_source = 'stream' ORDER BY 1")
    assert answer == [{"order_id": "o1", "city": None}, {"order_id": "o2", "city": "Bandung"}]


def test_lake_without_any_row_gives_no_rows(tmp_path, orders, capfdbinary):
    config = LakeBuilder(str(tmp_path / "lake"), orders).config_file(tmp_path)
    assert rows(capfdbinary, config, "--named", "sales_by_input_source") == []
    assert rows(capfdbinary, config, "SELECT COUNT(*) n FROM dead_letter") == [{"n": 0}]


def test_forms_hold_the_same_rows(lake, tmp_path, capfdbinary):
    sql = "SELECT order_id, amount, city FROM clean ORDER BY order_id"
    text = ask(capfdbinary, lake, sql, "--format", "csv")
    assert list(csv.DictReader(io.StringIO(text)))[1] == {"order_id": "o2", "amount": "20.50", "city": "Bandung"}
    file = tmp_path / "answer.parquet"
    ask(capfdbinary, lake, sql, "--format", "parquet", "--output", str(file))
    assert pq.read_table(file).to_pylist()[1] == {"order_id": "o2", "amount": Decimal("20.50"), "city": "Bandung"}
    table = ask(capfdbinary, lake, sql)
    assert "20.50" in table
    assert "4 rows" in table
    assert json.loads(
        ask(capfdbinary, lake, "SELECT reasons FROM dead_letter WHERE dead_letter_id = 'b'", "--json")
    ) == [{"reasons": ["city.in_set", "amount.positive"]}]
    assert '"[""city.in_set""]"' in ask(capfdbinary, lake, "SELECT reasons FROM dead_letter", "--format", "csv")


def test_limit_cuts_every_form_and_the_table_says_so(lake, capfdbinary):
    sql = "SELECT order_id FROM clean ORDER BY 1"
    assert rows(capfdbinary, lake, sql, "--limit", "3") == [{"order_id": f"o{n}"} for n in (1, 2, 3)]
    assert "the first 2 rows" in ask(capfdbinary, lake, sql, "--limit", "2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["DELETE FROM clean"], "write one SELECT"),
        (["COPY clean TO 'x.csv'"], "write one SELECT"),
        (["SELECT 1; SELECT 2"], "write one SELECT"),
        ([""], "write one SELECT"),
        (["SELECT nonsense FROM clean"], "nonsense"),
        (["SELEC 1"], "syntax error"),
        (["SELECT * FROM '/etc/passwd'"], "cannot be run"),
        (["SELECT * FROM read_csv('/etc/passwd')"], "cannot be run"),
        (["SELECT CAST(city AS INT) FROM clean"], "Could not convert"),
        (["--named", "top_item"], "did you mean top_items?"),
        (["--named", "x", "--engine", "athena"], "no query x.sql"),
        (["SELECT 1", "--engine", "athena"], "athena.database"),
        (["SELECT 1", "--output", "x.csv"], "--output needs --format"),
        (["SELECT 1", "--format", "csv", "--output", "/nowhere/x.csv"], "cannot be written"),
    ],
)
def test_what_cannot_be_asked_is_a_clear_error(lake, capfdbinary, arguments, message):
    error = ask(capfdbinary, lake, *arguments, code=2)
    assert message in error
    assert "Traceback" not in error


def test_output_never_replaces_a_file_and_leaves_none_behind_after_an_error(lake, tmp_path, capfdbinary):
    kept, broken = tmp_path / "kept.csv", tmp_path / "broken.csv"
    kept.write_text("mine")
    assert "name a new file" in ask(capfdbinary, lake, "SELECT 1", "--format", "csv", "--output", str(kept), code=2)
    assert kept.read_text() == "mine"
    sql = "SELECT CAST(city AS INT) FROM clean"
    ask(capfdbinary, lake, sql, "--format", "csv", "--output", str(broken), code=2)
    assert not broken.exists()


def test_file_that_is_no_parquet_is_a_clear_error(lake, tmp_path, capfdbinary):
    next((tmp_path / "lake").rglob("part-o1.parquet")).write_bytes(b"not a Parquet file")
    assert main(["query", "--config", lake, "SELECT COUNT(order_id) FROM clean"]) in {2, 6}
    error = capfdbinary.readouterr().err.decode()
    assert "Traceback" not in error
    assert "arquet" in error
