"""The checkpoint doctor: every damage is made for real, found, explained, and mended where nothing is lost by it."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys

import pytest

from streaming_app.cli import main
from streaming_app.doctor.findings import identity
from streaming_app.journal.ledger import Ledger
from streaming_app.sink.commit import Committer
from streaming_app.storage import StorageOptions, open_storage
from streaming_app.storage.local import LocalStorage
from tests.conftest import REPOSITORY
from tests.kinesis_reading import STREAM, credentials
from tests.moto_server import moto_server
from tests.spark_files import commit_batch, log_batch
from tests.sparkless_service import SparklessService
from tests.strict_kinesis import strict_kinesis

HEADER = "order_id,customer_id,store_id,city,item,quantity,amount,payment_method,order_ts\n"
ROW = "o{0},c1,s1,Medan,tea,1,2.50,cash,2026-03-01T10:00:00Z\n"


@pytest.fixture(autouse=True)
def _credentials(monkeypatch):
    credentials(monkeypatch)


@pytest.fixture
def kinesis():
    with strict_kinesis() as server:
        server.create(STREAM, shards=2)
        yield server


class Patient:
    """A service that ran for four batches of ten records and two of files, and stopped."""

    def __init__(self, folder, kinesis, capsys) -> None:
        self.kinesis, self.capsys = kinesis, capsys
        self.service = SparklessService(folder, kinesis.url, max_records_per_shard=5)
        self.sent = kinesis.put(STREAM, events(0, 30))
        self.service.stream.run(3)
        self.service.files({"a.csv": HEADER + "".join(ROW.format(n) for n in range(5))})
        self.service.files({"b.csv": HEADER + "".join(ROW.format(n) for n in range(5, 8))})
        self.service.long_ago()

    @property
    def checkpoint(self):
        return self.service.checkpoint("kinesis")

    def doctor(self, *arguments: str) -> tuple[int, str]:
        code = main(["doctor", "--config", str(self.service.config), *arguments])
        out, err = self.capsys.readouterr()
        return code, out + err

    def kinds(self) -> list[str]:
        """What is found, as programs see it."""
        code, out = self.doctor("--json")
        report = json.loads(out)
        kinds = [finding["kind"] for source in report["sources"] for finding in source["findings"]]
        assert (code == 0) == report["healthy"] == (not kinds)
        return kinds

    def remove(self, *patterns: str) -> None:
        found = [path for pattern in patterns for path in self.checkpoint.glob(pattern)]
        assert found
        for path in found:
            path.unlink()

    def finish(self) -> None:
        """Start again, with Spark's rules, and read the rest."""
        self.service.recover("kinesis")
        self.service.stream.crash().run()
        stream = [row for row in self.service.visible() if row.startswith("shardId")]
        assert stream == sorted(self.sent)


def events(first: int, last: int) -> list[bytes]:
    return [b"event %d" % n for n in range(first, last)]


@pytest.fixture
def patient(tmp_path, kinesis, capsys) -> Patient:
    return Patient(tmp_path, kinesis, capsys)


def test_a_healthy_service_is_explained(patient):
    code, out = patient.doctor()
    assert code == 0
    assert "batch 2 was planned last, 2 committed last" in out
    assert "batch 2 is the last (epoch 3," in out
    assert "reads epoch 4: 2 shards" in out
    assert "shardId-000000000000 from AFTER:49" in out
    assert "epoch 3 begins with the next new files" in out
    assert out.count("healthy: nothing disagrees") == 2


def test_a_service_that_never_ran_is_healthy_and_will_begin_at_the_configured_place(tmp_path, kinesis, capsys):
    service = SparklessService(tmp_path, kinesis.url)
    shutil.rmtree(service.checkpoint("kinesis"))
    service.write_config(start="LATEST")
    assert main(["doctor", "--config", str(service.config)]) == 0
    assert "begins at LATEST" in capsys.readouterr().out


def test_the_report_for_programs_holds_the_positions_too(patient):
    _, out = patient.doctor("--json")
    stream = json.loads(out)["sources"][0]
    assert stream["spark"]["last_committed"] == 2
    assert stream["ledger"]["published_through"] == 2
    main(["positions", "--config", str(patient.service.config)])
    assert stream["positions"] == json.loads(patient.capsys.readouterr().out)


def test_a_batch_that_was_begun_is_no_fault_and_the_restart_is_explained(patient):
    stream = patient.service.stream
    patient.sent += patient.kinesis.put(STREAM, events(30, 40))
    stream.plan()
    stream.read(keep=False)
    code, out = patient.doctor()
    assert code == 0
    assert "runs batch 3 again (epoch 4), of which 2 shards" in out
    patient.finish()


def test_a_batch_that_the_ledger_has_and_spark_does_not_is_no_fault_and_the_restart_is_explained(patient):
    stream = patient.service.stream
    stream.plan()
    stream.read()
    stream.write()
    code, out = patient.doctor()
    assert code == 0
    assert "writes nothing of it: the ledger has it" in out
    assert "then it reads epoch 5" in out
    patient.finish()


def test_a_planned_epoch_of_files_is_explained(patient):
    patient.service.files({"c.csv": HEADER + ROW.format(9)}, commit=False)
    (patient.service.checkpoint("csv") / "offsets/2").unlink()
    code, out = patient.doctor()
    assert code == 0
    assert "epoch 3, which is planned: 1 files" in out
    assert "c.csv" in out


def test_what_a_killed_spark_left_is_removed(patient):
    left = patient.checkpoint / "offsets" / ".3.1f0c5a3e-3d5b-4f6e-9d54-0c5f6a7b8c9d.tmp"
    left.write_text("v1")
    patient.service.long_ago()
    assert patient.kinds() == ["leftovers"]
    code, out = patient.doctor("--repair")
    assert code == 0
    assert "removed 1 half-written files" in out
    assert not left.exists()
    patient.finish()


def test_staged_files_of_a_killed_task_are_thrown_away(patient):
    patient.service.stage("kinesis", ["shardId-0:1", "shardId-0:2"])
    assert patient.kinds() == ["staged_files"]
    code, out = patient.doctor("--repair")
    assert code == 0
    assert "threw 2 staged files away" in out or "threw 1 staged files away" in out
    patient.finish()


def unpublished(patient: Patient) -> None:
    """Die between the ledger's entry and the first published file."""
    patient.sent += patient.kinesis.put(STREAM, events(30, 40))
    stream = patient.service.stream
    stream.plan()
    positions = stream.read()
    committer = Committer(patient.service.sink("kinesis"))
    entry = committer._entry(patient.service.stage("kinesis", positions), 3)
    assert Ledger(LocalStorage(str(patient.checkpoint))).append_if_absent(entry)
    patient.service.long_ago()


def test_a_committed_batch_whose_files_are_not_visible_is_finished(patient):
    unpublished(patient)
    before = len(patient.service.visible())
    assert patient.kinds() == ["unpublished"]
    code, out = patient.doctor("--repair")
    assert code == 0
    assert "batch 3: its files are visible now" in out
    assert len(patient.service.visible()) > before
    patient.finish()


def test_a_committed_batch_whose_files_are_gone_is_taken_back_when_spark_will_run_it_again(patient):
    unpublished(patient)
    shutil.rmtree(patient.service.folder / "lake" / "_staging")
    assert patient.kinds() == ["unpublished"]
    code, out = patient.doctor("--repair")
    assert code == 0
    assert "batch 3: files were gone" in out
    patient.finish()


def test_sparks_last_batch_is_run_again_when_its_files_are_gone(patient):
    unpublished(patient)
    commit_batch(patient.checkpoint, 3)
    patient.service.long_ago()
    shutil.rmtree(patient.service.folder / "lake" / "_staging")
    assert patient.kinds() == ["files_gone", "unpublished"]
    code, out = patient.doctor("--repair")
    assert code == 0
    assert "removed commits/3" in out
    assert "batch 3: files were gone" in out
    patient.finish()


def test_gone_files_of_an_older_batch_are_not_mended_and_the_advice_says_where_to_read(patient):
    unpublished(patient)
    commit_batch(patient.checkpoint, 3)
    log_batch(patient.checkpoint, 4, {"epoch": 5, "shards": {}, "finished": {}})
    patient.service.long_ago()
    shutil.rmtree(patient.service.folder / "lake" / "_staging")
    code, out = patient.doctor("--repair")
    assert code == 1
    assert "guarantees.md" in out
    assert "refused" in out
    assert (patient.checkpoint / "commits/3").exists()


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("read_log/epochs/open/*3.json", ["unreadable"]),
        ("ledger/entries/open/00000000000000000001.json", ["unreadable"]),
        ("metadata", ["unreadable"]),
        ("offsets/1", ["unreadable"]),
    ],
)
def test_what_is_no_json_is_named_and_nothing_is_touched(patient, name, kinds):
    patient.service.stage("kinesis", ["shardId-0:1"])
    path = next(patient.checkpoint.glob(name))
    path.write_bytes(b'{"half')
    patient.service.long_ago()
    found = patient.kinds()
    assert set(kinds) <= set(found)
    assert found.count("unreadable") == len(kinds)
    code, out = patient.doctor("--repair")
    assert code == 1
    assert str(path.relative_to(patient.checkpoint)) in out
    assert "restore the checkpoint from a backup" in out
    assert "nothing was repaired" in out


def test_a_record_of_the_batch_under_way_that_is_no_json_is_named(patient):
    patient.service.stream.plan()
    patient.service.stream.read(keep=False)
    path = next(patient.checkpoint.glob("read_log/live/*4-u-*.json"))
    path.write_text("{")
    assert patient.kinds() == ["unreadable"]
    assert path.name in patient.doctor()[1]


def test_a_damaged_fold_is_named(patient):
    fold = patient.checkpoint / "ledger/entries/folded/00000000000000000000-00000000000000000001.jsonl.gz"
    fold.parent.mkdir(parents=True, exist_ok=True)
    fold.write_bytes(gzip.compress(b"{}")[:-9])
    assert "unreadable" in patient.kinds()
    assert fold.name in patient.doctor()[1]


def test_the_mark_of_what_is_visible_is_made_anew(patient):
    (patient.checkpoint / "ledger/published.json").write_text("{")
    patient.service.long_ago()
    assert patient.kinds() == ["unreadable"]
    before = patient.service.visible()
    code, out = patient.doctor("--repair")
    assert code == 0
    assert "removed ledger/published.json" in out
    assert patient.service.visible() == before
    patient.finish()


def test_a_cut_off_offset_of_a_batch_that_was_written_nowhere_is_removed(patient):
    patient.sent += patient.kinesis.put(STREAM, events(30, 50))
    stream = patient.service.stream
    stream.plan()
    stream.read(keep=False)
    (patient.checkpoint / "offsets/3").write_text("v1\n")
    (patient.checkpoint / "offsets/.3.crc").write_text("crc")
    patient.service.long_ago()
    assert patient.kinds() == ["unreadable"]
    code, out = patient.doctor("--repair")
    assert code == 0
    assert "removed offsets/3" in out
    assert not (patient.checkpoint / "offsets/.3.crc").exists()
    stream.offsets.pop()
    patient.finish()


def test_a_cut_off_offset_of_a_batch_that_was_written_stays(patient):
    (patient.checkpoint / "offsets/2").write_text("v1\n")
    patient.service.long_ago()
    code, out = patient.doctor("--repair")
    assert code == 1
    assert "restore" in out
    assert (patient.checkpoint / "offsets/2").exists()


def test_missing_metadata_is_told_with_what_it_means(patient):
    patient.remove("metadata")
    code, out = patient.doctor()
    assert code == 1
    assert patient.kinds() == ["no_metadata"]
    assert "nothing is lost" in out


def test_commits_that_are_gone_are_no_loss_where_the_ledger_has_the_batches(patient):
    patient.remove("commits/1", "commits/2")
    assert patient.kinds() == ["commits_missing"]
    assert "nothing is lost" in patient.doctor()[1]


def test_a_batch_that_spark_would_take_as_done_without_an_entry_is_found(patient):
    patient.remove("commits/1", "commits/2", "ledger/entries/open/*1.json", "ledger/entries/open/*2.json")
    (patient.checkpoint / "ledger/published.json").write_text('{"through": 0}')
    assert "commits_missing" in patient.kinds()
    assert "remove offsets/2 and offsets/.2.crc, so that Spark runs batch 1 again" in patient.doctor()[1]


def test_a_commit_without_an_entry_is_found(patient):
    patient.remove("ledger/entries/open/*2.json")
    (patient.checkpoint / "ledger/published.json").write_text('{"through": 1}')
    assert patient.kinds() == ["entry_missing"]
    assert "batch 2" in patient.doctor()[1]


def test_an_older_copy_of_sparks_part_is_found(patient):
    patient.remove("offsets/1", "offsets/2", "commits/1", "commits/2")
    assert patient.kinds() == ["ledger_ahead"]
    code, out = patient.doctor()
    assert code == 1
    assert "ledger ends with batch 2, Spark's log with 0" in out


def test_an_older_copy_of_sparks_part_is_read_again_and_nothing_is_written_twice(patient):
    """What the doctor says of it is so."""
    patient.remove("offsets/1", "offsets/2", "commits/1", "commits/2")
    stream = patient.service.stream
    del stream.offsets[2:]
    stream.committed = 1
    patient.finish()


def test_an_older_copy_of_the_read_log_is_found(patient):
    for path in (patient.checkpoint / "read_log").rglob("*00003*"):
        path.unlink()
    assert "reads_missing" in patient.kinds()
    assert "in two parts" in patient.doctor()[1]


def test_an_older_copy_of_the_csv_read_log_is_found(patient):
    shutil.rmtree(patient.service.checkpoint("csv") / "read_log")
    assert "reads_missing" in patient.kinds()


def test_offsets_that_are_gone_are_found(patient):
    patient.remove("offsets/1")
    assert patient.kinds() == ["offsets_missing"]
    patient.remove("offsets/2", "offsets/0")
    assert "offsets_missing" in patient.kinds()


def test_holes_in_read_log_and_ledger_are_found(patient):
    patient.remove("read_log/epochs/open/*1.json", "ledger/entries/open/*1.json")
    found = patient.kinds()
    assert "epoch_gap" in found
    assert "batch_gap" in found
    assert "1 is gone" in patient.doctor()[1]


def test_another_streams_checkpoint_is_found_and_not_repaired(patient):
    patient.service.stage("kinesis", ["shardId-0:1"])
    patient.service.write_config(stream="other-orders")
    assert patient.kinds() == ["other_stream", "staged_files"]
    code, out = patient.doctor("--repair")
    assert code == 1
    assert "checkpoint of kinesis:orders, and the configuration reads kinesis:other-orders" in out
    assert "nothing was repaired, because of other_stream" in out


def test_another_sources_checkpoint_is_found(patient):
    shutil.rmtree(patient.checkpoint)
    shutil.copytree(patient.service.checkpoint("csv"), patient.checkpoint)
    assert "other_source" in patient.kinds()
    log_batch(patient.service.checkpoint("csv"), 1, {"logOffset": 4})
    assert patient.kinds().count("other_source") == 2


def test_nothing_is_repaired_while_the_service_seems_to_run(patient):
    left = patient.checkpoint / "offsets" / ".3.1f0c.tmp"
    left.write_text("v1")
    (patient.checkpoint / "commits/2").touch()
    code, out = patient.doctor("--repair")
    assert code == 2
    assert "seems to run" in out
    assert left.exists()
    assert patient.doctor("--repair", "--stopped")[0] == 0
    assert not left.exists()


def test_both_commands_work_on_a_machine_without_java(patient):
    environment = {**os.environ, "PATH": "/nowhere", "JAVA_HOME": "/nowhere"}
    for command in (["doctor", "--repair"], ["positions"]):
        arguments = [sys.executable, "-m", "streaming_app", *command, "--config", str(patient.service.config)]
        done = subprocess.run(
            arguments, check=False, env=environment, cwd=REPOSITORY, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr


def test_on_s3_an_upload_is_known_again_as_its_entrys_file():
    with moto_server() as aws:
        aws.client("s3").create_bucket(Bucket="our-lake")
        lake = open_storage(
            "s3://our-lake/x", StorageOptions(endpoint_url=aws.url, region="us-east-1", path_style=True)
        )
        file = lake.stage("clean/part-kinesis-1.parquet", "kinesis")
        file.write(b"rows")
        staged = file.finish()
        assert [identity(found) for found in lake.staged("kinesis", ["clean"])] == [identity(staged)]
