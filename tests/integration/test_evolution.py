"""Datasets that change under a lake: refused before Spark starts and before anything is written, or old files read on."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from batch_app.cli import main
from batch_app.tables import open_iceberg
from streaming_app.arguments import load_all
from streaming_app.cli import main as service
from streaming_app.sink.commit import Committer
from streaming_app.sink.datasource import TaskWriter
from streaming_app.storage import StorageOptions
from tests.audit_lake import REPOSITORY, LakeBuilder, file_read, healthy_lake, judged
from tests.moto_server import CREDENTIALS, REGION, moto_server
from tests.query_lake import write_orders


def change(config: str, folder, edit) -> None:
    """Another dataset in the configuration."""
    document = yaml.safe_load((REPOSITORY / "conf/datasets/orders.yaml").read_text())
    edit(document)
    (folder / "orders.yaml").write_text(yaml.safe_dump(document))
    settings = json.loads(Path(config).read_text())
    Path(config).write_text(json.dumps({**settings, "dataset": str(folder / "orders.yaml")}))


def narrower(document) -> None:
    next(column for column in document["columns"] if column["name"] == "amount")["type"] = "decimal(8,2)"


@pytest.fixture
def config(tmp_path, orders) -> str:
    lake = LakeBuilder(str(tmp_path / "lake"), orders)
    write_orders(tmp_path / "lake", orders)
    made = lake.config_file(tmp_path)
    assert main(["compact", "--config", made, "--all"]) == 0  # the first that writes keeps what the columns are
    return made


@pytest.mark.parametrize(
    "command",
    [
        (service, ["run", "--available-now"]),
        (main, ["compact", "--all"]),
        (main, ["backfill", "--since", "2026-03-01"]),
    ],
    ids=["run", "compact", "backfill"],
)
def test_harmful_change_ends_with_exit_code_2_and_what_to_do(config, tmp_path, capsys, command):
    change(config, tmp_path, narrower)
    program, arguments = command
    assert program([*arguments, "--config", config]) == 2
    assert "amount.type: is decimal(10,2) in the lake and decimal(8,2) here" in capsys.readouterr().err


def test_files_from_before_a_column_was_added_read_as_null(config, tmp_path, capsys):
    change(config, tmp_path, lambda document: document["columns"].insert(1, {"name": "tip", "type": "decimal(6,2)"}))
    capsys.readouterr()
    assert main(["query", "--config", config, "SELECT COUNT(*) n, COUNT(tip) tips FROM clean", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"n": 4, "tips": 0}]


def test_audit_agrees_after_a_column_was_added(tmp_path, orders, capsys):
    lake = healthy_lake(str(tmp_path / "lake"), orders)
    config = lake.config_file(tmp_path)
    change(config, tmp_path, lambda document: document["columns"].append({"name": "tip", "type": "decimal(6,2)"}))
    lake.commit_files([file_read("c.csv", 5)])
    assert main(["audit", "--config", config]) == 0


FIELDS = (
    '{"tip":"1.50","note":"a \\"b\\""}', '{"tip": 2}', '{"note":"no tip","tipp":1}', None, '{"tip":null}',
    '{"tip":{"a":1}}', '{"tip":"Trinkgeld"}', '{"tip":0.05,"tip_by":"card"}',
)  # fmt: skip


def rescued_lake(folder, orders, fields=FIELDS, *, iceberg=None, root="", storage=None) -> tuple[LakeBuilder, str]:
    """A batch whose rows hold what the dataset did not know then."""
    lake = LakeBuilder(root or str(folder / "lake"), orders, storage or StorageOptions(), iceberg=iceberg or {})
    rows = judged(orders, [f"a.csv#{row}" for row in range(1, len(fields) + 1)])
    for name, column in {
        "rescued_data": pa.array(fields, pa.string()),
        "stage": pa.nulls(len(fields), pa.string()),
        "reasons": pa.nulls(len(fields), pa.list_(pa.string())),
        "raw": pa.nulls(len(fields), pa.string()),
    }.items():
        rows = rows.set_column(rows.schema.get_field_index(name), name, column)
    lake.plan("csv", 1, {"files": [{"key": "a.csv"}]})
    epoch = lake.read("csv", [file_read("a.csv", len(fields))])
    checkpoint = lake.checkpoint("csv")
    checkpoint.put("offsets/0", b"v1\n{}\n" + json.dumps({"epoch": epoch}).encode())
    writer = TaskWriter(lake.options("csv"))
    writer.add(rows)
    Committer(lake.options("csv")).commit([writer.finish()], 0)
    checkpoint.put("commits/0", b"v1\n{}")
    lake.read_log("csv").seal(epoch)
    return lake, lake.config_file(folder)


def run(capsys, *arguments: str, code: int = 0):
    capsys.readouterr()
    assert main([*arguments, "--json"]) == code
    captured = capsys.readouterr()
    return json.loads(captured.out) if code == 0 else captured.err


def tips(capsys, config, column="tip"):
    sql = f"SELECT {column} t, rescued_data r FROM clean ORDER BY source_position"  # noqa: S608 - a column's name
    return [(row["t"], row["r"]) for row in run(capsys, "query", "--config", config, sql)]


def test_rescued_data_fills_a_column_of_text_and_the_audit_agrees(tmp_path, orders, capsys):
    _, config = rescued_lake(tmp_path, orders)
    change(config, tmp_path, lambda document: document["columns"].append({"name": "tip", "type": "string"}))
    planned = run(capsys, "backfill", "--rescue", "tip", "--config", config, "--dry-run")
    assert (planned["rows"], planned["no_value"], planned["files"]) == (5, 0, 2)
    assert {tip for tip, _ in tips(capsys, config)} == {None}
    assert run(capsys, "backfill", "--rescue", "tip", "--config", config) == {**planned, "dry_run": False}
    assert tips(capsys, config) == [
        ("1.50", '{"note":"a \\"b\\""}'), ("2", None), (None, '{"note":"no tip","tipp":1}'), (None, None), (None, None),
        (None, '{"tip":{"a":1}}'), ("Trinkgeld", None), ("0.05", '{"tip_by":"card"}'),
    ]  # fmt: skip
    assert run(capsys, "backfill", "--rescue", "tip", "--config", config)["files"] == 0
    assert main(["audit", "--config", config]) == 0
    assert main(["compact", "--config", config, "--all", "--min-files", "1"]) == 0
    assert main(["audit", "--config", config]) == 0


def test_rescue_of_an_iceberg_table_is_a_commit_for_each_file(tmp_path, orders, capsys):
    lake, config = rescued_lake(tmp_path, orders, iceberg={"type": "hadoop", "namespace": "qsr"})
    change(config, tmp_path, lambda document: document["columns"].append({"name": "tip", "type": "string"}))
    before = list(Path(lake.root, "clean").rglob("*.parquet"))
    planned = run(capsys, "backfill", "--rescue", "tip", "--config", config, "--dry-run")
    assert run(capsys, "backfill", "--rescue", "tip", "--config", config) == {**planned, "dry_run": False}
    table = open_iceberg(load_all(config, ())[0])._load("clean")
    snapshots = table.metadata.snapshots
    assert [snapshot.summary.operation.value for snapshot in snapshots] == ["append", "overwrite", "overwrite"]
    assert (snapshots[-1].summary["qsr.source"], snapshots[-1].summary["qsr.column"]) == ("rescue", "tip")
    assert all(path.exists() for path in before)
    found = table.scan(selected_fields=("source_position", "tip")).to_arrow().sort_by("source_position")
    assert found["tip"].to_pylist() == ["1.50", "2", None, None, None, None, "Trinkgeld", "0.05"]
    assert [tip for tip, _ in tips(capsys, config)] == found["tip"].to_pylist()
    assert run(capsys, "backfill", "--rescue", "tip", "--config", config)["files"] == 0
    for command in (["audit"], ["compact", "--all", "--min-files", "1"], ["vacuum", "--grace", "0s"], ["audit"]):
        assert main([*command, "--config", config]) == 0
    assert not any(path.exists() for path in before)


def test_rescue_with_a_catalog_sends_readers_to_the_new_files_and_back(tmp_path, orders, capsys, monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with moto_server() as aws:
        aws.client("s3").create_bucket(Bucket="lake")
        storage = StorageOptions(aws.url, REGION, path_style=True)
        _, config = rescued_lake(tmp_path, orders, root="s3://lake/a", storage=storage)
        change(config, tmp_path, lambda document: document["columns"].append({"name": "tip", "type": "string"}))
        settings = json.loads(Path(config).read_text())
        glue = {"type": "glue", "database": "qsr", "region": REGION, "endpoint_url": aws.url}
        Path(config).write_text(json.dumps({**settings, "catalog": glue}))
        assert main(["catalog", "sync", "--config", config]) == 0

        def places() -> list[str]:
            found = aws.client("glue").get_partitions(DatabaseName="qsr", TableName="clean")["Partitions"]
            return sorted(partition["StorageDescriptor"]["Location"].rstrip("/") for partition in found)

        home = places()
        done = run(capsys, "backfill", "--rescue", "tip", "--config", config)
        assert (done["switched"], done["files"], done["rows"], done["skipped"]) == (2, 2, 5, [])
        assert all(place.startswith("s3://lake/a/compacted/") for place in places())
        assert {tip for tip, _ in tips(capsys, config)} == {None}  # the own folder is as it was
        again = run(capsys, "backfill", "--rescue", "tip", "--config", config)
        assert (again["files"], len(again["skipped"])) == (0, 2)
        assert run(capsys, "vacuum", "--grace", "0s", "--config", config)["settled"] == 2
        assert places() == home
        assert sum(tip is not None for tip, _ in tips(capsys, config)) == 4
        assert main(["audit", "--config", config]) == 0


def test_only_the_days_asked_for_are_rewritten(tmp_path, orders, capsys):
    _, config = rescued_lake(tmp_path, orders)
    change(config, tmp_path, lambda document: document["columns"].append({"name": "tip", "type": "string"}))
    found = run(capsys, "backfill", "--rescue", "tip", "--since", "2026-03-02", "--config", config)
    assert (found["looked_at"], found["files"]) == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rescue", "tip"], "add it to"),
        (["--rescue", "city", "somewhere"], "no paths"),
        (["--rescue", "city", "--skip-existing"], "no paths"),
    ],
)
def test_rescue_that_cannot_work_is_a_clear_error(tmp_path, orders, capsys, arguments, message):
    _, config = rescued_lake(tmp_path, orders)
    assert message in run(capsys, "backfill", *arguments, "--config", config, code=2)
    change(config, tmp_path, lambda document: document["columns"][0].update(pii="mask"))
    assert "personal data" in run(capsys, "backfill", "--rescue", "order_id", "--config", config, code=2)


@pytest.mark.spark
def test_rescued_values_are_cast_as_the_streams_are(tmp_path, orders, capsys, spark):
    _, config = rescued_lake(tmp_path, orders)
    change(config, tmp_path, lambda document: document["columns"].append({"name": "tip", "type": "decimal(6,2)"}))
    found = run(capsys, "backfill", "--rescue", "tip", "--config", config)
    assert (found["rows"], found["no_value"]) == (4, 1)
    assert [tip for tip, _ in tips(capsys, config)] == [1.5, 2, None, None, None, None, None, 0.05]
    assert tips(capsys, config)[6] == (None, '{"tip":"Trinkgeld"}')
