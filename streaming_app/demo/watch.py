"""What the ledger says, looked at a few times a second: counts, reasons, rates, ages, newest files. Reads, never writes."""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from streaming_app.config.models import SourceName
from streaming_app.journal.ledger import LEDGER, Entry, Ledger
from streaming_app.schema import INPUT_SOURCE
from streaming_app.storage import Storage, open_storage

SOURCES: Final = (SourceName.KINESIS, SourceName.CSV)
_RATE_WINDOW: Final = 5.0  # seconds
AGE_WINDOW: Final = (
    30.0  # seconds over which ages are told: the first micro-batches, while Spark warms up, are no measure
)
_SMOOTH: Final = 3  # seconds that a point of the history is the mean of
_HISTORY: Final = 120  # seconds of rows/s that are kept
_FILES: Final = 50


@dataclass(frozen=True)
class Committed:
    """A micro-batch whose files are all visible, and since when (seconds since the epoch)."""

    source: str
    entry: Entry
    queryable_at: float

    @property
    def age(self) -> tuple[float, float] | None:
        """Seconds from arrival to queryable, of the newest and the oldest row."""
        if self.entry.arrived is None:
            return None
        oldest, newest = self.entry.arrived
        return max(0.0, self.queryable_at - newest), max(0.0, self.queryable_at - oldest)


class LedgerWatch:
    """Hands out each published micro-batch once."""

    def __init__(self, checkpoints: Path, sources: Sequence[str] = SOURCES) -> None:
        self._storages = {source: open_storage(str(checkpoints / source)) for source in sources}
        self._next = dict.fromkeys(sources, 0)

    def poll(self) -> list[Committed]:
        """What became visible since the last call, in order of time."""
        found = [batch for source, storage in self._storages.items() for batch in self._news(source, storage)]
        return sorted(found, key=lambda batch: batch.queryable_at)

    def _news(self, source: str, storage: Storage) -> list[Committed]:
        ledger = Ledger(storage)
        through = ledger.published_through()
        if through < self._next[source]:
            return []
        mark = storage.info(f"{LEDGER}/published.json")
        entries = [entry for entry in ledger.entries(self._next[source]) if entry.batch_id <= through]
        self._next[source] = through + 1
        # The mark was written when the last one's files were visible; of those before only the commit's time is known.
        last = {through: mark.modified.timestamp()} if mark else {}
        return [Committed(source, entry, last.get(entry.batch_id, entry.committed_at)) for entry in entries]


@dataclass(frozen=True)
class NewFile:
    """A file of the lake: when it became visible, its table, its partitions, rows and bytes."""

    at: float
    table: str
    partition: str
    rows: int
    size: int


@dataclass
class SourceCounts:
    """Rows of one source that are in the lake. `age` is the oldest row's of the last micro-batch, in seconds."""

    read: int = 0
    clean: int = 0
    dead: int = 0
    batches: int = 0
    age: float | None = None
    recent: deque[tuple[float, int]] = field(default_factory=deque)

    def rate(self, now: float) -> float:
        """Rows a second over the last seconds."""
        while self.recent and self.recent[0][0] < now - _RATE_WINDOW:
            self.recent.popleft()
        return sum(rows for _, rows in self.recent) / _RATE_WINDOW


@dataclass(frozen=True)
class _Age:
    """How old the rows of a micro-batch were when they became queryable, in seconds."""

    at: float
    middle: float
    oldest: float
    rows: int


class Figures:
    """The sum of all micro-batches seen."""

    def __init__(self, sources: Sequence[str] = SOURCES, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self.sources = {source: SourceCounts() for source in sources}
        self.reasons: Counter[str] = Counter()
        self.files: deque[NewFile] = deque(maxlen=_FILES)
        self.slowest_ever: float | None = None
        self.first_row_at: float | None = None
        self._ages: deque[_Age] = deque()
        self._seconds: defaultdict[int, int] = defaultdict(int)

    def add(self, batch: Committed) -> None:
        """Count one micro-batch."""
        counts, into = batch.entry.counts, self.sources[batch.source]
        into.read += counts.read
        into.clean += counts.clean
        into.dead += counts.dead
        into.batches += 1
        into.recent.append((batch.queryable_at, counts.read))
        self._seconds[int(batch.queryable_at)] += counts.read
        self.reasons.update(counts.by_reason)
        self.first_row_at = self.first_row_at or batch.queryable_at
        self._add_age(batch, into)
        for file in batch.entry.files:
            self.files.appendleft(_new_file(batch, file.table, file.staged.key, file.rows, file.staged.size))

    def _add_age(self, batch: Committed, into: SourceCounts) -> None:
        if batch.age is None:
            return
        newest, oldest = batch.age
        into.age = oldest
        self.slowest_ever = max(self.slowest_ever or 0.0, oldest)
        self._ages.append(_Age(batch.queryable_at, (newest + oldest) / 2, oldest, batch.entry.counts.read))

    def median_age(self) -> float | None:
        """Half of the last seconds' rows were queryable sooner; rows of one micro-batch count with its middle."""
        recent = self._recent()
        half = sum(age.rows for age in recent) / 2
        for age in sorted(recent, key=lambda age: age.middle):
            half -= age.rows
            if half <= 0:
                return age.middle
        return None

    def slowest(self) -> float | None:
        """The most that a row of the last seconds took."""
        return max((age.oldest for age in self._recent()), default=None)

    def _recent(self) -> list[_Age]:
        while self._ages and self._ages[0].at < self._now() - AGE_WINDOW:
            self._ages.popleft()
        return list(self._ages)

    def arrived(self) -> dict[str, int]:
        """Rows in the lake by source."""
        return {source: counts.read for source, counts in self.sources.items()}

    def history(self, seconds: int) -> list[int]:
        """Rows a second for each of the last whole seconds, oldest first; each the mean of a few, as batches come in jumps."""
        end = int(self._now())
        return [self._mean_until(second) for second in range(end - min(seconds, _HISTORY), end)]

    def _mean_until(self, second: int) -> int:
        total = sum(self._seconds.get(each, 0) for each in range(second - _SMOOTH + 1, second + 1))
        return -(-total // _SMOOTH)

    def rates(self) -> Mapping[str, float]:
        """Rows a second by source."""
        return {source: counts.rate(self._now()) for source, counts in self.sources.items()}


def _new_file(batch: Committed, table: str, key: str, rows: int, size: int) -> NewFile:
    partitions = [part.partition("=")[2] for part in key.split("/") if "=" in part]
    label = " ".join(partitions) if f"{INPUT_SOURCE}=" in key else key
    return NewFile(batch.queryable_at, table, label, rows, size)
