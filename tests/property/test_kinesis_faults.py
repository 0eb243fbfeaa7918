"""Any history of puts, splits, merges, expiries, throttles, crashes and restarts: what was put is delivered once, in order.

The Kinesis behind it keeps the service's own rules (tests/strict_kinesis.py) and is reached over HTTP by the real client.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streaming_app.sources.kinesis.clock import SystemClock
from tests.kinesis_reading import STREAM, Query, context, credentials, task
from tests.strict_kinesis import StrictKinesis, strict_kinesis

MOST_SHARDS = 24


class FastClock(SystemClock):
    """Nobody waits: sleeping moves this clock on."""

    def __init__(self) -> None:
        self._slept = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self._slept

    def sleep(self, seconds: float) -> None:
        self._slept += seconds


@pytest.fixture(scope="module")
def kinesis():
    with pytest.MonkeyPatch.context() as patch, strict_kinesis() as server:
        credentials(patch)
        yield server


@dataclass
class History:
    """One stream and its reader through everything that happens to them."""

    kinesis: StrictKinesis
    reader: Query
    sent: list[str] = field(default_factory=list)
    numbers: Any = field(default_factory=itertools.count)

    def put(self, count: int) -> None:
        self.sent += self.kinesis.put(STREAM, [b"event %d" % next(self.numbers) for _ in range(count)])

    def split(self, which: int) -> None:
        shards = self.kinesis.open_shards(STREAM)
        if len(shards) < MOST_SHARDS:
            self.kinesis.split(STREAM, shards[which % len(shards)])

    def double(self, _: int) -> None:
        """As an on-demand stream grows: all shards at once."""
        for number in range(len(self.kinesis.open_shards(STREAM))):
            self.split(number)

    def merge(self, which: int) -> None:
        pairs = self.kinesis.adjacent_shards(STREAM)
        if pairs:
            self.kinesis.merge(STREAM, *pairs[which % len(pairs)])

    def expire_what_was_read(self, _: int) -> None:
        """Retention takes closed shards that were read to their end, and whose batch was committed."""
        if self.reader.committed == len(self.reader.offsets) - 1:
            reading = set(self.reader.offsets[-1].shards)
            seen = {shard for offset in self.reader.offsets for shard in offset.shards}
            for shard in sorted(seen - reading):
                self.kinesis.expire_shard(STREAM, shard, missing_ok=True)

    def faults(self, tenths: int) -> None:
        rate = tenths % 4 / 10
        self.kinesis.set(throttle=rate, expire=rate / 2, internal=rate / 2, empty=rate)

    def fail_next(self, which: int) -> None:
        codes = ["ProvisionedThroughputExceededException", "ExpiredIteratorException", "InternalFailureException"]
        self.kinesis.script.append(codes[which % len(codes)])

    def batches(self, count: int) -> None:
        self.reader.run(batches=count % 3 + 1)

    def crash(self, _: int) -> None:
        self.reader.crash()

    def crash_before_reading(self, _: int) -> None:
        if self.reader.plan():
            self.reader.crash()

    def crash_between_tasks(self, which: int) -> None:
        """Some tasks ended, others did not; what the first recorded is what the batch holds of them for good."""
        if self.reader.plan():
            parts = self.reader.epochs.partitions(*self.reader.offsets[-2:])
            for part in parts[: which % (len(parts) + 1)]:
                task(self.reader.make(), part)
            self.reader.crash()

    def crash_before_commit(self, more: int) -> None:
        """The whole batch was read; its second reading gives the same rows, though more has come."""
        if self.reader.plan():
            first = self.reader.read(keep=False)
            self.put(more % 5)
            begin = len(self.reader.rows)
            self.reader.crash()
            assert sorted(self.reader.rows[begin:]) == sorted(first)

    def finish(self) -> None:
        self.kinesis.set(throttle=0.0, expire=0.0, internal=0.0, empty=0.0)
        self.kinesis.script.clear()
        self.reader.crash().run()
        self.reader.epochs.stop()
        assert sorted(self.reader.rows) == sorted(self.sent)
        got = by_shard(self.reader.rows)
        assert {shard: [place for _, place in rows] for shard, rows in got.items()} == {
            shard: [place for _, place in rows] for shard, rows in by_shard(self.sent).items()
        }
        for shard, rows in got.items():
            for parent in self.kinesis.parents[shard]:
                assert parent not in got or got[parent][-1] < rows[0]


def by_shard(places: list[str]) -> dict[str, list[tuple[int, str]]]:
    """Each shard's places, with where in the whole they came."""
    found: dict[str, list[tuple[int, str]]] = {}
    for number, place in enumerate(places):
        found.setdefault(place.partition(":")[0], []).append((number, place))
    return found


STEPS: list[Callable[[History, int], None]] = [
    History.put,
    History.put,
    History.put,
    History.batches,
    History.batches,
    History.split,
    History.double,
    History.merge,
    History.merge,
    History.expire_what_was_read,
    History.faults,
    History.fail_next,
    History.crash,
    History.crash_before_reading,
    History.crash_between_tasks,
    History.crash_before_commit,
]
HISTORIES = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 40)), min_size=4, max_size=30)
BATCHES = st.sampled_from([1, 3, 10, 30])
NO_LIMIT = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]}


def live(kinesis: StrictKinesis, steps: list[Any], shards: int, batch: int) -> None:
    kinesis.reset()
    kinesis.create(STREAM, shards=shards)
    with tempfile.TemporaryDirectory() as folder:

        def make() -> Any:
            return context(
                kinesis.url, Path(folder), FastClock(), max_records_per_shard=batch, max_tasks=3, throttle_timeout=1e6
            )

        history = History(kinesis, Query(make))
        history.reader.start()
        for step, number in steps:
            step(history, number)
        history.finish()


@settings(max_examples=50, **NO_LIMIT)
@given(steps=HISTORIES, shards=st.integers(1, 4), batch=BATCHES)
def test_what_was_put_is_delivered_once_and_in_order(kinesis, steps, shards, batch):
    live(kinesis, steps, shards, batch)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=1000, **NO_LIMIT)
@given(steps=HISTORIES, shards=st.integers(1, 4), batch=BATCHES)
def test_what_was_put_is_delivered_once_and_in_order_a_thousand_times(kinesis, steps, shards, batch):
    live(kinesis, steps, shards, batch)
