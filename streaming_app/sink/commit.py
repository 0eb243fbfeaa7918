"""The two-phase commit: ledger entry if absent, then publish, then mark published; and recovery of every half-way state.

    staged files -> entry in the ledger (the commit point) -> files visible -> published mark -> Spark's own commit log

Guarantee: whatever dies between any two steps, each row becomes visible exactly once, provided that a re-run of a
batch reads the same rows, which the sources' read log ensures. Two processes may run this at once (a service that was
killed and its successor): every step is idempotent and the entry is written if absent.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Final

from streaming_app.errors import DataLossError, QualityStop, SinkError
from streaming_app.journal.keys import KeyLog, Segment
from streaming_app.journal.ledger import NO_EPOCH, Counts, Entry, Ledger, LedgerFile
from streaming_app.journal.read_log import ReadLog
from streaming_app.journal.spark_log import epoch_of_batch, is_committed, remove_leftovers
from streaming_app.journal.suites import SuiteBindings
from streaming_app.schema import CLEAN, DEAD_LETTER, Stage
from streaming_app.sink.iceberg import Mark, by_table, checkpoint_id, open_tables
from streaming_app.sink.options import SinkOptions
from streaming_app.storage import Published, is_s3
from streaming_app.thresholds import Judgement, Tally, from_window, judge, to_window

_LOG: Final = logging.getLogger(__name__)
_THREADS: Final = 8
_REASONS: Final = 5  # named in a message
_MEND: Final = "mend the rules, the limits or the data and start again, it goes on with this batch."


@dataclass(frozen=True)
class TaskResult:
    """What one task wrote: its files and what it counted. Travels to the driver as JSON.

    `looked_at`: by rule with a limit, the rows that the rule looks at. `duplicates`: rows left out because the lake has them.
    `keys`: those of the clean rows, where later rows are held against them.
    """

    rows: int
    files: tuple[LedgerFile, ...]
    by_reason: dict[str, int] = field(default_factory=dict)
    by_stage: dict[str, int] = field(default_factory=dict)
    by_warning: dict[str, int] = field(default_factory=dict)
    by_info: dict[str, int] = field(default_factory=dict)
    looked_at: dict[str, int] = field(default_factory=dict)
    arrived: tuple[float, float] | None = None
    duplicates: int = 0
    keys: tuple[Segment, ...] = ()

    def to_json(self) -> str:
        """One line of JSON; `from_json` is its inverse."""
        return json.dumps(
            {
                "rows": self.rows,
                "files": [file.to_json() for file in self.files],
                "by_reason": self.by_reason,
                "by_stage": self.by_stage,
                "by_warning": self.by_warning,
                "by_info": self.by_info,
                "looked_at": self.looked_at,
                "arrived": self.arrived,
                "duplicates": self.duplicates,
                "keys": [segment.to_json() for segment in self.keys],
            }
        )

    @classmethod
    def from_json(cls, text: str) -> TaskResult:
        """The result that `to_json` wrote."""
        value = json.loads(text)
        files = tuple(LedgerFile.from_json(file) for file in value["files"])
        arrived = tuple(value["arrived"]) if value["arrived"] else None
        keys = tuple(Segment.from_json(segment) for segment in value["keys"])
        return cls(**{**value, "files": files, "arrived": arrived, "keys": keys})


@dataclass(frozen=True)
class RecoveryReport:
    """What recovery did: batches it finished, batches it voided, staged files of nobody that it removed."""

    finished: tuple[int, ...] = ()
    voided: tuple[int, ...] = ()
    discarded: int = 0


class Committer:
    """Commits and recovers the micro-batches of one source. `mend`: what to do when the circuit breaker has stopped one."""

    def __init__(self, options: SinkOptions, mend: str = _MEND) -> None:
        self._options, self._mend = options, mend
        self._lake = options.open_lake()
        self._checkpoint = options.open_checkpoint()
        self._ledger = Ledger(self._checkpoint)
        self._limits = options.load_limits()
        self._deduplicate = options.load_dataset().deduplicate
        self._keys = KeyLog(self._checkpoint)
        self._iceberg = open_tables(options)
        self._switches = options.open_switches()

    def commit(self, results: Sequence[TaskResult], batch_id: int) -> Entry:
        """Make a batch part of the lake.

        Raises DataLossError when rows read and rows written differ, QualityStop when the batch breaks a limit that stops.
        """
        entry = self._entry(results, batch_id)
        if self._limits.any:
            entry = self._judged(entry, _sum(result.looked_at for result in results))
        if not self._ledger.append_if_absent(entry):
            entry = self._settle(entry)
        self._publish_all(entry)
        self._mark_published(entry)
        return entry

    def abort(self, results: Iterable[TaskResult], batch_id: int) -> None:
        """Throw away what tasks staged, but never what a ledger entry owns: Spark calls this after a failed commit too."""
        entry = self._ledger.get(batch_id)
        owned = {file.staged.key for file in entry.files} if entry else set()
        results = list(results)
        files = [file for result in results for file in result.files if file.staged.key not in owned]
        self._each(self._lake.discard, [file.staged for file in files])
        kept = set(entry.keys) if entry else set()
        self._keys.discard([segment for result in results for segment in result.keys if segment not in kept])

    def recover(self) -> RecoveryReport:
        """Finish or void what a dead process left half-way; call it before the query starts, with no other running."""
        remove_leftovers(self._checkpoint)
        finished, voided = [], []
        for entry in self._ledger.unpublished():
            if self._finish_or_void(entry):
                finished.append(entry.batch_id)
            else:
                voided.append(entry.batch_id)
        self._keys.remove_orphans()
        return RecoveryReport(tuple(finished), tuple(voided), self._discard_orphans())

    def _entry(self, results: Sequence[TaskResult], batch_id: int) -> Entry:
        epoch, read = self._read(results, batch_id)
        files = tuple(file for result in results for file in result.files)
        counts = Counts(
            read=read,
            clean=_rows(files, CLEAN),
            dead=_rows(files, DEAD_LETTER),
            duplicates=sum(result.duplicates for result in results),
            by_reason=_sum(result.by_reason for result in results),
            by_stage=_sum(result.by_stage for result in results),
            by_warning=_sum(result.by_warning for result in results),
            by_info=_sum(result.by_info for result in results),
        )
        if counts.read != counts.written:
            raise DataLossError(
                f"batch {batch_id} (epoch {epoch}): {counts.read} rows were read, but {counts.clean} clean + {counts.dead}"
                f" dead + {counts.duplicates} duplicates = {counts.written} were written; nothing of it was committed"
            )
        times = [moment for result in results if result.arrived for moment in result.arrived]
        return Entry(
            batch_id=batch_id,
            epoch=epoch,
            source=self._options.source,
            suite_fingerprint=self._options.suite_fingerprint,
            token=uuid.uuid4().hex,
            counts=counts,
            files=files,
            arrived=(min(times), max(times)) if times else None,
            committed_at=time.time(),
            keys=tuple(segment for result in results for segment in result.keys),
        )

    def _read(self, results: Sequence[TaskResult], batch_id: int) -> tuple[int, int]:
        """The batch's epoch and the rows that the source says it has read; it says nothing where it keeps no read log."""
        if not self._options.recorded:
            return NO_EPOCH, sum(result.rows for result in results)
        epoch = epoch_of_batch(self._checkpoint, batch_id)
        return epoch, sum(read.rows for read in ReadLog(self._checkpoint).units(epoch).values())

    def _judged(self, entry: Entry, looked_at: dict[str, int]) -> Entry:
        """The entry with what the circuit breaker says. A batch that is in the ledger already is never stopped."""
        counts = entry.counts
        failed = _sum([counts.by_reason, counts.by_warning, counts.by_info])
        # A repetition says nothing of the rules or the data.
        dead = counts.dead - counts.by_stage.get(Stage.DUPLICATE, 0)
        tally = Tally(counts.clean + dead, dead, looked_at, {key: failed.get(key, 0) for key in looked_at})
        judgement = judge(self._limits, tally, self._window(entry))
        if judgement.stops and self._ledger.get(entry.batch_id) is None:
            SuiteBindings(self._checkpoint).stopped(entry.batch_id)
            raise QualityStop(self._why(entry, judgement))
        breaches = {breach.key: breach.text for breach in judgement.breaches}
        return replace(entry, breaches=breaches, window=tuple(to_window(judgement.window)))

    def _window(self, entry: Entry) -> list[Tally]:
        """What the breaker saw before this batch; other rules, other window: what they rejected says nothing of these."""
        if not self._limits.window_rows:
            return []
        before = self._ledger.get(entry.batch_id - 1)
        same = before is not None and before.suite_fingerprint == entry.suite_fingerprint
        return from_window(before.window) if before is not None and same else []

    def _why(self, entry: Entry, judgement: Judgement) -> str:
        reasons = sorted(entry.counts.by_reason.items(), key=lambda item: -item[1])[:_REASONS]
        most = ", ".join(f"{reason} {count}" for reason, count in reasons)
        return (
            f"{self._options.source} batch {entry.batch_id}: {'; '.join(breach.text for breach in judgement.breaches)}."
            f" Most frequent reasons: {most or 'none'}. Nothing of this batch was published and it was not skipped:"
            f" {self._mend}"
        )

    def _settle(self, ours: Entry) -> Entry:
        """The batch has an entry: it stands if its files can be published, otherwise ours takes its place."""
        theirs = self._ledger.get(ours.batch_id)
        if theirs is None or theirs.token == ours.token:  # a put that was retried after its answer got lost
            return ours
        if theirs.epoch != ours.epoch:
            raise SinkError(
                f"batch {ours.batch_id} is in the ledger with epoch {theirs.epoch}, and now it reads epoch {ours.epoch}: Spark's"
                " log and the ledger do not belong together; restore the checkpoint from a backup, whole"
            )
        if ours.epoch == NO_EPOCH and theirs.counts.read != ours.counts.read:
            _LOG.error(
                "batch %d was written with %d rows and came again with %d: the connector does not give the same rows twice, and"
                " those that differ are lost, or come again",
                ours.batch_id,
                theirs.counts.read,
                ours.counts.read,
            )
        if self._ledger.published_through() >= ours.batch_id or self._finish_or_void(theirs):
            self._each(self._lake.discard, [file.staged for file in ours.files])
            self._keys.discard(ours.keys)
            return theirs
        if not self._ledger.append_if_absent(ours):
            raise SinkError(f"batch {ours.batch_id} is being written by another service too; stop one of them")
        return ours

    def _finish_or_void(self, entry: Entry) -> bool:
        """Publish an entry's files; when some are gone for ever, take the entry back. True when it stands."""
        gone = self._publish(entry)
        if not gone:
            self._mark_published(entry)
            return True
        if is_committed(self._checkpoint, entry.batch_id):
            raise DataLossError(
                f"batch {entry.batch_id}: {len(gone)} staged files are gone and Spark will not run the batch again, first "
                f"{gone[0].staged.key}; its rows must be read anew (see docs/guarantees.md, staged files that expired)"
            )
        self._lake.delete(file.staged.key for file in entry.files)
        self._ledger.void(entry.batch_id)
        return False

    def _mark_published(self, entry: Entry) -> None:
        """Copies, keys and table first: a batch above the mark is gone through again after a crash, one below it never."""
        self._mirror(entry)
        if self._deduplicate and entry.keys:
            self._keys.advance(entry.batch_id, entry.keys, entry.committed_at, self._deduplicate.within)
        if self._iceberg and entry.files:
            files = by_table(entry.files, self._options.input_source)
            self._iceberg.commit(files, Mark(checkpoint_id(self._checkpoint), entry.batch_id, entry.source))
        self._ledger.mark_published(entry.batch_id)

    def _publish_all(self, entry: Entry) -> None:
        gone = self._publish(entry)
        if gone:
            raise SinkError(f"batch {entry.batch_id}: {gone[0].staged.key} vanished between staging and publication")

    def _mirror(self, entry: Entry) -> None:
        """Also to where a compaction has sent the catalog's readers, before the batch counts as published."""
        if self._switches:
            self._switches.mirror(self._lake, [file.staged.key for file in entry.files])

    def _publish(self, entry: Entry) -> list[LedgerFile]:
        """Publish an entry's files; returns those that exist neither staged nor published."""
        found = self._each(self._lake.publish, [file.staged for file in entry.files])
        return [file for file, state in zip(entry.files, found, strict=True) if state is Published.GONE]

    def _discard_orphans(self) -> int:
        """Remove staged files that no unpublished entry owns (recovery has finished all that have one)."""
        prefixes = [f"{table}/input_source={self._options.input_source}" for table in (CLEAN, DEAD_LETTER)]
        orphans = list(self._lake.staged(self._options.owner, prefixes))
        self._each(self._lake.discard, orphans)
        return len(orphans)

    def _each(self, function: Any, items: Sequence[Any]) -> list[Any]:
        """Call for every item, at once where each call is a request to S3."""
        if len(items) <= 1 or not is_s3(self._options.lake):
            return [function(item) for item in items]
        with ThreadPoolExecutor(_THREADS) as pool:
            return list(pool.map(function, items))


def _rows(files: Iterable[LedgerFile], table: str) -> int:
    return sum(file.rows for file in files if file.table == table)


def _sum(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in counts:
        for key, count in each.items():
            total[key] = total.get(key, 0) + count
    return total
