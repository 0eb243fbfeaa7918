"""Backfill and ingest on Spark: the stream's rules and casts, each file once, and the gate before it."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path

import pyarrow.dataset as ds
import pytest
import yaml

from batch_app.backfill import engine
from batch_app.backfill import run as run_module
from batch_app.cli import main
from batch_app.gate import run as gate
from streaming_app.schema import PII_KEY
from streaming_app.sink.commit import Committer
from tests.audit_lake import REPOSITORY, LakeBuilder
from tests.dead_lake import HEADER, csv_row, event
from tests.webhook_receiver import webhook_receiver

pytestmark = pytest.mark.spark


@pytest.fixture
def lake(tmp_path, orders, spark):
    made = LakeBuilder(str(tmp_path / "lake"), orders)
    stream = tmp_path / "lake/raw_stream/2026/03/01/09"
    stream.mkdir(parents=True)
    events = [event("o1"), event("o2", amount="7.25"), event("o3", city="Atlantis"), event("o4", amount='"12,50"'), "{"]
    (stream / "pos-1").write_bytes(gzip.compress("".join(events).encode()))
    (stream / "pos-2").write_text(f"{event('o5')}\n{event('o6')}\n")
    raw = tmp_path / "lake/raw"
    raw.mkdir()
    (raw / "day.csv").write_text(f"{HEADER}\n{csv_row('c1', amount='8.00')}\n{csv_row('c2', city='Atlantis')}\n")
    return made


def run(lake, tmp_path, capsys, *arguments: str, code: int = 0):
    assert main([arguments[0], "--config", lake.config_file(tmp_path), "--json", *arguments[1:]]) == code
    captured = capsys.readouterr()
    return json.loads(captured.out)


def rows(lake, table: str = "clean") -> dict[str, dict]:
    found = ds.dataset(Path(lake.root, table), format="parquet", partitioning="hive").to_table().to_pylist()
    by_position = {row["source_position"]: row for row in found}
    assert len(by_position) == len(found)
    return by_position


def test_files_are_judged_as_the_stream_is_and_loaded_once(lake, tmp_path, capsys):
    paths = [f"{lake.root}/raw_stream", f"{lake.root}/raw"]
    report = run(lake, tmp_path, capsys, "backfill", *paths)
    assert (report["files"], report["read"], report["clean"], report["dead"]) == (3, 9, 5, 4)
    assert report["by_reason"] == {"city.in_set": 2, "amount.cast": 1, "invalid_json": 1}
    found = rows(lake)
    assert {row["order_id"] for row in found.values()} == {"o1", "o2", "o5", "o6", "c1"}
    second = found["raw_stream/2026/03/01/09/pos-1#2"]
    assert (second["amount"], second["input_source"], str(second["order_date"])) == (
        Decimal("7.25"),
        "stream",
        "2026-03-01",
    )
    assert found["raw/day.csv#1"]["input_source"] == "batch"
    dead = rows(lake, "dead_letter")
    assert dead["raw/day.csv#2"]["raw"] == csv_row("c2", city="Atlantis")
    again = run(lake, tmp_path, capsys, "backfill", *paths)
    assert (again["files"], again["already"], again["read"]) == (0, 3, 0)
    assert rows(lake) == found
    assert run(lake, tmp_path, capsys, "audit", "--settled")["ok"]


def test_run_that_dies_between_ledger_and_publication_is_finished_by_the_next(lake, tmp_path, capsys, monkeypatch):
    class Killed(BaseException):
        pass

    def dies(self, entry):
        raise Killed

    monkeypatch.setattr(Committer, "_publish_all", dies)
    with pytest.raises(Killed):
        main(["backfill", "--config", lake.config_file(tmp_path), f"{lake.root}/raw_stream"])
    monkeypatch.undo()
    assert not list(Path(lake.root).glob("clean/**/part-*.parquet"))
    capsys.readouterr()
    report = run(lake, tmp_path, capsys, "backfill", f"{lake.root}/raw_stream")
    assert (report["finished"], report["read"], report["already"]) == (1, 7, 0)
    assert len(rows(lake)) == 4
    assert run(lake, tmp_path, capsys, "audit", "--settled")["ok"]


def test_orders_that_are_there_are_skipped_on_spark_too(lake, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(engine, "MAX_FILES", 1)
    run(lake, tmp_path, capsys, "backfill", f"{lake.root}/raw_stream")
    more = tmp_path / "lake/raw_stream/2026/03/01/10"
    more.mkdir()
    (more / "a").write_text(f"{event('o5')}{event('n1')}")
    (more / "b").write_text(f"{event('o1')}{event('n1')}{event('n2')}")
    report = run(lake, tmp_path, capsys, "backfill", "--skip-existing", str(more))
    assert (report["files"], report["read"], report["clean"], report["duplicates"]) == (2, 5, 2, 3)
    orders = [row["order_id"] for row in rows(lake).values()]
    assert sorted(orders) == ["n1", "n2", "o1", "o2", "o5", "o6"]
    assert run(lake, tmp_path, capsys, "audit", "--settled")["ok"]


def failed(lake, tmp_path, capsys, *arguments: str) -> tuple[int, str]:
    code = main(["backfill", "--config", lake.config_file(tmp_path), f"{lake.root}/raw_stream", *arguments])
    return code, capsys.readouterr().err


def test_error_of_a_worker_comes_with_its_own_words_and_exit_code(lake, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv(PII_KEY, "a secret that Spark's workers do not get")  # they have the environment of before
    dataset = yaml.safe_load((REPOSITORY / "conf/datasets/orders.yaml").read_text())
    next(column for column in dataset["columns"] if column["name"] == "customer_id")["pii"] = "hash"
    (tmp_path / "orders.yaml").write_text(yaml.safe_dump(dataset))
    code, error = failed(lake, tmp_path, capsys, "--set", f"dataset={tmp_path}/orders.yaml")
    assert (code, error.count("configuration:")) == (2, 1)
    assert f"{PII_KEY} has to be set where tasks run" in error
    assert "the dataset hashes personal data with it\n" in error
    assert "Traceback" not in error
    Path(lake.root, "clean").symlink_to(tmp_path / "elsewhere")  # what the sink refuses to follow
    code, error = failed(lake, tmp_path, capsys)
    assert (code, "leads out of" in error, "Spark could not" in error) == (6, True, False)


def test_ingest_loads_what_passes_the_gate_and_stops_with_3_before_what_does_not(lake, tmp_path, capsys):
    bad, good = f"{lake.root}/raw/day.csv", tmp_path / "good.csv"
    good.write_text(f"{HEADER}\n{csv_row('g1')}\n{csv_row('g2')}\n")
    with webhook_receiver() as receiver:
        alerts = ["--set", f"alerts.webhook_url={receiver.url}"]
        refused = run(lake, tmp_path, capsys, "ingest", "--engine", "spark", "--no-docs", bad, *alerts, code=3)
        (alert,) = receiver.wait(1)
    assert "Quality gate failed" in alert["text"]
    assert refused["gate"]["success"] is False
    assert refused["backfill"] is None
    assert not Path(lake.root, "clean").exists()
    done = run(lake, tmp_path, capsys, "ingest", "--engine", "spark", "--no-docs", str(good))
    assert (done["gate"]["success"], done["backfill"]["clean"]) == (True, 2)
    assert {row["order_id"] for row in rows(lake).values()} == {"g1", "g2"}
    assert set(rows(lake)) == {f"{good}#1", f"{good}#2"}
    assert run(lake, tmp_path, capsys, "audit", "--settled")["ok"]


@pytest.mark.parametrize("when", ["before the plan", "after the plan"])
def test_file_that_is_replaced_after_the_gate_has_judged_it_is_not_loaded(lake, tmp_path, capsys, monkeypatch, when):
    folder = tmp_path / "uploads"
    folder.mkdir()
    (folder / "good.csv").write_text(f"{HEADER}\n{csv_row('g1')}\n")

    def replaced(what):
        def call(*arguments):
            found = what(*arguments)
            (folder / "good.csv").write_text(f"{HEADER}\n{csv_row('evil', city='Atlantis')}\n")
            (folder / "late.csv").write_text(f"{HEADER}\n{csv_row('late')}\n")
            return found

        return call

    with monkeypatch.context() as patch:
        if when == "before the plan":
            patch.setattr(gate, "judge", replaced(gate.judge))
        else:
            patch.setattr(run_module, "only_judged", replaced(run_module.only_judged))
        arguments = ["ingest", "--config", lake.config_file(tmp_path), "--engine", "spark", "--no-docs", str(folder)]
        code = main(arguments)
    error = capsys.readouterr().err
    assert (code, "replaced after the gate had judged it" in error) == (2 if when == "before the plan" else 5, True)
    assert not list(Path(lake.root).glob("clean/**/part-*.parquet"))
    if when == "after the plan":
        assert main(["backfill", "--config", lake.config_file(tmp_path), "--forget-plan"]) == 0
    (folder / "good.csv").write_text(f"{HEADER}\n{csv_row('g2')}\n")
    capsys.readouterr()
    done = run(lake, tmp_path, capsys, "ingest", "--engine", "spark", "--no-docs", str(folder))
    assert {row["order_id"] for row in rows(lake).values()} == {"g2", "late"}
    assert [file["uri"] for file in done["gate"]["read"]] == [f"{folder}/good.csv", f"{folder}/late.csv"]
    assert run(lake, tmp_path, capsys, "audit", "--settled")["ok"]


def test_files_that_the_gate_has_not_read_are_left_out_and_counted(lake, tmp_path, capsys):
    (tmp_path / "lake/raw_stream/more.json").write_text(f"{event('m1')}\n")
    done = run(lake, tmp_path, capsys, "ingest", "--engine", "spark", "--no-docs", f"{lake.root}/raw_stream")
    assert (done["backfill"]["clean"], done["backfill"]["unjudged"]) == (1, 2)  # Firehose gives no suffix
