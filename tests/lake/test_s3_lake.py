"""The product end to end on S3, checkpoints too, and its lake as Trino, DuckDB, pyarrow, pandas and Spark read it.

`make test-lake` runs this: it needs S3A's jars and a Trino, which the target downloads.
"""

from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import yaml

from batch_app.query.tables import open_tables
from streaming_app.arguments import load_all
from streaming_app.producer import events
from streaming_app.sink.commit import Committer
from streaming_app.sink.datasource import TaskWriter
from streaming_app.storage import open_storage
from tests.audit_lake import LakeBuilder, file_read, judged
from tests.fault.rig import REPOSITORY, STREAM, Rig
from tests.lake.running import CENT, S3A, SALES, catalog, command
from tests.moto_server import REGION

pytestmark = [pytest.mark.lake, pytest.mark.timeout(1800)]


def loaded(overrides: list[str]):
    return load_all(str(REPOSITORY / "conf/local.yaml"), overrides[1::2])[0]


def with_tip(source, count: int) -> list[bytes]:
    """Events with a field that the shipped dataset does not know."""
    return [json.dumps({**json.loads(next(source).payload), "tip": "1.50"}).encode() for _ in range(count)]


@pytest.fixture(scope="module")
def rig(aws, kinesis, tmp_path_factory):
    """Stream and CSV, a restart between them, and a backfill of Firehose's copy: all of it through S3."""
    aws.client("s3").create_bucket(Bucket="the-lake")
    settings = {
        "lake.checkpoints": "",
        "spark.conf.spark.driver.extraClassPath": f"{S3A}/*",
        **catalog(aws, "lake", "registered"),
    }
    made = Rig(
        tmp_path_factory.mktemp("rig"), kinesis, lake="s3://the-lake/lake", s3_endpoint=aws.url, settings=settings
    )
    command(made.overrides, "catalog", "sync")
    source = events(1, start=datetime.now(UTC))
    kinesis.put(STREAM, [next(source).payload for _ in range(500)] + with_tip(source, 20))
    made.drop_file("first.csv", seed=3)
    made.run_to_the_end()
    kinesis.put(STREAM, [next(source).payload for _ in range(300)])
    made.drop_file("second.csv", seed=4)
    made.run_to_the_end()
    made.check()
    copied = b"".join(next(source).payload for _ in range(200))
    made.storage.put("raw_stream/2026/03/01/00/copy", gzip.compress(copied))
    found = json.loads(command(made.overrides, "backfill", "--since", "2026-03-01", "--until", "2026-03-01", "--json"))
    assert found["read"] == 200
    command(made.overrides, "audit", "--settled")
    return made


def by_pyarrow(rig: Rig) -> list[list[Any]]:
    """Counted by hand from the files that a listing shows."""
    table = open_tables(loaded(rig.overrides))["clean"].to_table()
    rows = []
    for source in sorted(set(table["input_source"].to_pylist())):
        amounts = table.filter(pc.field("input_source") == source)["amount"].to_pylist()
        total = sum(amounts)
        rows.append([source, len(amounts), total, (total / len(amounts)).quantize(CENT, ROUND_HALF_UP)])
    return rows


def test_sales_are_the_same_on_every_engine_and_in_both_modes(rig, trino, aws):
    expected = by_pyarrow(rig)
    assert [row[0] for row in expected] == ["batch", "stream"]
    command(rig.overrides, "catalog", "sync", **catalog(aws, "projected", "projection"))
    for schema in ("lake", "projected"):
        found = trino.ask(SALES.format(f"{schema}."))
        assert [[row[0], row[1], Decimal(row[2]), Decimal(row[3])] for row in found] == expected
    asked = json.loads(command(rig.overrides, "query", SALES.format(""), "--json"), parse_float=Decimal)
    for row, wanted in zip(asked, expected, strict=True):
        source, orders, revenue, average = row.values()
        assert [source, orders, revenue] == wanted[:3]
        assert abs(average - wanted[3]) <= CENT / 2  # DuckDB's average is a double


def test_partitions_were_registered_as_they_were_committed(rig, trino):
    """Nobody has run `catalog sync` since the rows came."""
    state = json.loads(command(rig.overrides, "catalog", "show", "--json"))
    assert state["in_step"] is True
    assert [table["missing"] for table in state["tables"]] == [[], []]
    assert trino.ask("SELECT COUNT(*) FROM lake.clean") == [[sum(row[1] for row in by_pyarrow(rig))]]
    assert trino.ask("SELECT COUNT(*) FROM lake.dead_letter WHERE cardinality(reasons) = 0") == [[0]]


def test_column_that_is_added_is_null_in_old_files_and_filled_by_a_rescue(rig, trino, kinesis, tmp_path):
    document = yaml.safe_load((REPOSITORY / "conf/datasets/orders.yaml").read_text())
    document["columns"].insert(2, {"name": "tip", "type": "decimal(6,2)"})
    changed = tmp_path / "orders.yaml"
    changed.write_text(yaml.safe_dump(document))
    rig.settings["dataset"] = str(changed)
    command(rig.overrides, "catalog", "sync")
    before = trino.ask("SELECT COUNT(*), COUNT(tip) FROM lake.clean")[0]
    assert before[1] == 0
    kinesis.put(STREAM, with_tip(events(2, start=datetime.now(UTC)), 20))
    rig.run_to_the_end()
    assert trino.ask("SELECT COUNT(*), COUNT(tip) FROM lake.clean") == [[before[0] + 20, 20]]
    rescued = json.loads(command(rig.overrides, "backfill", "--rescue", "tip", "--json"))
    assert (rescued["rows"], rescued["no_value"], rescued["skipped"]) == (20, 0, [])
    assert rescued["switched"] > 0
    filled = [[before[0] + 20, 40, "60.00"]]
    assert trino.ask("SELECT COUNT(*), COUNT(tip), SUM(tip) FROM lake.clean") == filled
    command(rig.overrides, "audit", "--settled")
    command(rig.overrides, "vacuum", "--grace", "0s")  # back to the partitions' own folders
    assert trino.ask("SELECT COUNT(*), COUNT(tip), SUM(tip) FROM lake.clean") == filled
    command(rig.overrides, "audit", "--settled")


def test_compaction_changes_no_answer(rig, trino, aws):
    expected = by_pyarrow(rig)
    command(rig.overrides, "catalog", "sync", **catalog(aws, "projected", "projection"))
    done = json.loads(command(rig.overrides, "compact", "--all", "--min-files", "2", "--json"))
    assert done["written_files"] < done["replaced_files"]
    for schema in ("lake", "projected"):
        found = trino.ask(SALES.format(f"{schema}."))
        assert [[row[0], row[1], Decimal(row[2]), Decimal(row[3])] for row in found] == expected
    assert by_pyarrow(rig) == expected
    command(rig.overrides, "audit", "--settled")


TIMES = (
    datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC),
    datetime(2026, 3, 1, 10, 0, 0, 123456, tzinfo=UTC),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
)
AMOUNTS = (Decimal("-0.01"), Decimal("99999999.99"), None, Decimal("0.10"))
TEXTS = ("Café ☕ 東京", None, "", "a\nb\t'\"\\\u0000")


def write_odd_rows(root: str, orders, storage) -> None:
    """Values that engines like to read differently, by the sink's own writer."""
    lake = LakeBuilder(root, orders, storage)
    rows = judged(orders, [f"odd.csv#{row}" for row in range(1, 5)])
    made = {
        "order_ts": pa.array(TIMES, pa.timestamp("us", tz="UTC")),
        "amount": pa.array(AMOUNTS, pa.decimal128(10, 2)),
        "item": pa.array(TEXTS),
        "quantity": pa.array([-(2**31), 2**31 - 1, None, 0], pa.int32()),
        "order_date": pa.array([date(2026, 3, 1)] * 4),
        "stage": pa.nulls(4, pa.string()),
        "reasons": pa.nulls(4, pa.list_(pa.string())),
    }
    for name, column in made.items():
        rows = rows.set_column(rows.schema.get_field_index(name), name, column)
    epoch = lake.read("csv", [file_read("odd.csv", 4)])
    lake.checkpoint("csv").put("offsets/0", b"v1\n{}\n" + json.dumps({"epoch": epoch}).encode())
    writer = TaskWriter(lake.options("csv"))
    writer.add(rows)
    Committer(lake.options("csv")).commit([writer.finish()], 0)


def plain(moment: datetime | None) -> str | None:
    return moment.replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds") if moment else None


def test_types_are_read_right_by_trino_duckdb_pandas_and_spark(trino, aws, orders, spark, tmp_path):
    aws.client("s3").create_bucket(Bucket="odd-lake")
    s3 = {"endpoint_url": aws.url, "region": REGION, "path_style": "true"}
    changes = {"lake.root": "s3://odd-lake/lake", **{f"lake.s3.{key}": value for key, value in s3.items()}}
    changes |= catalog(aws, "odd", "registered")
    overrides = [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
    storage = loaded(overrides).config.lake.s3.storage_options()
    write_odd_rows("s3://odd-lake/lake", orders, storage)
    command(overrides, "catalog", "sync")
    expected = [
        (number, plain(moment), amount, text, quantity)
        for number, moment, amount, text, quantity in zip(
            range(4), TIMES, AMOUNTS, TEXTS, (-(2**31), 2**31 - 1, None, 0), strict=True
        )
    ]
    found = trino.ask("SELECT order_ts, amount, item, quantity FROM odd.clean ORDER BY source_position")
    assert [
        (number, row[0], row[1] and Decimal(row[1]), row[2], row[3]) for number, row in enumerate(found)
    ] == expected
    assert trino.ask("SELECT COUNT(*) FROM odd.clean WHERE order_ts < TIMESTAMP '1970-01-01 00:00:00'") == [[2]]
    types = dict(row[:2] for row in trino.ask("DESCRIBE odd.clean"))
    assert (types["amount"], types["quantity"], types["quality_warnings"]) == (
        "decimal(10,2)",
        "integer",
        "array(varchar)",
    )

    files = open_storage("s3://odd-lake/lake", storage)
    (file,) = [item.key for item in files.list("clean")]
    local = tmp_path / "odd.parquet"
    local.write_bytes(files.get(file))
    read = spark.read.parquet(str(local)).selectExpr(
        "source_position", "date_format(order_ts, 'yyyy-MM-dd HH:mm:ss.SSSSSS') t", "amount", "item", "quantity"
    )
    assert [tuple(row)[1:] for row in read.orderBy("source_position").collect()] == [row[1:] for row in expected]

    import pandas as pd

    frame = pd.read_parquet(local, dtype_backend="pyarrow").sort_values("source_position")
    moments = [
        plain(moment.to_pydatetime() if hasattr(moment, "to_pydatetime") else moment) for moment in frame["order_ts"]
    ]
    assert moments == [row[1] for row in expected]
    assert [None if pd.isna(value) else value for value in frame["amount"]] == list(AMOUNTS)
    assert [None if pd.isna(value) else value for value in frame["item"]] == list(TEXTS)

    import duckdb

    answer = (
        duckdb.read_parquet(str(local))
        .project(
            "strftime(order_ts AT TIME ZONE 'UTC', '%Y-%m-%d %H:%M:%S.%f') t, amount, item, quantity, source_position"
        )
        .order("source_position")
        .project("t, amount, item, quantity")
        .fetchall()
    )
    assert [row[1:] for row in answer] == [row[2:] for row in expected]
    assert [_year(row[0]) for row in answer] == [row[1] for row in expected]


def _year(text: str) -> str:
    year, _, rest = text.partition("-")
    return f"{int(year):04}-{rest}"
