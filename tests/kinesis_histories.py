"""What can happen to a stream and its reader, as steps that hypothesis puts together, and what must be true at the end."""

from __future__ import annotations

import itertools
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from hypothesis import strategies as st

from streaming_app.sources.kinesis.clock import SystemClock
from streaming_app.sources.kinesis.context import Context
from streaming_app.sources.kinesis.subscription import Subscriptions
from tests.kinesis_reading import STREAM, Query, context, task

MOST_SHARDS = 24


class FastClock(SystemClock):
    """Nobody waits: sleeping moves this clock on."""

    def __init__(self) -> None:
        self._slept = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self._slept

    def sleep(self, seconds: float) -> None:
        self._slept += seconds


class SharedClock(FastClock):
    """One time for the service and all its readers, so that the service's limits and its iterators' ends hold in it."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def now(self) -> float:
        return super().now() + self._slept

    def sleep(self, seconds: float) -> None:
        with self._lock:
            super().sleep(seconds)


class Service(Protocol):
    """What a history needs of a Kinesis; one that cannot fail on demand, or expire shards, does nothing there."""

    url: str
    parents: dict[str, list[str]]
    script: Any

    def reset(self) -> None: ...
    def create(self, stream: str, shards: int) -> Any: ...
    def put(self, stream: str, events: Sequence[bytes]) -> list[str]: ...
    def open_shards(self, stream: str) -> list[str]: ...
    def adjacent_shards(self, stream: str) -> list[tuple[str, str]]: ...
    def split(self, stream: str, shard: str) -> Any: ...
    def merge(self, stream: str, first: str, second: str) -> Any: ...
    def expire_shard(self, stream: str, shard: str, *, missing_ok: bool) -> None: ...
    def set(self, **rules: float) -> None: ...


class Limited(Service, Protocol):
    """One that has a clock, by which its limits hold."""

    clock: Callable[[], float]


@dataclass
class History:
    """One stream and its reader through everything that happens to them."""

    kinesis: Service
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
        self.kinesis.set(throttle=rate, expire=rate / 2, internal=rate / 2, empty=rate, cut=rate)
        self.kinesis.set(elsewhere=rate, reset=rate / 3, latency=rate / 100)

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
        self.kinesis.set(throttle=0.0, expire=0.0, internal=0.0, empty=0.0, cut=0.0)
        self.kinesis.set(elsewhere=0.0, reset=0.0, latency=0.0)
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


RESHARDING: list[Callable[[History, int], None]] = [History.split, History.double, History.merge, History.merge]
STEPS: list[Callable[[History, int], None]] = [
    History.put,
    History.put,
    History.put,
    History.batches,
    History.batches,
    History.expire_what_was_read,
    History.faults,
    History.fail_next,
    History.crash,
    History.crash_before_reading,
    History.crash_between_tasks,
    History.crash_before_commit,
]


def histories(steps: Sequence[Callable[[History, int], None]], most: int = 30) -> st.SearchStrategy[Any]:
    """Lists of steps, each with a number to draw from."""
    return st.lists(st.tuples(st.sampled_from(steps), st.integers(0, 40)), min_size=4, max_size=most)


BATCHES = st.sampled_from([1, 3, 10, 30])  # records a shard gives to a micro-batch


def live(kinesis: Service, steps: list[Any], shards: int, batch: int, **options: Any) -> None:
    """Every task in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        _live(kinesis, steps, shards, lambda: _process(kinesis, folder, batch, **options))


def live_within_limits(kinesis: Limited, steps: list[Any], shards: int, batch: int) -> None:
    """As `live`, with a shard's limits on, the reader's own ones as they are shipped, and time that passes for both."""
    shipped = {"fetch_interval": 0.2, "bytes_per_second": 2 << 20}
    clock, own = SharedClock(), kinesis.clock
    kinesis.clock = clock.now
    try:
        with tempfile.TemporaryDirectory() as folder:
            _live(kinesis, steps, shards, lambda: _process(kinesis, folder, batch, clock, **shipped), limits=True)
    finally:
        kinesis.clock = own


def live_by_subscription(kinesis: Service, steps: list[Any], shards: int, batch: int) -> None:
    """With enhanced fan-out: tasks land in one of three worker processes, which keep their subscriptions."""
    efo = {"consumer_type": "efo", "consumer_name": "histories"}
    with tempfile.TemporaryDirectory() as folder:
        workers = [
            replace(_process(kinesis, folder, batch, **efo), subscriptions=Subscriptions(again_after=0.05))
            for _ in range(3)
        ]
        turns = itertools.cycle(workers)
        try:
            _live(kinesis, steps, shards, lambda: next(turns))
        finally:
            for worker in workers:
                worker.subscriptions.close()


def _process(kinesis: Service, folder: str, batch: int, clock: FastClock | None = None, **options: Any) -> Context:
    limits = {"max_records_per_shard": batch, "max_tasks": 3, "throttle_timeout": 1e6}
    return context(kinesis.url, Path(folder), clock or FastClock(), **limits, **options)


def _live(
    kinesis: Service, steps: list[Any], shards: int, make: Callable[[], Context], *, limits: bool = False
) -> None:
    kinesis.reset()
    kinesis.set(subscribe_again_after=0.05, event_records=4, heartbeat=0.02, limits=limits)
    kinesis.create(STREAM, shards=shards)
    history = History(kinesis, Query(make))
    history.reader.start()
    for step, number in steps:
        step(history, number)
    history.finish()
