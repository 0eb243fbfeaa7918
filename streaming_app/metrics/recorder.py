"""Turns what happens (micro-batches, events of sources) into values of metrics. Called once a micro-batch, on the driver."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from streaming_app.events import EventKind, SourceEvent
from streaming_app.journal.ledger import Entry, Ledger
from streaming_app.journal.losses import Loss
from streaming_app.journal.read_log import ReadLog, UnitRead
from streaming_app.journal.totals import LedgerTotals, Totals
from streaming_app.metrics import catalogue as m
from streaming_app.metrics.values import Values
from streaming_app.progress import Batch, Standing
from streaming_app.schema import CLEAN, DEAD_LETTER
from streaming_app.sources.kinesis.expiry import known_until
from streaming_app.storage import Storage

_HOUR: Final = 3600.0
_WHOLE: Final = "triggerExecution"
_LOOK_BACK: Final = 128  # ledger entries that are read first to find those of an hour: two minutes of one a second
_OVER: Final = (EventKind.DONE, EventKind.STOPPED)
_CALLS: Final = {m.CALLS: "calls", m.THROTTLES: "throttles", m.RENEWALS: "renewals"}


class Recorder:
    """Keeps `values` true. Each micro-batch is counted once, by its ledger entry, however often it is told of."""

    def __init__(self, values: Values, clock: Callable[[], float] = time.time) -> None:
        self._values, self._clock = values, clock
        self._totals: dict[str, LedgerTotals] = {}
        self._counted: dict[str, int] = {}
        self._failed: dict[str, str] = {}  # the class of the error by source, until it starts again
        self._over: set[str] = set()  # sources that have ended by themselves or were stopped
        self._shards: dict[str, _Shards] = {}
        self._files: dict[str, _RecentFiles] = {}
        self._lock = threading.Lock()

    def begin(self, source: str, checkpoint: Storage, first: Callable[[], None] = lambda: None) -> None:
        """Read the source's totals from its ledger, and let every counter of it exist; no scrape waits for the reading.

        `first` is called in the moment in which the totals appear. Raises what the storage raises; call it again then.
        """
        totals = LedgerTotals(checkpoint)
        standing = Standing.of(ReadLog(checkpoint), totals.last.epoch) if totals.last else Standing()
        recent = _since(Ledger(checkpoint), totals.totals.through, self._clock() - _HOUR)
        with self._lock, self._values.change:
            self._totals[source], self._counted[source] = totals, totals.totals.through
            self._files[source] = _RecentFiles(recent)
            self._put_totals(source, totals.totals)
            self._put_zeros(source)
            self._values.set(m.LAST_BREACH, max((e.committed_at for e in recent if e.breaches), default=0.0), source)
            if totals.last is not None:
                self._values.set(m.LAST_SUCCESS, totals.last.committed_at, source)
                self._put_standing(source, standing)
            self._put_pressure(source)
            first()

    def save(self) -> None:
        """Keep the totals for the next start."""
        with self._lock:
            for totals in self._totals.values():
                totals.save()

    def on_batch(self, batch: Batch) -> None:
        """Count a published micro-batch, once; one that runs again after a crash only says where it left the source."""
        with self._lock:
            if batch.source not in self._totals:
                return
            if batch.entry.batch_id <= self._counted[batch.source]:
                if batch.entry.batch_id == self._counted[batch.source]:
                    self._put_standing(batch.source, batch.standing)
                return
            self._counted[batch.source] = batch.entry.batch_id
            self._totals[batch.source].add(batch.entry)  # may read the ledger: a scrape does not wait for it
            with self._values.change:
                self._put_totals(batch.source, self._totals[batch.source].totals)
                self._put_times(batch)
                self._put_reads(batch)
                self._files[batch.source].add(batch.entry)
                self._put_pressure(batch.source)
                if batch.entry.breaches:
                    self._values.set(m.LAST_BREACH, batch.entry.committed_at, batch.source)

    def on_event(self, event: SourceEvent) -> None:
        """Count failures and restarts; remember what runs."""
        values, name = self._values, event.source
        with values.change:
            if event.kind is EventKind.RECOVERED:
                for outcome in ("finished", "voided"):
                    values.add(m.RECOVERED, event.figures.get(outcome, 0), name, outcome)
                values.add(m.DISCARDED, event.figures.get("discarded", 0), name)
                return
            values.set(m.SOURCE_UP, float(event.kind is EventKind.STARTED), name)
            values.drop(m.IDLE, name)
            if event.kind is EventKind.FAILED:
                values.add(m.FAILURES, 1, name, event.error)
                self._failed[name] = event.error
            elif event.kind is EventKind.STARTED:
                self._started(name, event.suite)
            elif event.kind in _OVER:  # nothing is to be heard of it any more, and a Pushgateway keeps the last push
                self._over.add(name)
                values.drop(m.LAST_TRIGGER, name)
                values.drop(m.READ_UNTIL, name)

    def _started(self, source: str, suite: str) -> None:
        values, error = self._values, self._failed.pop(source, None)
        self._over.discard(source)
        values.replace(m.SUITE, source, {suite: 1})
        values.set(m.LAST_TRIGGER, self._clock(), source)  # its first micro-batch may hang, too
        values.add(m.RESTARTS, float(error is not None), source)
        if error is not None:
            values.add(m.RESTARTS_BY_KIND, 1, source, error)

    def closed(self, source: str, shards: frozenset[str]) -> None:
        """Kinesis has closed these shards: those that are still read drain."""
        with self._lock:
            self._shards.setdefault(source, _Shards()).closed = shards
            self._put_shards(source)

    def lost(self, source: str, losses: Sequence[Loss]) -> None:
        """All losses that a source's checkpoint knows."""
        with self._values.change:
            self._values.set(m.LOSSES, len(losses), source)
            self._values.set(m.LAST_LOSS, max((loss.noticed_at for loss in losses), default=0.0), source)

    def heard(self, source: str) -> None:
        """Spark told that the query goes on; what it tells of one that has ended comes late, and says nothing."""
        self._put_of_running(m.LAST_TRIGGER, self._clock(), source)

    def idle(self, source: str) -> None:
        """Spark found nothing to read."""
        self._put_of_running(m.IDLE, 1, source)

    def looked(self, source: str, tips: Mapping[str, Any] | None) -> None:
        """The read log's note of the last looks that found shards at their tips, None before the first."""
        with self._lock:
            shards = self._shards.setdefault(source, _Shards())
            shards.tips = tips
            self._put_read_until(source)

    def refresh(self) -> None:
        """Count anew what changes with time alone."""
        with self._lock, self._values.change:
            for source in self._files:
                self._put_pressure(source)

    def _put_of_running(self, metric: m.Metric, value: float, source: str) -> None:
        with self._values.change:
            if source not in self._over:
                self._values.set(metric, value, source)

    def _put_zeros(self, source: str) -> None:
        for metric in (m.BYTES_READ, m.RESTARTS, m.DISCARDED):
            self._values.add(metric, 0, source)
        for outcome in ("finished", "voided"):
            self._values.add(m.RECOVERED, 0, source, outcome)
        if self._values.get(m.SOURCE_UP, source) is None:  # else it runs, and its totals could not be read before
            self._values.set(m.SOURCE_UP, 0, source)

    def _put_totals(self, source: str, totals: Totals) -> None:
        values, rows = self._values, totals.rows
        for metric, number in (
            (m.ROWS_READ, rows["read"]),
            (m.ROWS_CLEAN, rows["clean"]),
            (m.ROWS_DUPLICATE, rows["duplicates"]),
            (m.BATCHES, totals.batches),
            (m.BREACHED, totals.breached),
        ):
            values.set(metric, number, source)
        stages = dict.fromkeys(("decode", "cast", "rule", "duplicate"), 0) | totals.by_stage
        tables = dict.fromkeys((CLEAN, DEAD_LETTER), 0)
        values.replace(m.ROWS_DEAD, source, stages)
        values.replace(m.FILES_WRITTEN, source, tables | totals.files)
        values.replace(m.BYTES_WRITTEN, source, tables | totals.bytes)
        values.replace(m.REJECTIONS, source, totals.by_reason)
        values.replace(m.WARNINGS, source, totals.by_warning)
        values.replace(m.INFOS, source, totals.by_info)
        values.replace(m.BREACHES, source, totals.breaches)

    def _put_times(self, batch: Batch) -> None:
        values, source, entry = self._values, batch.source, batch.entry
        seconds = {phase: duration / 1000 for phase, duration in batch.durations_ms.items()}
        whole = seconds.pop(_WHOLE, 0.0)
        for phase, duration in seconds.items():
            values.add(m.PHASE_SECONDS, duration, source, phase)
        values.observe(m.BATCH_DURATION, whole, source)
        values.set(m.ROWS_PER_SECOND, entry.counts.read / whole if whole else 0.0, source)
        values.set(m.LAST_SUCCESS, entry.committed_at, source)
        if entry.arrived:
            ended = batch.ended_at or entry.committed_at
            for row, arrived in zip(("oldest", "newest"), entry.arrived, strict=True):
                values.observe(m.EVENT_TO_QUERYABLE, max(0.0, ended - arrived), source, row)

    def _put_reads(self, batch: Batch) -> None:
        reads = batch.standing.reads.values()
        self._values.add(m.BYTES_READ, sum(read.bytes for read in reads), batch.source)
        self._put_standing(batch.source, batch.standing)
        if batch.standing.idle is not None:
            self._put_of_running(m.IDLE, float(batch.standing.idle), batch.source)
        if batch.standing.lag:
            for metric, name in _CALLS.items():
                self._values.add(metric, sum(read.detail.get(name, 0) for read in reads), batch.source)

    def _put_standing(self, source: str, standing: Standing) -> None:
        """Gauges that hold until the next micro-batch, so after a restart too; counters of a stream exist from here on."""
        values, lag = self._values, standing.lag
        if lag:
            values.set(m.LAG, lag.worst[1] / 1000, source)
            values.replace(m.SHARD_LAG, source, {shard: ms / 1000 for shard, ms in sorted(lag.by_shard.items())})
            for metric in _CALLS:
                values.add(metric, 0, source)
            self._shards.setdefault(source, _Shards()).take(standing.reads)
            self._put_shards(source)
            self._put_read_until(source)
        if standing.waiting is not None:
            self._put_backlog(source, standing.waiting)

    def _put_shards(self, source: str) -> None:
        values, shards = self._values, self._shards[source]
        if not shards.reads:  # nothing was read yet
            return
        draining = len(shards.unfinished & shards.closed)
        with values.change:
            values.set(m.SHARDS_OPEN, len(shards.unfinished) - draining, source)
            values.set(m.SHARDS_DRAINING, draining, source)
            behind = shards.records_behind()
            if behind is None:
                values.drop(m.LAG_RECORDS, source)
            else:
                values.set(m.LAG_RECORDS, behind, source)

    def _put_read_until(self, source: str) -> None:
        until = self._shards[source].read_until()
        if until is not None:
            self._put_of_running(m.READ_UNTIL, until, source)

    def _put_backlog(self, source: str, waiting: Mapping[str, int]) -> None:
        self._values.set(m.BACKLOG_FILES, waiting["files"], source)
        self._values.set(m.BACKLOG_BYTES, waiting["bytes"], source)
        self._values.set(m.BACKLOG_OLDEST, waiting["oldest"] / 1_000_000, source)

    def _put_pressure(self, source: str) -> None:
        most = dict.fromkeys((CLEAN, DEAD_LETTER), 0)
        for (table, _), count in self._files[source].since(self._clock() - _HOUR).items():
            most[table] = max(most.get(table, 0), count)
        self._values.replace(m.PARTITION_FILES, source, most)


@dataclass
class _Shards:
    """The shards of a source's last micro-batch, which of the stream's are closed, and how fast each one's records arrived."""

    closed: frozenset[str] = frozenset()
    reads: Mapping[str, UnitRead] = field(default_factory=dict)
    tips: Mapping[str, Any] | None = None  # the read log's note
    _arrived: dict[str, float] = field(
        default_factory=dict
    )  # milliseconds since 1970, of the last record that was read
    _rates: dict[str, float] = field(default_factory=dict)  # records a millisecond

    @property
    def unfinished(self) -> frozenset[str]:
        """Those with more to come."""
        return frozenset(shard for shard, read in self.reads.items() if not read.detail.get("closed"))

    def take(self, reads: Mapping[str, UnitRead]) -> None:
        """The reads of a micro-batch. A rate is of the time between the last records of two reads."""
        self.reads = reads
        for shard, read in reads.items():
            arrived, before = read.detail.get("last_arrival_ms"), self._arrived.get(shard)
            if arrived is None:
                continue
            if before is not None and arrived > before:
                self._rates[shard] = read.detail.get("records", read.rows) / (arrived - before)
            self._arrived[shard] = arrived
        for known in (self._arrived, self._rates):
            for shard in known.keys() - reads.keys():
                del known[shard]

    def records_behind(self) -> float | None:
        """About how many records wait; None while a shard lags whose rate is not known."""
        lags = {shard: int(self.reads[shard].detail.get("millis_behind", 0)) for shard in self.unfinished}
        late = {shard: lag for shard, lag in lags.items() if lag}
        if not late.keys() <= self._rates.keys():
            return None
        return sum(lag * self._rates[shard] for shard, lag in late.items())

    def read_until(self) -> float | None:
        """Seconds since 1970: everything that arrived before was read; None while that is not known.

        Where all shards were read to their ends their children follow, of which the next micro-batch tells.
        """
        if not self.reads:
            return float(self.tips["at"]) if self.tips else None
        known = (self.reads[shard] for shard in self.unfinished if "read_at_ms" in self.reads[shard].detail)
        return min((known_until(read, self.tips) for read in known), default=None)


def _since(ledger: Ledger, through: int, since: float) -> list[Entry]:
    """The entries up to a batch that were committed since then: most triggers make few of them, so few are read first."""
    back = _LOOK_BACK
    while True:
        first = max(0, through + 1 - back)
        entries = [entry for entry in ledger.entries(first) if entry.batch_id <= through]
        if not first or not entries or entries[0].committed_at < since:
            return [entry for entry in entries if entry.committed_at >= since]
        back *= 4


class _RecentFiles:
    """Files by table and partition, of the last hour; each is counted in once and out once."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._files: deque[tuple[float, tuple[str, str]]] = deque()
        self._counts: Counter[tuple[str, str]] = Counter()
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        """Take an entry's files in."""
        for file in entry.files:
            place = (file.table, file.partition)
            self._files.append((entry.committed_at, place))
            self._counts[place] += 1

    def since(self, since: float) -> Counter[tuple[str, str]]:
        """The counts without what was committed before `since`."""
        while self._files and self._files[0][0] < since:
            _, place = self._files.popleft()
            self._counts[place] -= 1
            if not self._counts[place]:
                del self._counts[place]
        return self._counts
