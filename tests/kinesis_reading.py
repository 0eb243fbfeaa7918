"""Drives the Kinesis source as Spark does, without Spark: offsets, partitions, tasks, commits, restarts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from streaming_app.journal.read_log import ReadLog
from streaming_app.sources.kinesis.client import shared_client
from streaming_app.sources.kinesis.clock import Clock, SystemClock
from streaming_app.sources.kinesis.context import Context
from streaming_app.sources.kinesis.epochs import EpochPartition, Epochs
from streaming_app.sources.kinesis.limiter import Limiters
from streaming_app.sources.kinesis.lineage import Offset
from streaming_app.sources.kinesis.options import KinesisOptions
from streaming_app.sources.kinesis.shard import Iterators
from streaming_app.sources.kinesis.source import read_partition
from streaming_app.sources.kinesis.subscription import Subscriptions
from streaming_app.storage import StorageOptions
from streaming_app.storage.local import LocalStorage
from tests.moto_server import CREDENTIALS

STREAM = "orders"
# A busy machine must not end a read early.
UNLIMITED: Mapping[str, Any] = {
    "fetch_interval": 0.0,
    "bytes_per_second": 0,
    "probe_interval": 0.0,
    "max_fetch_time": 120.0,
}


def options(url: str, folder: Path, **changes: Any) -> KinesisOptions:
    base = KinesisOptions(
        stream_name=STREAM,
        read_log_path=str(folder),
        storage=StorageOptions(),
        region="us-east-1",
        endpoint_url=url,
        throttle_timeout=120.0,
    )
    return replace(base, **{**UNLIMITED, **changes})


def context(url: str, folder: Path, clock: Clock | None = None, **changes: Any) -> Context:
    """A process of its own: own limiters and iterators (clients know nothing, and take 0.2 s to make). Credentials are in the environment (see `credentials`)."""
    chosen = options(url, folder, **changes)
    return Context(
        chosen,
        shared_client(chosen.endpoint),
        ReadLog(LocalStorage(str(folder))),
        clock or SystemClock(),
        Limiters(),
        Iterators(),
        Subscriptions(),
    )


def credentials(monkeypatch: Any) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@dataclass
class Query:
    """One streaming query over its life: `run` does batches until nothing is new; `crash` forgets all but the logs."""

    make: Callable[[], Context]
    rows: list[str] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    offsets: list[Offset] = field(default_factory=list)
    committed: int = 0

    def __post_init__(self) -> None:
        self.epochs = Epochs(self.make())

    def start(self) -> None:
        """As Spark does at each start: the initial offset of a new checkpoint, else where the logs stand."""
        if not self.offsets:
            self.offsets.append(self.epochs.initial())
            return
        last = self.offsets[self.committed]
        self.epochs.partitions(last, last)
        if self.committed < len(self.offsets) - 1:
            self.read()
            self.commit()

    def plan(self) -> bool:
        """Ask for news and write the offset log."""
        latest = settled_latest(self.epochs)
        if latest == self.offsets[-1]:
            return False
        self.offsets.append(latest)
        return True

    def read(self, keep: bool = True) -> list[str]:
        """All tasks of the batch that was planned last, each in a process of its own."""
        start, end = self.offsets[-2:]
        got = [row for part in self.epochs.partitions(start, end) for row in task(self.make(), part)]
        if keep:
            self.rows += got
            self.batches.append(len(got))
        return got

    def commit(self) -> None:
        self.committed = len(self.offsets) - 1
        self.epochs.commit(self.offsets[-1])

    def run(self, batches: int = 1000) -> Query:
        if not self.offsets:
            self.start()
        for _ in range(batches):
            if not self.plan():
                return self
            self.read()
            self.commit()
        return self

    def crash(self) -> Query:
        self.epochs.stop()
        self.epochs = Epochs(self.make())
        self.start()
        return self


def settled_latest(epochs: Epochs) -> Offset:
    """Spark's next offset, asked for again while a look at a shard is under way: on a busy machine one takes over a second."""
    while True:
        latest = epochs.latest()
        if latest != epochs._current or not any(
            watch.look and not watch.look.done() for watch in epochs._prober._watches.values()
        ):
            return latest


def task(where: Context, partition: EpochPartition) -> list[str]:
    """Source positions of the rows that one task reads."""
    rows = []
    for batch in read_partition(where, partition):
        places = zip(batch.column("shard_id").to_pylist(), batch.column("sequence_number").to_pylist(), strict=True)
        rows += [f"{shard}:{sequence}" for shard, sequence in places]
    return rows
