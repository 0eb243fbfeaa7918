"""Iceberg tables that the service writes, as pyiceberg, Trino, Spark with Iceberg's runtime (Glue 6.0's) and DuckDB read them.

`make test-lake` runs this: it downloads the engines. Glue and S3 are moto's, the REST catalog is Apache Iceberg's own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from batch_app.audit import audit
from batch_app.cli import main
from batch_app.tables import open_iceberg
from streaming_app.arguments import load_all
from streaming_app.producer import events
from streaming_app.sink.commit import Committer
from streaming_app.sink.datasource import TaskWriter
from streaming_app.storage import StorageOptions
from tests.audit_lake import LakeBuilder, file_read, healthy_lake, judged
from tests.fault.rig import REPOSITORY, STREAM, Rig
from tests.lake import spark_iceberg
from tests.lake.rest_catalog import rest_catalog
from tests.lake.running import CENT, S3A, SALES
from tests.moto_server import CREDENTIALS, REGION

pytestmark = [pytest.mark.lake, pytest.mark.timeout(1800)]


def in_glue(aws, namespace: str) -> dict[str, str]:
    return {"type": "glue", "namespace": namespace, "region": REGION, "endpoint_url": aws.url}


def by_spark(aws, *questions: str) -> list[Any]:
    """Answers of a Spark whose catalog `ice` is Glue's."""
    catalog = {
        "type": "glue",
        "warehouse": "s3://the-ice/lake",
        "glue.endpoint": aws.url,
        "io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        "s3.endpoint": aws.url,
        "s3.path-style-access": "true",
        "client.region": REGION,
    }
    return spark_iceberg.ask(catalog, *questions)


def command(rig: Rig, *arguments: str, code: int = 0) -> str:
    """What a command of the batch application prints; where it fails, its errors, too."""
    done = subprocess.run(
        [sys.executable, "-m", "batch_app", *arguments, "--config", "conf/local.yaml", *rig.overrides],
        cwd=REPOSITORY, env={**os.environ, **CREDENTIALS}, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr if code else done.stdout


@pytest.fixture(scope="module")
def rig(aws, kinesis, tmp_path_factory):
    """Stream and CSV into Iceberg tables on S3, checkpoints too, with a restart between."""
    aws.client("s3").create_bucket(Bucket="the-ice")
    settings = {
        "lake.checkpoints": "",
        "sink.format": "iceberg",
        "spark.conf.spark.driver.extraClassPath": f"{S3A}/*",
        **{f"iceberg.{key}": value for key, value in in_glue(aws, "restaurants").items()},
    }
    folder = tmp_path_factory.mktemp("rig")
    made = Rig(folder, kinesis, lake="s3://the-ice/lake", s3_endpoint=aws.url, settings=settings)
    source = events(1, start=datetime.now(UTC))
    for name, seed in (("first.csv", 3), ("second.csv", 4)):
        kinesis.put(STREAM, [next(source).payload for _ in range(400)])
        made.drop_file(name, seed=seed)
        made.run_to_the_end()
    made.check()
    return made


def tables(rig: Rig):
    return open_iceberg(load_all(str(REPOSITORY / "conf/local.yaml"), rig.overrides[1::2])[0])


def sales(table: pa.Table) -> list[list[Any]]:
    """The sales query, counted by hand."""
    rows = []
    for source in sorted(set(table["input_source"].to_pylist())):
        amounts = table.filter(pc.field("input_source") == source)["amount"].to_pylist()
        total = sum(amounts)
        rows.append([source, len(amounts), total, (total / len(amounts)).quantize(CENT, ROUND_HALF_UP)])
    return rows


def require_equal_sales(rig: Rig, trino, aws, *more: str) -> tuple[list[list[Any]], list[Any]]:
    """All engines give what pyiceberg gives; returns that, and what Spark answers to more questions."""
    expected = sales(tables(rig)._load("clean").scan().to_arrow())
    found = trino.ask(SALES.format("ice.restaurants."))
    assert [[row[0], row[1], Decimal(row[2]), Decimal(row[3])] for row in found] == expected
    found, *answers = by_spark(aws, SALES.format("ice.restaurants."), *more)
    assert [
        [row[0], row[1], Decimal(row[2]), Decimal(row[3]).quantize(CENT, ROUND_HALF_UP)] for row in found
    ] == expected
    asked = json.loads(command(rig, "query", SALES.format(""), "--json"), parse_float=Decimal)
    for row, wanted in zip(asked, expected, strict=True):
        source, orders, revenue, average = row.values()
        assert [source, orders, revenue] == wanted[:3]
        assert abs(average - wanted[3]) <= CENT / 2  # DuckDB's average is a double
    return expected, answers


def test_sales_are_the_same_on_every_engine_before_and_after_maintenance(rig, trino, aws):
    stream = "stream ice.restaurants.clean"
    expected, streamed = require_equal_sales(rig, trino, aws, stream)
    assert [row[0] for row in expected] == ["batch", "stream"]
    assert streamed == [sum(row[1] for row in expected)]
    done = json.loads(command(rig, "compact", "--all", "--min-files", "2", "--json"))
    assert done["written_files"] < done["replaced_files"]
    # A reader of what was added passes over the compaction's snapshots, and gets no row a second time.
    assert require_equal_sales(rig, trino, aws, stream) == (expected, streamed)
    removed = json.loads(command(rig, "vacuum", "--grace", "0s", "--json"))
    assert removed["replaced"]["files"] == done["replaced_files"]
    assert require_equal_sales(rig, trino, aws) == (expected, [])
    command(rig, "audit", "--settled")


def test_engines_see_what_a_batch_was_and_prune_hidden_partitions(rig, trino, aws):
    kinds = dict(trino.ask('SELECT operation, COUNT(*) FROM ice.restaurants."clean$snapshots" GROUP BY 1'))
    assert set(kinds) <= {"append", "replace"}
    spec = trino.ask("SHOW CREATE TABLE ice.restaurants.clean")[0][0]
    assert "partitioning = ARRAY['day(order_ts)','input_source']" in spec
    assert "format_version = 2" in spec
    newest = tables(rig)._load("clean").scan().to_arrow()["order_ts"].to_pylist()
    day = max(newest).date()
    expected = sum(1 for moment in newest if moment.date() == day)
    where = f"WHERE order_ts >= TIMESTAMP '{day} 00:00:00 UTC'"
    assert trino.ask(f"SELECT COUNT(*) FROM ice.restaurants.clean {where}") == [[expected]]  # noqa: S608 - a day
    assert by_spark(aws, f"SELECT COUNT(*) FROM ice.restaurants.clean {where}") == [[[expected]]]  # noqa: S608 - see above


TIMES = (
    datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC),
    datetime(2026, 3, 1, 10, 0, 0, 123456, tzinfo=UTC),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
)
AMOUNTS = (Decimal("-0.01"), Decimal("99999999.99"), None, Decimal("0.10"))
TEXTS = ("Café ☕ 東京", None, "", "a\nb\t'\"\\\u0000")
NUMBERS = (-(2**31), 2**31 - 1, None, 0)
WARNINGS = (["late", "Ünïcode"], [], None, ["a"])


def write_odd_rows(lake: LakeBuilder) -> None:
    """Values that engines like to read differently, by the sink's own writer."""
    rows = judged(lake.dataset, [f"odd.csv#{row}" for row in range(1, 5)])
    made = {
        "order_ts": pa.array(TIMES, pa.timestamp("us", tz="UTC")),
        "amount": pa.array(AMOUNTS, pa.decimal128(10, 2)),
        "item": pa.array(TEXTS),
        "quantity": pa.array(NUMBERS, pa.int32()),
        "order_date": pa.array([date(moment.year, moment.month, moment.day) for moment in TIMES]),
        "stage": pa.nulls(4, pa.string()),
        "reasons": pa.nulls(4, pa.list_(pa.string())),
    }
    for name, column in made.items():
        rows = rows.set_column(rows.schema.get_field_index(name), name, column)
    rows = rows.append_column("quality_warnings", pa.array(WARNINGS, pa.list_(pa.string())))
    epoch = lake.read("csv", [file_read("odd.csv", 4)])
    lake.checkpoint("csv").put("offsets/0", b"v1\n{}\n" + json.dumps({"epoch": epoch}).encode())
    writer = TaskWriter(lake.options("csv"))
    writer.add(rows)
    Committer(lake.options("csv")).commit([writer.finish()], 0)


def plain(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")


def test_types_are_read_the_same_by_pyiceberg_trino_and_spark(trino, aws, orders, tmp_path):
    aws.client("s3").create_bucket(Bucket="odd-ice")
    storage = StorageOptions(aws.url, REGION, path_style=True)
    lake = LakeBuilder("s3://odd-ice/lake", orders, storage, iceberg=in_glue(aws, "odd_ice"))
    write_odd_rows(lake)
    expected = [
        [plain(moment), None if amount is None else str(amount), text, number, warnings]
        for moment, amount, text, number, warnings in zip(TIMES, AMOUNTS, TEXTS, NUMBERS, WARNINGS, strict=True)
    ]
    found = open_iceberg(lake.loaded(tmp_path)[0])._load("clean").scan().to_arrow().sort_by("source_position")
    columns = [found[name].to_pylist() for name in ("order_ts", "amount", "item", "quantity", "quality_warnings")]
    assert [
        [plain(moment), None if amount is None else str(amount), *rest]
        for moment, amount, *rest in zip(*columns, strict=True)
    ] == expected
    names = "item, quantity, quality_warnings FROM ice.odd_ice.clean ORDER BY source_position"
    assert trino.ask(f"SELECT CAST(CAST(order_ts AS TIMESTAMP(6)) AS VARCHAR), amount, {names}") == expected
    moment = "date_format(order_ts, 'yyyy-MM-dd HH:mm:ss.SSSSSS')"
    before = "SELECT COUNT(*) FROM ice.odd_ice.clean WHERE order_ts < TIMESTAMP '1970-01-01 00:00:00 UTC'"
    answers = by_spark(aws, f"SELECT {moment}, amount, {names}", before, "DESCRIBE ice.odd_ice.clean")
    assert answers[:2] == [expected, [[2]]]
    assert trino.ask(before) == [[2]]
    types = {row[0]: row[1] for row in answers[2]}
    assert [types[name] for name in ("order_ts", "amount", "quantity", "quality_warnings")] == [
        "timestamp", "decimal(10,2)", "int", "array<string>",
    ]  # fmt: skip
    types = dict(row[:2] for row in trino.ask("DESCRIBE ice.odd_ice.clean"))
    assert [types[name] for name in ("order_ts", "amount", "quantity", "quality_warnings")] == [
        "timestamp(6) with time zone", "decimal(10,2)", "integer", "array(varchar)",
    ]  # fmt: skip


def test_rows_that_an_engine_deletes_are_not_brought_back(rig, trino, aws):
    (victim,) = trino.ask("SELECT MIN(order_id), COUNT(*) FROM ice.restaurants.clean")
    trino.ask(f"DELETE FROM ice.restaurants.clean WHERE order_id = '{victim[0]}'")  # noqa: S608 - an id of ours
    left = trino.ask("SELECT COUNT(*) FROM ice.restaurants.clean")
    assert left[0][0] < victim[1]
    for arguments in (["compact", "--all"], ["query", "SELECT COUNT(*) FROM clean"], ["backfill", "--rescue", "city"]):
        assert "has delete files" in command(rig, *arguments, code=6)
    assert "an engine has deleted or updated rows" in command(rig, "audit", "--settled", code=1)
    calls = [
        f"CALL ice.system.{name}(table => 'restaurants.clean', options => map({options}))"
        for name, options in {
            "rewrite_data_files": "'delete-file-threshold', '1'",
            "rewrite_position_delete_files": "'rewrite-all', 'true'",
        }.items()
    ]
    by_spark(aws, *calls)
    asked = json.loads(command(rig, "query", "SELECT COUNT(*) n FROM clean", "--json"))
    assert [[row["n"]] for row in asked] == left == trino.ask("SELECT COUNT(*) FROM ice.restaurants.clean")


def run(lake: LakeBuilder, folder, capsys, *arguments: str):
    capsys.readouterr()
    assert main([*arguments, "--config", lake.config_file(folder), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("kind", ["rest", "hadoop"])
def test_the_same_stages_and_guarantees_in_a_rest_catalog_and_in_folders(kind, orders, tmp_path, capsys):
    if kind == "hadoop":
        warehouse = (tmp_path / "lake/iceberg").as_uri()
        require_written_and_read(
            {"type": "hadoop", "warehouse": warehouse}, {"type": "hadoop"}, orders, tmp_path, capsys
        )
        return
    with rest_catalog(tmp_path) as url:
        require_written_and_read({"type": "rest", "uri": url}, {"type": "rest", "uri": url}, orders, tmp_path, capsys)


def require_written_and_read(spark_catalog, settings, orders, folder, capsys) -> None:
    """Batches, compaction, vacuum; rows once, by pyiceberg and by Spark, and the audit proves them."""
    namespace = f"n{uuid.uuid4().hex[:8]}"
    lake = healthy_lake(str(folder / "lake"), orders, None, {**settings, "namespace": namespace})
    question = (
        f"SELECT source_position, order_id FROM ice.{namespace}.clean ORDER BY source_position",  # noqa: S608 - a name of ours
        f"SELECT source_position FROM ice.{namespace}.dead_letter ORDER BY source_position",  # noqa: S608 - see above
    )

    def by_pyiceberg() -> list[Any]:
        opened = open_iceberg(lake.loaded(folder)[0])
        clean, dead = (
            opened._load(name).scan().to_arrow().sort_by("source_position") for name in ("clean", "dead_letter")
        )
        ids = [clean[name].to_pylist() for name in ("source_position", "order_id")]
        return [[list(row) for row in zip(*ids, strict=True)], [[text] for text in dead["source_position"].to_pylist()]]

    before = by_pyiceberg()
    assert spark_iceberg.ask(spark_catalog, *question) == before
    outcome = run(lake, folder, capsys, "compact", "--all", "--min-files", "2")
    assert (outcome["files_after"], outcome["skipped"]) == (6, [])
    removed = run(lake, folder, capsys, "vacuum", "--grace", "0s")
    assert removed["replaced"]["files"] == outcome["replaced_files"]
    assert by_pyiceberg() == before
    assert spark_iceberg.ask(spark_catalog, *question) == before
    report = audit(*lake.loaded(folder), settled=True)
    assert report.ok, report.differences
