"""The CSV source without Spark: what it plans, reads, remembers, reports, and does once a batch is committed."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from streaming_app.config.models import CsvConfig
from streaming_app.errors import ConfigError, DataLossError
from streaming_app.journal.read_log import ReadLog, UnitRead
from streaming_app.sources.csv_files import CsvOptions, csv_options, parse_options
from streaming_app.sources.csv_files.epochs import Epochs, pack
from streaming_app.sources.csv_files.files import PlannedFile
from streaming_app.sources.csv_files.reading import Reader
from streaming_app.sources.csv_files.seen import SeenFiles
from streaming_app.storage import ObjectInfo, StorageOptions, open_storage

HEADER = "order_id,store_id,city,amount,order_ts\n"
OLD = 1_000_000_000


@dataclass
class Place:
    """A folder of uploads with a checkpoint, and Spark's part played by hand."""

    root: Path
    options: CsvOptions
    batches: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    epochs: Epochs | None = None
    at: int = 0

    def put(self, name: str, *ids: str, modified: float = OLD, text: str | None = None) -> Path:
        path = self.root / "raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HEADER + "".join(f"{i},s,Medan,1,t\n" for i in ids) if text is None else text)
        os.utime(path, (modified, modified))
        return path

    def start(self, **changes: Any) -> None:
        """A new driver, as after a restart: Spark tells it where it stands."""
        if self.epochs:
            self.epochs.stop()
        self.options = replace(self.options, **changes)
        self.epochs = Epochs(self.options)
        if self.at:
            assert self.epochs.partitions(self.at, self.at) == []

    def run(self) -> list[list[str | None]]:
        """Batches until nothing is new: the order_ids (or errors) of each."""
        found = []
        while (epoch := self.latest()) != self.at:
            found.append([row["order_id"] or row["decode_error"] for row in self.batch(epoch)])
            self.at = epoch
        return found

    def latest(self) -> int:
        if self.epochs is None:
            self.start()
        assert self.epochs
        return self.epochs.latest()

    def batch(self, epoch: int) -> list[dict[str, Any]]:
        assert self.epochs
        rows = []
        for partition in self.epochs.partitions(self.at, epoch):
            rows += self.read(epoch, *partition.files)
        self.batches[epoch] = rows
        return rows

    def read(self, epoch: int, *files: PlannedFile) -> list[dict[str, Any]]:
        reader = Reader.of(self.options)
        return [row for batch in reader.read_all(epoch, files) for row in batch.to_pylist()]

    def finish(self) -> None:
        """Wait until what is committed is finished."""
        assert self.epochs
        self.epochs.latest()
        self.epochs.stop()
        self.epochs = None
        self.start()

    @property
    def log(self) -> ReadLog:
        return ReadLog(open_storage(self.options.read_log_path))


@pytest.fixture
def place(tmp_path, orders, monkeypatch):
    monkeypatch.setattr("streaming_app.sources.csv_files.epochs._LISTING_SHARE", 0)
    config = CsvConfig(max_files_per_batch=2)
    options = csv_options(
        config,
        orders,
        f"{tmp_path}/raw",
        f"{tmp_path}/archive",
        f"{tmp_path}/checkpoint",
        StorageOptions(),
        parallelism=2,
    )
    made = Place(tmp_path, parse_options(options))
    yield made
    if made.epochs:
        made.epochs.stop()


def test_files_are_taken_in_order_of_time_and_limited_by_number(place):
    place.put("c.csv", "3", modified=OLD + 3)
    place.put("sub/a.csv", "2", modified=OLD + 2)
    place.put("z.csv", "1", modified=OLD + 1)
    assert [sorted(ids) for ids in place.run()] == [["1", "2"], ["3"]]
    assert {row["source_position"] for row in place.batches[1]} == {"z.csv#1", "sub/a.csv#1"}


def test_a_plan_says_what_waits_for_a_later_batch(place):
    for number, name in enumerate("abc"):
        place.put(f"{name}.csv", str(number), modified=OLD + number)
    place.run()
    size = (place.root / "raw" / "c.csv").stat().st_size
    first, second = (place.log.plan(epoch)["waiting"] for epoch in (1, 2))
    assert first == {"files": 1, "bytes": size, "oldest": (OLD + 2) * 1_000_000}
    assert second == {"files": 0, "bytes": 0, "oldest": 0}


def test_a_batch_is_limited_by_bytes_but_has_at_least_one_file(place):
    place.start(max_bytes_per_batch=10)
    place.put("a.csv", "1")
    place.put("b.csv", "2")
    assert place.run() == [["1"], ["2"]]


def test_without_new_files_there_is_no_new_epoch(place):
    place.put("a.csv", "1")
    place.run()
    assert place.latest() == 1
    place.start()
    assert place.latest() == 1


def test_an_old_file_that_arrives_late_is_not_skipped(place):
    place.put("new.csv", "1", modified=time.time() - 3600)
    place.run()
    place.put("old.csv", "2", modified=OLD)
    assert place.run() == [["2"]]


def test_other_names_and_hidden_ones_are_left_alone(place):
    for name in ("a.txt", "_a.csv", ".a.csv", "_tmp/a.csv", ".x/a.csv", "a.csv.part"):
        place.put(name, "1")
    place.put("UPPER.CSV", "2")
    assert place.run() == [["2"]]


def test_a_file_still_being_written_waits_until_it_rests(place):
    place.start(settle=0.3)
    path = place.put("a.csv", "1", modified=time.time())
    assert place.latest() == 0
    time.sleep(0.2)
    path.write_text(path.read_text() + "2,s,Medan,1,t\n")
    assert place.latest() == 0
    time.sleep(0.2)
    assert place.latest() == 0
    time.sleep(0.15)
    assert place.run() == [["1", "2"]]


def test_a_file_from_the_future_is_read_once_it_rests(place):
    place.start(settle=0.1)
    place.put("a.csv", "1", modified=time.time() + 3600)
    assert place.latest() == 0
    time.sleep(0.15)
    assert place.run() == [["1"]]


def test_a_batch_done_again_after_a_restart_gives_the_same_rows(place):
    place.put("a.csv", "1", "2")
    place.put("b.csv", "3")
    first = place.batch(place.latest())
    place.put("c.csv", "4")
    place.start()
    assert place.epochs.partitions(0, 1)
    assert place.batch(1) == first
    place.at = 1
    assert place.run() == [["4"]]


def test_a_plan_made_before_a_crash_is_kept(place):
    place.put("a.csv", "1")
    assert place.latest() == 1
    place.put("b.csv", "2", modified=OLD - 1)
    place.start()
    assert place.run() == [["1"], ["2"]]


def test_what_was_seen_survives_restarts_and_snapshots(place, monkeypatch):
    monkeypatch.setattr("streaming_app.sources.csv_files.seen._LEAST_NEW", 3)
    for number in range(12):
        place.put(f"{number}.csv", str(number))
        place.run()
        place.finish()
    assert list((place.root / "checkpoint/read_log/seen").iterdir())
    assert place.run() == []
    place.put("5.csv", "other")
    assert place.run() == [["changed_file"]]


def test_a_snapshot_keeps_the_latest_version_of_a_path(tmp_path):
    storage = open_storage(str(tmp_path))
    listed = [ObjectInfo(name, 5, datetime(2026, 3, 1, tzinfo=UTC), "second") for name in ("a", "b", "c")]
    seen = SeenFiles()
    for epoch, etag in enumerate(["first", "second"], start=1):
        units = [UnitRead(name, 1, 5, {"etag": etag, "size": 5, "modified": 1, "sha256": "ab" * 32}) for name in "ab"]
        seen.read(epoch, units)
        seen.save(storage, epoch)
    again = SeenFiles()
    assert again.restore(storage) == 2
    for known in (seen, again):
        assert len(known) == 2
        assert [(item.key, version) for item, version in known.news(listed)] == [("c", None)]
    ((_, version),) = again.news([replace(listed[0], etag="third")])
    assert (version.epoch, version.size) == (2, 5)


def test_a_snapshot_that_cannot_be_read_is_made_up_for(place, monkeypatch):
    monkeypatch.setattr("streaming_app.sources.csv_files.seen._LEAST_NEW", 1)
    place.put("a.csv", "1")
    place.run()
    place.finish()
    place.finish()
    for snapshot in (place.root / "checkpoint/read_log/seen").iterdir():
        snapshot.write_bytes(snapshot.read_bytes()[:50])
    place.start()
    assert place.run() == []


def test_a_file_that_changed_after_it_was_read_is_reported_once(place):
    place.put("a.csv", "1")
    place.run()
    place.put("a.csv", "1", "2", modified=OLD + 50)
    place.finish()
    assert place.run() == [["changed_file"]]
    (row,) = place.batches[2]
    assert row["source_position"].startswith("a.csv@")
    assert row["source_position"].endswith("#0")
    report = json.loads(row["raw"])
    assert (report["key"], report["size"]) == ("a.csv", (place.root / "raw/a.csv").stat().st_size)
    assert report["read_before"]["epoch"] == 1
    assert report["read_before"]["size"] < report["size"]
    place.finish()
    assert place.run() == []


def test_a_file_that_changed_can_be_read_again_as_new_rows(place):
    place.start(on_change="reread")
    place.put("a.csv", "1")
    place.run()
    place.put("a.csv", "1", "2", modified=OLD + 50)
    place.finish()
    assert place.run() == [["1", "2"]]
    positions = {row["source_position"] for rows in place.batches.values() for row in rows}
    assert len(positions) == 3


def test_a_file_that_was_only_touched_gives_nothing(place):
    path = place.put("a.csv", "1")
    place.run()
    os.utime(path, (OLD + 99, OLD + 99))
    place.finish()
    assert place.run() == [[]]
    place.finish()
    assert place.run() == []


def test_a_batch_done_again_notices_that_its_file_was_replaced(place):
    place.put("a.csv", "1")
    place.batch(place.latest())
    place.put("a.csv", "9", modified=OLD + 5)
    place.start()
    with pytest.raises(DataLossError, match=r"a\.csv changed while it was being read"):
        place.batch(1)


def test_a_planned_file_that_vanished_is_a_dead_letter_and_comes_back_as_new(place):
    place.put("a.csv", "1").rename(place.root / "kept")
    (place.root / "kept").rename(place.root / "raw/a.csv")
    epoch = place.latest()
    (place.root / "raw/a.csv").unlink()
    (row,) = place.batch(epoch)
    assert row["decode_error"] == "missing_file"
    assert place.batch(epoch) == [row]
    place.at = epoch
    place.put("a.csv", "1", modified=OLD + 7)
    place.finish()
    assert place.run() == [["1"]]


def test_a_file_written_again_after_it_was_planned_is_read_once_it_rests(place):
    place.start(settle=0.2)
    path = place.put("a.csv", "1")
    epoch = place.latest()
    begin = time.monotonic()
    place.put("a.csv", "1", "2", modified=OLD + 1)
    assert [row["order_id"] for row in place.batch(epoch)] == ["1", "2"]
    assert time.monotonic() - begin > 0.2
    place.at = epoch
    place.finish()
    assert place.run() == []
    assert path.exists()


def test_a_file_that_never_rests_holds_up_nothing_and_is_read_later(place, monkeypatch):
    monkeypatch.setattr("streaming_app.sources.csv_files.reading._LONGEST_WAIT", 0)
    place.put("a.csv", "1")
    epoch = place.latest()
    place.put("a.csv", "1", "2", modified=OLD + 1)
    assert [row["decode_error"] for row in place.batch(epoch)] == ["still_changing"]
    place.at = epoch
    place.put("a.csv", "1", "2", "3", modified=OLD + 2)
    place.finish()
    assert place.run() == [["1", "2", "3"]]


def test_a_name_that_is_no_unicode_is_a_dead_letter(place):
    place.put("a.csv", "1")
    (place.root / "raw/a.csv").rename(place.root / "raw" / os.fsdecode(b"caf\xe9.csv"))
    assert place.run() == [["bad_file_name"]]
    place.finish()
    assert place.run() == []


def test_the_read_log_keeps_what_was_read_of_each_file(place):
    place.put("a.csv", "1", "2", text=HEADER + "1,s,Medan,1,t\n2\n")
    place.run()
    unit = place.log.unit(1, "a.csv")
    assert (unit.rows, unit.bytes) == (2, (place.root / "raw/a.csv").stat().st_size)
    assert unit.detail["errors"] == {"too_few_fields": 1}
    assert unit.detail["header"] == HEADER.strip()
    assert unit.detail["name"] == "a.csv"


def test_committed_files_are_archived_and_no_others(place):
    place.start(after_commit="archive", archive_path=f"{place.root}/archive")
    place.put("sub/a.csv", "1")
    epoch = place.latest()
    place.batch(epoch)
    assert not (place.root / "archive").exists()
    place.at = epoch
    place.put("b.csv", "2")
    place.batch(place.latest())
    place.epochs.stop()
    assert (place.root / "archive/sub/a.csv").exists()
    assert not (place.root / "raw/sub/a.csv").exists()
    assert (place.root / "raw/b.csv").exists()
    place.start()
    assert place.run() == [["2"]]


def test_the_archive_never_overwrites(place):
    place.start(after_commit="archive", archive_path=f"{place.root}/archive", on_change="reread")
    place.put("a.csv", "1")
    place.run()
    place.finish()
    place.put("a.csv", "2", modified=OLD + 9)
    assert place.run() == [["2"]]
    place.finish()
    kept = sorted((place.root / "archive").iterdir())
    assert [path.read_text()[-14:] for path in kept] == ["1,s,Medan,1,t\n", "2,s,Medan,1,t\n"]
    assert not list((place.root / "raw").iterdir())


def test_archiving_is_taken_up_after_a_crash_between_copy_and_removal(place):
    place.start(after_commit="archive", archive_path=f"{place.root}/archive")
    place.put("a.csv", "1")
    place.batch(place.latest())
    (place.root / "archive").mkdir()
    os.link(place.root / "raw/a.csv", place.root / "archive/a.csv")
    place.at = 1
    place.start()
    place.finish()
    assert [path.name for path in (place.root / "archive").iterdir()] == ["a.csv"]
    assert not (place.root / "raw/a.csv").exists()


def test_deleting_spares_files_that_changed_or_were_not_read_whole(place):
    place.start(after_commit="delete", max_files_per_batch=10)
    place.put("a.csv", "1")
    place.put("b.csv", "2")
    (place.root / "raw/c.csv").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    os.utime(place.root / "raw/c.csv", (OLD, OLD))
    epoch = place.latest()
    place.batch(epoch)
    place.at = epoch
    place.put("b.csv", "2", "3", modified=OLD + 5)
    place.finish()
    assert sorted(path.name for path in (place.root / "raw").iterdir()) == ["b.csv", "c.csv"]


def test_a_failing_archive_does_not_stop_reading_and_is_tried_again(place):
    (place.root / "archive").write_text("a file in the way")
    place.start(after_commit="archive", archive_path=f"{place.root}/archive")
    for number in range(3):
        place.put(f"{number}.csv", str(number))
        assert place.run() == [[str(number)]]
    assert len(list((place.root / "raw").iterdir())) == 3
    place.epochs.stop()
    (place.root / "archive").unlink()
    place.start()
    place.finish()
    assert len(list((place.root / "archive").iterdir())) == 3


def test_listing_takes_a_tenth_of_the_time_at_most(place, monkeypatch):
    monkeypatch.setattr("streaming_app.sources.csv_files.epochs._LISTING_SHARE", 1e6)
    place.put("a.csv", "1")
    place.run()
    place.put("b.csv", "2")
    assert place.run() == []


def test_a_drain_file_stops_new_epochs(place):
    drain = place.root / "drain"
    place.start(drain_path=str(drain))
    place.put("a.csv", "1")
    drain.touch()
    assert place.run() == []
    drain.unlink()
    assert place.run() == [["1"]]


def test_a_bounded_run_reads_what_was_there_at_its_start(place):
    place.start(available_now=True, settle=0.2)
    for number in range(3):
        place.put(f"{number}.csv", str(number))
    place.put("fresh.csv", "3", modified=time.time())
    assert place.latest() == 1
    place.put("late.csv", "4", modified=time.time() + 5)
    assert sorted(id_ for ids in place.run() for id_ in ids) == ["0", "1", "2", "3"]


def test_a_lost_read_log_is_an_error_that_names_it(place):
    place.start()
    with pytest.raises(DataLossError, match="no plan for epoch 7"):
        place.epochs.partitions(6, 7)


def test_files_are_spread_over_tasks_by_size():
    files = [PlannedFile(str(size), size, f"2026-03-0{day}", "") for day, size in enumerate([9, 1, 1, 8, 2], start=1)]
    packs = pack(files, 2)
    assert sorted(sum(file.size for file in chosen) for chosen in packs) == [10, 11]
    assert pack(files[:1], 16) == [(files[0],)]


def test_wrong_options_are_reported_together(tmp_path):
    with pytest.raises(ConfigError) as caught:
        parse_options({"path": "/x", "delimiter": "ab", "settle": "soon", "after_commit": "burn", "colour": "red"})
    keys = [problem.key for problem in caught.value.problems]
    assert keys == ["delimiter", "settle", "after_commit", "colour", "read_log_path", "dataset"]


def test_an_archive_inside_the_uploads_is_refused(orders):
    options = {"path": "/raw", "read_log_path": "/c", "dataset": orders.to_option(), "after_commit": "archive"}
    for archive in ("/raw/done", "s3://bucket/x"):
        with pytest.raises(ConfigError, match="archive_path"):
            parse_options({**options, "archive_path": archive})
