"""What people do with dead letters, but for the replay itself: count, list, show, discard, export."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_app.cli import main
from batch_app.dead_letters.decoding import CsvHeaders, RowDecoders
from batch_app.dead_letters.selection import Selection, parse_selection
from batch_app.dead_letters.table import SCHEMA, DeadLetters
from batch_app.output import visible
from streaming_app.errors import ConfigError
from streaming_app.journal.read_log import ReadLog
from streaming_app.schema import InputSource
from streaming_app.sink.datasource import dead_letter_id
from streaming_app.sink.layout import DEAD_LETTER_SCHEMA
from tests.dead_lake import DeadLake, dead_lake, event
from tests.memory_storage import MemoryStorage


@pytest.fixture(scope="module")
def lake(tmp_path_factory, orders) -> DeadLake:
    """Read only: tests that change something make their own."""
    return dead_lake(str(tmp_path_factory.mktemp("dead") / "lake"), orders)


@pytest.fixture
def own(tmp_path, orders) -> DeadLake:
    return dead_lake(str(tmp_path / "lake"), orders)


@pytest.fixture
def run(tmp_path, capsys):
    def call(lake: DeadLake, command: str, *arguments: str, code: int = 0) -> str:
        given = ["dead-letters", command, "--config", lake.config_file(tmp_path), *arguments]
        assert main(given) == code
        captured = capsys.readouterr()
        return captured.out if code == 0 else captured.err

    return call


def listed(run, lake, *arguments: str) -> list[dict]:
    columns = "dead_letter_id,order_id,store_id,source,stage,reasons,state,source_position"
    return json.loads(run(lake, "list", "--format", "json", "--columns", columns, *arguments))


def ids(rows: list[dict]) -> set[str | None]:
    return {row["order_id"] for row in rows}


def test_schema_is_the_one_that_the_sink_writes():
    assert [(field.name, field.type) for field in SCHEMA] == [(field.name, field.type) for field in DEAD_LETTER_SCHEMA]


def test_summary_counts_by_everything(run, lake):
    found = json.loads(run(lake, "summary", "--format", "json"))
    assert (found["open"], found["replayed"], found["discarded"], sum(found["days"].values())) == (11, 0, 0, 11)
    totals = {by: {group["name"]: group["total"] for group in groups} for by, groups in found["groups"].items()}
    assert totals["source"] == {"kinesis": 6, "csv": 5}
    assert totals["stage"] == {"rule": 5, "decode": 4, "cast": 1, "duplicate": 1}
    assert totals["reason"]["city.in_set"] == 3
    assert totals["store_id"] == {"S1": 4, "S2": 2, "S9": 1, "(not readable)": 4}
    by_city = json.loads(run(lake, "summary", "--format", "json", "--by", "city"))["groups"]["city"]
    assert {group["name"]: group["total"] for group in by_city}["Bogor"] == 2


def test_list_shows_what_was_found_wrong_and_else_the_raw_text(run, lake):
    shown = run(lake, "list")
    assert 'city: "Bogor"' in shown
    assert "amount.cast" in shown
    assert '"order_id"' not in run(lake, "list", "--reason", "city.in_set")
    (unread,) = [line for line in run(lake, "list", "--reason", "invalid_json").splitlines() if "invalid_json" in line]
    assert '{"order_id' in unread


def test_summary_begins_with_reasons_and_ends_with_what_to_do_next(run, lake):
    lines = run(lake, "summary").splitlines()
    headers = [line.split()[0] for line in lines if "in all" in line]
    assert headers == ["reason", "store_id", "stage", "source", "day"]
    assert lines[-1].startswith("look at some: python -m batch_app dead-letters list --config ")
    assert lines[-1].endswith("--reason city.in_set")


def test_trend_is_the_newest_day_against_the_day_before(run, own):
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date()
    file = next(Path(own.root, "dead_letter/input_source=stream").rglob("*.parquet"))
    earlier = file.parent.parent / f"dead_date={yesterday}" / "part-kinesis-0.parquet"
    earlier.parent.mkdir()
    table = pq.ParquetFile(file).read().slice(0, 2)
    pq.write_table(table.set_column(0, "dead_letter_id", pa.array(["a" * 32, "b" * 32])), earlier)
    groups = json.loads(run(own, "summary", "--format", "json"))["groups"]["reason"]
    city = next(group for group in groups if group["name"] == "city.in_set")
    assert city == {"name": "city.in_set", "total": 5, "latest": 3, "before": 2}
    assert "▲ 1 (+50%)" in run(own, "summary")
    only = json.loads(run(own, "summary", "--format", "json", "--until", str(yesterday)))
    assert (only["open"], list(only["days"])) == (2, [str(yesterday)])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--source", "csv"], {"c2", "c3", None}),
        (["--source", "kinesis", "--stage", "cast"], {"o3"}),
        (["--reason", "amount.positive", "--reason", "amount.cast"], {"o2", "o3"}),
        (["--text", "ATLANTIS"], {"o1"}),
        (["--text", "day 1.csv#2"], {"c2"}),
        (["--text", "c5,c1"], {None}),
        (["--date", "today", "--stage", "duplicate"], {"o6"}),
        (["--until", "2020-01-01"], set()),
        (["--since", "yesterday", "--until", "today", "--reason", "old.rule"], {"o5", "c3"}),
    ],
)
def test_filters(run, lake, arguments, expected):
    assert ids(listed(run, lake, *arguments)) == expected


def test_values_of_csv_rows_are_read_by_the_header_in_the_read_log(run, lake):
    rows = {row["order_id"]: row for row in listed(run, lake, "--source", "csv")}
    assert (rows["c3"]["store_id"], rows["c3"]["source_position"]) == ("S2", "day 1.csv#3")


def test_csv_file_without_a_known_header_is_read_in_the_columns_order_and_named(orders):
    decoders = RowDecoders(orders, CsvHeaders(ReadLog(MemoryStorage())))
    rows = pa.table({
        "raw": ["o1,C1,S7,Medan,Tea,1,2.00,cash,2026-03-01T09:00:00Z", 'o2,"unclosed'],
        "raw_encoding": ["utf-8", "utf-8"],
        "source_position": ["f.csv#1", "f.csv#9"],
        "arrived_at": pa.array([None, None], pa.timestamp("us", tz="UTC")),
    })  # fmt: skip
    decoded = decoders.decode(rows, InputSource.BATCH)
    assert decoded.column("store_id").to_pylist() == ["S7", None]
    assert decoded.column("decode_error").to_pylist() == [None, "unclosed_quote"]
    assert decoded.column("source_position").to_pylist() == ["f.csv#1", "f.csv#9"]
    assert decoders.unknown == {"f.csv"}


def test_limit_takes_the_newest_and_says_how_many_there_are(run, lake):
    assert len(listed(run, lake, "--limit", "4")) == 4
    assert len(listed(run, lake, "--limit", "0")) == 11
    assert "4 of 11 open dead letters, newest first; --limit 0 shows all 11" in run(lake, "list", "--limit", "4")


def test_csv_output_can_be_read_back(run, lake):
    rows = list(csv.DictReader(io.StringIO(run(lake, "list", "--format", "csv", "--columns", "raw,reasons"))))
    assert {"city.in_set;amount.positive", "city.in_set"} <= {row["reasons"] for row in rows}
    assert event("o1", city="Atlantis") in {row["raw"] for row in rows}


def test_show_says_everything_in_words(run, lake):
    position = next(row["source_position"] for row in listed(run, lake) if row["order_id"] == "o2")
    name = dead_letter_id("kinesis", position)
    text = run(lake, "show", name[:8])
    for expected in (
        name,
        "OPEN",
        position,
        "city must be one of Jakarta, Bandung",
        '"Bogor"',
        "amount must be more than 0",
        '"-3"',
        event("o2", city="Bogor", amount="-3"),
        f"--id {name} --dry-run",
        "not the one in force",
    ):
        assert expected in text, expected
    found = json.loads(run(lake, "show", name, "--format", "json"))
    assert found["reasons"][0]["found"] == {"city": "Bogor"}
    assert found["fields"]["store_id"] == "S1"


def test_show_of_a_rule_that_is_gone_says_so(run, lake):
    name = next(row["dead_letter_id"] for row in listed(run, lake, "--reason", "old.rule"))
    assert "a rule that is not in the suite in force" in run(lake, "show", name)


def test_discarded_ones_are_closed_and_their_reason_is_kept(run, own):
    planned = json.loads(run(own, "discard", "--reason", "old.rule", "--because", "test orders", "--dry-run", "--json"))
    assert (planned["dry_run"], planned["selected"], planned["passed"], planned["actions"]) == (True, 2, 2, [])
    assert "2 of 2 would be discarded" in run(
        own, "discard", "--everything", "--reason", "old.rule", "--because", "x", "--dry-run"
    )
    done = run(own, "discard", "--reason", "old.rule", "--because", "test orders")
    assert "2 of 2 discarded" in done
    assert "old.rule" not in str(listed(run, own))
    states = {row["order_id"]: row["state"] for row in listed(run, own, "--all", "--reason", "old.rule")}
    assert states == {"o5": "discarded", "c3": "discarded"}
    name = listed(run, own, "--all", "--reason", "old.rule")[0]["dead_letter_id"]
    assert "test orders" in run(own, "show", name)
    assert "no open dead letter matches" in run(own, "discard", "--reason", "old.rule", "--because", "again")
    found = json.loads(run(own, "summary", "--format", "json"))
    assert (found["open"], found["discarded"]) == (9, 2)


@pytest.mark.parametrize("suffix", ["parquet", "csv", "ndjson"])
def test_export_writes_every_selected_row(run, own, tmp_path, suffix):
    run(own, "discard", "--reason", "amount.cast", "--because", "x")
    file = tmp_path / f"out.{suffix}"
    assert run(own, "export", str(file)).startswith("10 dead letters")
    if suffix == "parquet":
        assert pq.read_table(file)["state"].to_pylist() == ["open"] * 10
    elif suffix == "csv":
        assert len(list(csv.DictReader(file.open()))) == 10
    else:
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        assert sorted(row["dead_letter_id"] for row in rows) == sorted(
            row["dead_letter_id"] for row in listed(run, own)
        )
    assert "is there already" in run(own, "export", str(file), code=2)
    assert not list(tmp_path.glob(".out*"))


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("show", ["beef" * 8], "no dead letter of"),
        ("show", ["xyz"], "is no id of a dead letter"),
        ("list", ["--reason", ""], "--reason is empty"),
        ("list", ["--text", ""], "--text is empty"),
        ("list", ["--date", "2026-13-01"], "is no day"),
        ("list", ["--date", "today", "--since", "today"], "not both"),
        ("list", ["--since", "2026-03-02", "--until", "2026-03-01"], "exchange them"),
        ("list", ["--stage", "rules"], "there is no stage 'rules'"),
        ("list", ["--columns", "nonsense"], "there is no nonsense"),
        ("summary", ["--by", "nonsense"], "--by nonsense"),
        ("discard", ["--because", "x"], "say which dead letters"),
        ("discard", ["--everything", "--reason", "a", "--because", "x"], "leave one of them out"),
        ("discard", ["--everything", "--because", " "], "--because is empty"),
        ("replay", [], "say which dead letters"),
        ("replay", ["--everything", "--set", "sources.csv.enabled=true"], "use --override"),
        ("replay", ["--everything", "--repair", "/nowhere.yaml"], "cannot be read"),
        ("export", ["out.xls"], "export writes .parquet"),
    ],
)
def test_bad_input_is_a_clear_error(run, lake, command, arguments, message):
    assert message in run(lake, command, *arguments, code=2)


def test_reason_that_is_misspelt_is_guessed(run, lake):
    assert "did you mean --reason city.in_set?" in run(lake, "list", "--reason", "city.inset")


def test_id_that_is_not_unique_lists_those_it_may_be(lake, tmp_path):
    from batch_app.dead_letters.records import Records

    opened = lake.opened(tmp_path)
    assert isinstance(opened.records, Records)
    with pytest.raises(ConfigError, match="11 dead letters begin with"):
        opened.records.one("")


def test_only_days_and_sources_asked_for_are_looked_at(lake):
    letters = DeadLetters(lake.lake())
    assert len(letters.files(Selection())) == 2
    assert [file.input_source for file in letters.files(parse_selection(sources=["kinesis"]))] == ["stream"]
    assert letters.files(parse_selection(since="2020-01-01", until="2020-01-02")) == []


def test_damaged_file_is_named(run, own):
    file = next(Path(own.root, "dead_letter").rglob("*.parquet"))
    file.write_bytes(b"PAR1 nonsense")
    assert file.name in run(own, "list", code=6)


def test_lake_that_was_never_written_has_no_dead_letters(run, orders, tmp_path):
    none = DeadLake(str(tmp_path / "none"), orders)
    assert "0 open" in run(none, "summary")
    assert json.loads(run(none, "list", "--format", "json")) == []
    assert "no open dead letter" in run(none, "discard", "--everything", "--because", "x")


def test_control_characters_of_a_row_cannot_act_on_the_terminal():
    assert visible("a\x1b[31mb\nc\u202ed") == "a\\u001b[31mb\\nc\\u202ed"


def test_looking_at_dead_letters_does_not_load_spark():
    code = "import sys, batch_app.dead_letters.work; sys.exit('pyspark' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
