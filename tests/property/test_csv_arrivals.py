"""Uploads found by messages that are lost, doubled, late and out of order, while the driver dies again and again: each is read once.

The queue is a fake that does what SQS may do; the real one's turn is in tests/integration/test_csv_sqs.py.
"""

from __future__ import annotations

import json
import random
import tempfile
import threading
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streaming_app.config.models import CsvConfig
from streaming_app.journal.read_log import ReadLog
from streaming_app.sources.csv_files import csv_options, parse_options
from streaming_app.sources.csv_files.arrivals import Arrivals
from streaming_app.sources.csv_files.epochs import Epochs
from streaming_app.sources.csv_files.reading import Reader
from streaming_app.sources.csv_files.sqs import Message
from streaming_app.storage import StorageOptions, open_storage

HEADER = "order_id,store_id,city,amount,order_ts\n"


class FakeQueue:
    """Hides what it hands out until `lapse`, hands out in any order, and some messages twice at once."""

    def __init__(self, seed: int) -> None:
        self.bodies: dict[str, str] = {}
        self.receipts: dict[str, str] = {}
        self.hidden: set[str] = set()
        self.deleted: list[str] = []
        self._random = random.Random(seed)

    def send(self, *keys: str) -> None:
        records = [
            {"eventSource": "aws:s3", "s3": {"bucket": {"name": "bucket"}, "object": {"key": f"raw/{key}"}}}
            for key in keys
        ]
        self.bodies[uuid.uuid4().hex] = json.dumps({"Records": records})

    def receive(self, _wait: int) -> list[Message]:
        visible = [name for name in self.bodies if name not in self.hidden]
        chosen = self._random.sample(visible, min(len(visible), self._random.randint(1, 10)))
        self.hidden.update(name for name in chosen if self._random.random() < 0.9)
        return [Message(name, self._receipt(name), self.bodies[name]) for name in chosen]

    def _receipt(self, name: str) -> str:
        receipt = uuid.uuid4().hex
        self.receipts[receipt] = name
        return receipt

    def delete(self, receipts: Sequence[str]) -> None:
        for receipt in receipts:
            name = self.receipts[receipt]
            if self.bodies.pop(name, None):
                self.deleted.append(name)

    def hide(self, receipts: Sequence[str], seconds: int) -> None:
        names = {self.receipts[receipt] for receipt in receipts}
        self.hidden = self.hidden | names if seconds else self.hidden - names

    def lapse(self) -> None:
        self.hidden.clear()


class Driver:
    """A folder of uploads, the driver that plans, and Spark's part played by hand. Nothing runs by itself."""

    def __init__(self, folder: Path, orders, seed: int) -> None:
        config = CsvConfig(max_files_per_batch=2)
        made = csv_options(config, orders, f"{folder}/raw", "", f"{folder}/checkpoint", StorageOptions())
        self.options = replace(parse_options(made), settle=0.0)
        (folder / "raw").mkdir()
        self.folder, self.queue = folder, FakeQueue(seed)
        self.at, self.files = 0, 0
        self.rows: dict[int, list[str]] = {}
        self.sent: dict[str, list[str]] = {}
        self.start()

    def start(self) -> None:
        self.epochs = Epochs(self.options)
        self.epochs._arrivals = self.arrivals = Arrivals(
            self.queue, self.epochs._source, "s3://bucket/raw", self.options.suffixes
        )
        self.arrivals._thread = threading.current_thread()  # this one receives, by hand
        if self.at:
            self.epochs.partitions(self.at, self.at)

    def upload(self, times: int, together: int) -> None:
        """Files, told of by so many messages."""
        names = [f"{self.files + number}.csv" for number in range(together)]
        self.files += together
        for name in names:
            (self.folder / "raw" / name).write_text(f"{HEADER}{name},s,Medan,1,t\n")
        for _ in range(times):
            self.queue.send(*names)

    def batch(self) -> bool:
        epoch = self.epochs.latest()
        if epoch == self.at:
            return False
        files = [file for part in self.epochs.partitions(self.at, epoch) for file in part.files]
        batches = Reader.of(self.options).read_all(epoch, files)
        found = [row["order_id"] or row["decode_error"] for batch in batches for row in batch.to_pylist()]
        assert self.rows.setdefault(epoch, found) == found
        self.at = epoch
        return True

    def crash(self, *, planned: bool) -> None:
        """The driver is gone, perhaps after it planned an epoch that Spark has not heard of."""
        if planned:
            self.epochs.latest()
        self.epochs._finisher.stop()
        self.start()

    def planned(self) -> set[str]:
        log = ReadLog(open_storage(self.options.read_log_path))
        return {file["key"] for epoch in range(1, self.at + 2) for file in (log.plan(epoch) or {"files": []})["files"]}

    def check(self, bodies: dict[str, str]) -> None:
        """Only messages whose files all stand in a durable plan are deleted."""
        gone = [json.loads(bodies[name])["Records"] for name in self.queue.deleted]
        told = {record["s3"]["object"]["key"].removeprefix("raw/") for records in gone for record in records}
        assert {key for key in told if not key.startswith("other/")} <= self.planned()

    def do(self, step: tuple[str, int, int]) -> None:
        name, first, second = step
        {
            "upload": lambda: self.upload(first, second + 1),
            "receive": lambda: self.arrivals._receive(0),
            "batch": self.batch,
            "delete": self.arrivals._delete_done,
            "lapse": self.queue.lapse,
            "crash": lambda: self.crash(planned=bool(first)),
            "foreign": lambda: self.queue.send(f"other/{first}.txt"),
        }[name]()


names = st.sampled_from(
    ["upload", "upload", "receive", "receive", "batch", "batch", "delete", "lapse", "crash", "foreign"]
)
steps = st.lists(st.tuples(names, st.integers(0, 2), st.integers(0, 2)), max_size=30)


@pytest.fixture(autouse=True)
def listed_at_once(monkeypatch):
    monkeypatch.setattr("streaming_app.sources.csv_files.epochs._LISTING_SHARE", 0)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps, seed=st.integers(0, 2**16), restart=st.booleans())
def test_each_file_is_read_once_and_each_message_ends(orders, steps, seed, restart):
    with tempfile.TemporaryDirectory() as folder:
        driver = Driver(Path(folder), orders, seed)
        bodies: dict[str, str] = {}
        for step in steps:
            driver.do(step)
            bodies |= driver.queue.bodies
            driver.check(bodies)
        if restart:
            driver.crash(planned=False)
        else:
            driver.epochs._next_reconciling = 0.0  # an hour has gone by
        rounds = 0
        while driver.batch() or driver.queue.bodies:
            driver.queue.lapse()
            driver.arrivals._receive(0)
            driver.arrivals._delete_done()
            rounds += 1
            assert rounds < 500
        driver.epochs.stop()
        driver.check(bodies)
        read = Counter(row for rows in driver.rows.values() for row in rows)
        assert read == Counter(f"{number}.csv" for number in range(driver.files))


def test_without_messages_nothing_is_found_before_everything_is_listed_again(orders, tmp_path):
    driver = Driver(tmp_path, orders, 1)
    assert not driver.batch()  # the listing of the start
    driver.upload(times=0, together=1)
    assert not driver.batch()
    driver.upload(times=1, together=1)
    driver.arrivals._receive(0)
    assert driver.batch()
    driver.epochs._next_reconciling = 0.0
    assert driver.batch()
    assert driver.rows == {1: ["1.csv"], 2: ["0.csv"]}
    driver.epochs.stop()


def test_a_plan_that_another_driver_wrote_loses_no_file(orders, tmp_path):
    """The own files stay with this driver, and so do their messages."""
    driver = Driver(tmp_path, orders, 1)
    driver.batch()
    other = Driver.__new__(Driver)
    other.__dict__ |= driver.__dict__
    driver.upload(times=1, together=1)
    driver.arrivals._receive(0)
    other.start()  # lists, so it finds the file too, and one that came since
    driver.upload(times=0, together=1)
    (tmp_path / "raw" / "0.csv").rename(tmp_path / "raw" / "hidden.txt")
    other.epochs.latest()  # plans 1.csv as epoch 1
    (tmp_path / "raw" / "hidden.txt").rename(tmp_path / "raw" / "0.csv")
    assert driver.batch()
    assert driver.batch()
    assert driver.rows == {1: ["1.csv"], 2: ["0.csv"]}
    driver.arrivals._delete_done()
    assert not driver.queue.bodies
    driver.epochs.stop()
    other.epochs.stop()


def test_files_that_wait_long_keep_their_messages_hidden(orders, tmp_path, monkeypatch):
    driver = Driver(tmp_path, orders, 1)
    driver.batch()
    for _ in range(5):
        driver.upload(times=1, together=1)
    while len(driver.arrivals._held) < 5:
        driver.arrivals._receive(0)
    driver.queue.lapse()
    monkeypatch.setattr("streaming_app.sources.csv_files.arrivals.VISIBILITY", 10**9)  # so that half of it has gone by
    driver.arrivals._extend()
    assert driver.queue.hidden == set(driver.queue.bodies)
    driver.epochs.stop()
    assert not driver.queue.hidden  # whoever comes next gets them at once
    assert len(driver.queue.bodies) == 5
