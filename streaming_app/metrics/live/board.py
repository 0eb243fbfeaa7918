"""What the live page knows: the last hour, the last micro-batches and the rules. `Board.state` is the page's JSON."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any, Final

import numpy as np

from streaming_app.journal.ledger import Entry, Ledger
from streaming_app.metrics import catalogue as m
from streaming_app.metrics.health import Readiness
from streaming_app.metrics.live.history import HOUR, History, Name, Seconds
from streaming_app.metrics.live.newest import Newest
from streaming_app.metrics.live.rejected import Rejected
from streaming_app.metrics.live.rules import Rules
from streaming_app.metrics.values import Values
from streaming_app.progress import Batch
from streaming_app.quality import Suite
from streaming_app.schema import Dataset

_BATCHES: Final = 30  # micro-batches on the page
_SPANS: Final = {300: 1, HOUR: 10}  # seconds that a chart shows, and of one of its steps
_REASONS: Final = 7  # with a line of their own in a chart; the rest is one more
_SHARDS: Final = 64
_LONGEST_WAIT: Final = 300.0  # seconds: rows of a batch are spread over at most so much
_LATELY: Final = 60.0  # seconds
_FRESH: Final = 1.0  # seconds that an answer is given again
_WHOLE: Final = "triggerExecution"


@dataclass
class _Seen:
    """Of one source: its last batch that was counted, and of the last ones when each ended and how many seconds it took."""

    through: int = -1
    ended: float = 0.0
    took: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=5))


class Board:
    """Takes every micro-batch once, in microseconds; `state` is computed when somebody looks, at most once a second.

    `trigger` is how often a micro-batch begins, in seconds: no row is known before the batch that read it has ended, so the
    charts end that long ago.
    """

    def __init__(
        self, values: Values, readiness: Callable[[], Readiness], trigger: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._values, self._readiness, self._trigger, self._clock = values, readiness, trigger, clock
        self._started = clock()
        self._rows, self._reasons = History(), History()  # apart: no number of reasons may leave rows without a place
        self._sources: dict[str, _Seen] = {}
        self._batches: Newest[dict[str, Any]] = Newest(_BATCHES)
        self._rules: Rules | None = None
        self._rejected: Rejected | None = None
        self._cached: dict[int, tuple[float, dict[str, Any]]] = {}
        self._lock = threading.RLock()

    def show_rejected(self, rejected: Rejected) -> None:
        """From now on dead letters are on the page."""
        self._rejected = rejected

    def show_rules(self, suite: Suite, dataset: Dataset) -> None:
        """The suite in force."""
        self._rules = Rules(suite, dataset)

    def begin(self, source: str, ledger: Ledger) -> None:
        """Fill the last hour in from the ledger: a restart leaves no hole but that in which nothing ran."""
        newest = ledger.newest()
        with self._lock:
            self._begin(source, ledger, newest)

    def _begin(self, source: str, ledger: Ledger, newest: int) -> None:
        self._sources[source] = _Seen(through=newest)
        since = self._clock() - HOUR
        entries = [entry for entry in ledger.entries(max(0, newest - HOUR)) if entry.batch_id <= newest]
        for entry, took in zip(entries, self._took(entries), strict=True):
            if entry.committed_at > since:
                self._count(source, entry, entry.committed_at - took, entry.committed_at)
        for entry in entries[-_BATCHES:]:
            self._remember(source, entry, {}, None)

    def _took(self, entries: Sequence[Entry]) -> list[float]:
        """Seconds of each batch as far as a ledger tells: since the one before, but no more than twice the usual.

        So an outage stays a gap, and a batch that was a little late makes none.
        """
        gaps = [entry.committed_at - before.committed_at for before, entry in pairwise(entries)]
        longest = max(self._trigger, 2 * median(gaps)) if gaps else self._trigger
        return [min(gap, longest) for gap in [self._trigger, *gaps]] if entries else []

    def on_batch(self, batch: Batch) -> None:
        """A micro-batch was published. One that the ledger had at the start, or that was told of before, is not counted again."""
        entry, ended = batch.entry, batch.ended_at or batch.entry.committed_at
        with self._lock:
            seen = self._sources.setdefault(batch.source, _Seen())
            if entry.batch_id <= seen.through:
                return
            took = batch.durations_ms.get(_WHOLE, 0) / 1000
            self._count(batch.source, entry, max(seen.ended, ended - max(took, self._trigger)), ended)
            seen.through, seen.ended = entry.batch_id, ended
            seen.took.append((ended, took))
            self._remember(batch.source, entry, batch.durations_ms, ended)

    def _count(self, source: str, entry: Entry, begun: float, ended: float) -> None:
        counts, begun = entry.counts, max(begun, ended - _LONGEST_WAIT)
        rows = {"clean": counts.clean, "dead": counts.dead, "duplicates": counts.duplicates}
        reasons: dict[Name, float] = {("reason", reason): number for reason, number in counts.by_reason.items()}
        reasons |= {("note", rule): number for rule, number in {**counts.by_warning, **counts.by_info}.items()}
        self._rows.add({(source, outcome): number for outcome, number in rows.items()}, begun, ended)
        self._reasons.add(reasons, begun, ended)

    def _remember(self, source: str, entry: Entry, durations_ms: Mapping[str, int], ended: float | None) -> None:
        counts, at = entry.counts, ended or entry.committed_at
        self._batches.add(
            at,
            {
                "source": source,
                "batch": entry.batch_id,
                "ended": at,
                "read": counts.read,
                "clean": counts.clean,
                "dead": counts.dead,
                "duplicates": counts.duplicates,
                "files": len(entry.files),
                "bytes": sum(file.staged.size for file in entry.files),
                "oldest": at - entry.arrived[0] if entry.arrived else None,
                "suite": entry.suite_fingerprint,
                "breaches": dict(entry.breaches),
                "ms": durations_ms.get(_WHOLE),
                "phases": {name: ms for name, ms in durations_ms.items() if name != _WHOLE},
            },
        )
        if self._rejected:
            self._rejected.offer(source, entry)

    def close(self) -> None:
        """Read no more dead letters."""
        if self._rejected:
            self._rejected.close()

    def state(self, span: int = HOUR) -> dict[str, Any]:
        """Everything on the page, as JSON takes it: times in seconds since 1970, amounts by second in the charts."""
        span = span if span in _SPANS else HOUR
        with self._lock:
            made, state = self._cached.get(span, (0.0, {}))
            now = self._clock()
            if not state or not 0 <= now - made < _FRESH:
                state = self._state(span, now)
                self._cached[span] = (0.0 if state["reading"] else now), state
            return state

    def _state(self, span: int, now: float) -> dict[str, Any]:
        letters, reading = self._rejected.last() if self._rejected else ([], False)
        found, suite = self._readiness(), self._rules.suite if self._rules else None
        end = int(now - self._unknown(now))
        hour = int(now) + 1 - HOUR, int(now) + 1, HOUR
        return {
            "now": now,
            "service": self._service(found),
            "sources": [self._source(name, found, end) for name in found.sources],
            "last_hour": _by_source(self._rows.sums(*hour)),
            "history": self._charts(span, end),
            "batches": list(self._batches),
            "dead_letters": letters,
            "reading": reading,
            "rules": self._counted_rules(self._reasons.sums(*hour)),
            "suite": {"name": suite.name, "fingerprint": suite.fingerprint} if suite else {},
            "machine": self._machine(),
            "audit": self._audit(),
        }

    def _unknown(self, now: float) -> float:
        """For so many seconds back rows may still be told of: a trigger, and a batch as they were in the last minute."""
        batches = [batch for seen in self._sources.values() for batch in seen.took]
        took = max((took for ended, took in batches if ended > now - _LATELY - self._trigger), default=0.0)
        return min(_LONGEST_WAIT, self._trigger + took + 1)

    def _service(self, found: Readiness) -> dict[str, Any]:
        build = next((list(labels) for labels in self._numbers(m.BUILD)), ["", "", ""])
        return {
            "ready": found.ready,
            "started": self._started,
            "trigger": self._trigger,
            **dict(zip(("version", "python", "spark"), build, strict=True)),
        }

    def _source(self, name: str, found: Readiness, end: int) -> dict[str, Any]:
        values = self._values
        window = max(10, round(2 * self._trigger))
        recent = self._rows.sums(end - window, end, window)
        rate = sum(float(numbers[0]) for (source, _), numbers in recent.items() if source == name) / window
        shards = sorted(((lag, labels[1]) for labels, lag in self._numbers(m.SHARD_LAG, name).items()), reverse=True)
        return {
            "name": name,
            "state": found.sources[name],
            "looked": name in found.looked,
            "rate": rate,
            "lag": values.get(m.LAG, name),
            "shards": [{"shard": shard, "lag": lag} for lag, shard in shards[:_SHARDS]],
            "shards_open": values.get(m.SHARDS_OPEN, name),
            "shards_draining": values.get(m.SHARDS_DRAINING, name),
            "lag_records": values.get(m.LAG_RECORDS, name),
            "throttles": values.get(m.THROTTLES, name),
            "backlog": [values.get(each, name) for each in (m.BACKLOG_FILES, m.BACKLOG_BYTES, m.BACKLOG_OLDEST)],
            "rows": {
                "read": values.get(m.ROWS_READ, name) or 0,
                "clean": values.get(m.ROWS_CLEAN, name) or 0,
                "dead": sum(self._numbers(m.ROWS_DEAD, name).values()),
                "duplicates": values.get(m.ROWS_DUPLICATE, name) or 0,
            },
            "last_success": values.get(m.LAST_SUCCESS, name),
            "last_heard": values.get(m.LAST_TRIGGER, name),
            "restarts": values.get(m.RESTARTS, name) or 0,
            "failures": {labels[1]: number for labels, number in self._numbers(m.FAILURES, name).items()},
            "unpublished": values.get(m.UNPUBLISHED, name),
        }

    def _charts(self, span: int, end: int) -> dict[str, Any]:
        step = _SPANS[span]
        end -= end % step
        rows = {"/".join(name): numbers for name, numbers in self._rows.sums(end - span, end, step).items()}
        failed = self._reasons.sums(end - span, end, step)
        reasons = {name: numbers for (kind, name), numbers in failed.items() if kind == "reason"}
        return {
            "begin": end - span,
            "step": step,
            "rows": {name: _rates(numbers, step) for name, numbers in sorted(rows.items())},
            "reasons": [[name, _rates(numbers, step)] for name, numbers in _most(reasons)],
        }

    def _counted_rules(self, hour: Mapping[Name, Seconds]) -> list[dict[str, Any]]:
        if self._rules is None:
            return []
        ever: dict[str, float] = {}
        for metric in (m.REJECTIONS, m.WARNINGS, m.INFOS):
            for labels, number in self._numbers(metric).items():
                ever[labels[1]] = ever.get(labels[1], 0) + number
        recent: Counter[str] = Counter()  # a rule whose severity was changed has rejected rows and only marked others
        for (_, name), numbers in hour.items():
            recent[name] += round(float(numbers[0]))
        return self._rules.rows(recent, ever)

    def _machine(self) -> dict[str, Any]:
        disks = {labels[0]: number for labels, number in self._numbers(m.DISK_FREE).items()}
        sizes = {labels[0]: number for labels, number in self._numbers(m.DISK_SIZE).items()}
        return {
            "python": self._values.get(m.PYTHON_MEMORY),
            "heap": self._values.get(m.JVM_MEMORY, "heap"),
            "heap_limit": self._values.get(m.JVM_LIMIT, "heap"),
            "disks": [
                {"place": name, "free": free, "size": sizes.get(name, 0)} for name, free in sorted(disks.items())
            ],
        }

    def _audit(self) -> dict[str, Any] | None:
        """The last one, None before the first."""
        ended = self._values.get(m.AUDIT_TIME)
        return None if ended is None else {"ended": ended, "differences": self._values.get(m.AUDIT_DIFFERENCES)}

    def _numbers(self, metric: m.Metric, source: str = "") -> dict[tuple[str, ...], float]:
        found = self._values.series(metric)
        return {labels: number for labels, number in found.items() if not source or labels[0] == source}


def _by_source(hour: Mapping[Name, Seconds]) -> dict[str, float]:
    return {"/".join(name): round(float(numbers[0])) for name, numbers in hour.items()}


def _rates(numbers: Seconds, step: int) -> list[float]:
    rates: list[float] = np.round(numbers / step, 2).tolist()
    return rates


def _most(reasons: Mapping[str, Seconds]) -> list[tuple[str, Seconds]]:
    """The most frequent ones, and the sum of all others as `""`."""
    ranked = sorted(reasons.items(), key=lambda item: -float(item[1].sum()))
    first, others = ranked[:_REASONS], ranked[_REASONS:]
    return [*first, ("", np.sum([numbers for _, numbers in others], axis=0))] if others else first
