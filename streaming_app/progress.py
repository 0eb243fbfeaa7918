"""One log line a micro-batch, with what it read and wrote: from Spark's progress events and the sink's ledger."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from pyspark.sql.streaming.listener import (
    QueryIdleEvent,
    QueryProgressEvent,
    QueryStartedEvent,
    QueryTerminatedEvent,
    StreamingQueryListener,
)

from streaming_app.journal.ledger import Entry, Ledger
from streaming_app.journal.read_log import ReadLog, UnitRead
from streaming_app.runtime import logs

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lag:
    """How far behind their tips the shards of a stream were when a micro-batch had read them, in milliseconds.

    From MillisBehindLatest of each shard's last answer, so an idle shard is 0 behind and its lag never grows.
    """

    by_shard: Mapping[str, int]
    at_tip: frozenset[str] = frozenset()

    @property
    def idle(self) -> bool:
        """Whether every shard was read to its tip: nothing waits."""
        return self.at_tip.issuperset(self.by_shard)

    @property
    def worst(self) -> tuple[str, int]:
        """The shard that is furthest behind, and by how much."""
        return max(self.by_shard.items(), key=lambda item: item[1])


@dataclass(frozen=True)
class Standing:
    """What a micro-batch read of each unit, and what it left: a stream's lag, or the files that wait for a later one.

    `waiting` (files, bytes, oldest in microseconds since 1970) is there where the source's plan says so.
    """

    reads: Mapping[str, UnitRead] = field(default_factory=dict)
    lag: Lag | None = None
    waiting: Mapping[str, int] | None = None

    @property
    def idle(self) -> bool | None:
        """Whether nothing waits; None where that is not known."""
        if self.lag:
            return self.lag.idle
        return None if self.waiting is None else not self.waiting["files"]

    @classmethod
    def of(cls, read_log: ReadLog, epoch: int) -> Standing:
        """From the read log. A stream's plan is not asked for: it has no files, and asking costs a request on S3."""
        reads = read_log.units(epoch)
        lag = _lag(reads)
        plan = (read_log.plan(epoch) if reads and lag is None else None) or {}
        return cls(reads, lag, plan.get("waiting"))


@dataclass(frozen=True)
class Batch:
    """A finished micro-batch: its ledger entry, Spark's durations in milliseconds by phase, and where it left the source.

    `ended_at` is when Spark had ended it, in seconds since 1970; 0 when it did not say.
    """

    source: str
    entry: Entry
    durations_ms: Mapping[str, int]
    standing: Standing = field(default_factory=Standing)
    ended_at: float = 0.0


class ProgressListener(StreamingQueryListener):
    """Calls `on_batch` for every micro-batch that committed something. An error of the listener never harms the query.

    `heard` is called with the source's name whenever Spark tells of its query, also every 10 s when there is nothing to read
    (`spark.sql.streaming.noDataProgressEventInterval`); `idle` as well, in the second case only.
    """

    def __init__(
        self,
        ledgers: Mapping[str, Ledger],
        on_batch: Callable[[Batch], None],
        read_logs: Mapping[str, ReadLog] | None = None,
        heard: Callable[[str], None] = lambda _: None,
        idle: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._ledgers, self._on_batch = ledgers, on_batch
        self._read_logs, self._heard, self._idle = read_logs or {}, heard, idle
        self._names: dict[str, str] = {}  # of the queries, by run: an idle event has no name

    def onQueryStarted(self, event: QueryStartedEvent) -> None:  # noqa: N802
        """Remember the name."""
        self._names[str(event.runId)] = event.name or ""

    def onQueryIdle(self, event: QueryIdleEvent) -> None:  # noqa: N802
        """The query goes on, and there is nothing to read."""
        name = self._names.get(str(event.runId), "")
        self._heard(name)
        self._idle(name)

    def onQueryTerminated(self, event: QueryTerminatedEvent) -> None:  # noqa: N802
        """Forget the name; the service tells of the end itself."""
        self._names.pop(str(event.runId), None)

    def onQueryProgress(self, event: QueryProgressEvent) -> None:  # noqa: N802
        """Report the batch that has just ended."""
        try:
            self._report(json.loads(event.progress.json))
        except Exception:  # noqa: BLE001 - reporting is not worth a failed query
            _LOG.exception("a micro-batch could not be reported; the data is not affected")

    def _report(self, progress: Mapping[str, Any]) -> None:
        name, batch_id = progress["name"], progress["batchId"]
        self._heard(name)
        if "addBatch" not in progress["durationMs"]:  # a trigger without data repeats the last batch's id
            return
        entry = self._ledgers[name].get(batch_id) if name in self._ledgers else None
        if entry is not None:
            log = self._read_logs.get(name)
            standing = Standing.of(log, entry.epoch) if log else Standing()
            self._on_batch(Batch(name, entry, progress["durationMs"], standing, _ended(progress)))


def _lag(reads: Mapping[str, UnitRead]) -> Lag | None:
    behind = {unit: int(read.detail["millis_behind"]) for unit, read in reads.items() if "millis_behind" in read.detail}
    tips = frozenset(unit for unit in behind if reads[unit].detail.get("at_tip"))
    return Lag(behind, tips) if behind else None


def _ended(progress: Mapping[str, Any]) -> float:
    """When the trigger ended, in seconds since 1970."""
    if "timestamp" not in progress:
        return 0.0
    begun = datetime.fromisoformat(progress["timestamp"]).timestamp()
    return begun + float(progress["durationMs"].get("triggerExecution", 0)) / 1000


def log_batch(batch: Batch) -> None:
    """The log line of a micro-batch."""
    counts = batch.entry.counts
    figures: dict[str, Any] = {
        "read": counts.read,
        "clean": counts.clean,
        "dead": counts.dead,
        "files": len(batch.entry.files),
    }
    if counts.by_reason:
        figures["reasons"] = counts.by_reason
    if counts.by_warning:
        figures["warnings"] = counts.by_warning
    if counts.by_info:
        figures["infos"] = counts.by_info
    if batch.entry.arrived:
        figures["oldest_s"] = round(batch.entry.committed_at - batch.entry.arrived[0], 3)
    lag = batch.standing.lag
    if lag:
        figures["behind_shard"], figures["behind_ms"] = lag.worst
        figures["idle"] = lag.idle
    figures["ms"] = batch.durations_ms.get("triggerExecution")
    _LOG.info("committed", extra=logs.fields(batch.source, batch.entry.batch_id, **figures))
