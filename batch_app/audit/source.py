"""One source: its ledger beside its read log, epoch by epoch, and every batch's files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from batch_app.audit.batches import Batch, BatchChecker, Checked, count_findings
from batch_app.audit.compactions import Compactions
from batch_app.audit.lake import LakeFiles
from batch_app.audit.reads import MALFORMED, Reads, reads_of
from batch_app.audit.report import Finding, Findings, Kind, SourceReport
from streaming_app.journal.ledger import NO_EPOCH, Entry, Ledger
from streaming_app.journal.read_log import ReadLog, SealedEpoch
from streaming_app.journal.spark_log import is_committed
from streaming_app.storage import Storage, is_s3

Progress = Callable[[str, int, int], None]  # source, batches checked, batches expected
_S3_THREADS: Final = 16  # most of a small file's time is waiting for S3
_START: Final = "start the service: it finishes this by itself"
_BACKUP: Final = "restore the checkpoint from a backup, whole"


@dataclass(frozen=True)
class Place:
    """A source, its checkpoint and the lake."""

    source: str
    checkpoint: Storage
    lake: Storage
    files: LakeFiles
    compactions: Compactions


class SourceAudit:
    """The audit of one source; `run` once."""

    def __init__(self, place: Place, findings: Findings, *, settled: bool, progress: Progress | None) -> None:
        self._place, self._findings, self._settled = place, findings, settled
        self._on_progress = progress
        self._ledger = Ledger(place.checkpoint)
        self._log = ReadLog(place.checkpoint)
        self._report = SourceReport(place.source)
        self._last: Entry | None = None
        self._reads: Reads = reads_of(place.source, None)
        self.suite = ""  # the newest batch's
        self.pending: set[str] = set()  # keys of files that are committed and not yet visible

    def run(self) -> SourceReport:
        """Check everything. Raises SinkError when ledger or read log cannot be read at all."""
        published = self._ledger.published_through()
        threads = _S3_THREADS if is_s3(self._place.lake.uri) else min(4, os.cpu_count() or 1)
        checker = BatchChecker(self._place.source, self._place.lake, self._place.files, self._place.compactions)
        for checked in checker.check_all(self._understood(published), threads):
            self._count(checked)
            if self._on_progress is not None:
                self._on_progress(self._place.source, self._report.batches, published + 1)
        return replace(self._report, units=self._reads.units, differences=self._findings.count(self._place.source))

    def _add(self, kind: Kind, message: str, advice: str, batch: int | None = None) -> None:
        self._findings.add(Finding(self._place.source, kind, message, advice, batch))

    def _unfinished(self, message: str, batch: int | None = None) -> None:
        finding = Finding(self._place.source, Kind.UNFINISHED, message, _START, batch)
        (self._findings.add if self._settled else self._findings.note)(finding)

    def _count(self, checked: Checked) -> None:
        entry, report = checked.batch.entry, self._report
        for finding in checked.findings:
            self._findings.add(finding)
        if checked.waiting:
            self.pending.update(file.staged.key for file in entry.files)
            message = f"batch {entry.batch_id} is committed, but {checked.waiting} of its files are not visible yet"
            self._unfinished(message, entry.batch_id)
        self._report = replace(
            report,
            batches=report.batches + 1,
            rows_read=report.rows_read + entry.counts.read,
            clean=report.clean + entry.counts.clean,
            dead=report.dead + entry.counts.dead,
            duplicates=report.duplicates + entry.counts.duplicates,
            files=report.files + len(entry.files),
            compacted=report.compacted + checked.compacted,
            rows_checked=report.rows_checked + checked.rows,
        )

    def _understood(self, published: int) -> Iterator[Batch]:
        """All batches, or those before the first record that is damaged."""
        try:
            self._reads = reads_of(self._place.source, self._log.plan(0))
            yield from self._batches(published)
        except MALFORMED as error:
            where = f"after batch {self._last.batch_id}" if self._last else "at the beginning"
            what = f"a record {where} of {self._place.checkpoint.uri} cannot be understood ({error!r})"
            self._add(Kind.READ_LOG, f"{what}, so nothing after it was checked", _BACKUP)

    def _batches(self, published: int) -> Iterator[Batch]:
        """Entries in order, each with a tally of what its epoch read; the logs are compared on the way."""
        entries = self._ledger.entries()
        entry = next(entries, None)  # lists the ledger first: an entry's reads are in the read log before it
        sealed = self._log.history()
        epoch = next(sealed, None)
        while entry is not None:
            if entry.epoch == NO_EPOCH:
                yield self._unrecorded(entry, published)
                entry = next(entries, None)
                continue
            passed = 0
            while epoch is not None and epoch.epoch < entry.epoch:
                passed += self._without_entry(epoch)
                epoch = next(sealed, None)
            self._follows(entry, passed)
            yield self._batch(entry, epoch, published)
            entry = next(entries, None)
        self._after_the_last(epoch, sealed)

    def _unrecorded(self, entry: Entry, published: int) -> Batch:
        """A batch that another connector has read: nothing is known of its rows but what the ledger itself says."""
        if self._last is None:
            message = "its rows were read by another connector, which records nothing: files are checked, rows are not"
            self._findings.note(Finding(self._place.source, Kind.READ_LOG, message, "use connector: python"))
        elif entry.batch_id != self._last.batch_id + 1:
            message = f"batch {entry.batch_id} follows batch {self._last.batch_id} in the ledger"
            self._add(Kind.MISSING_BATCH, f"{message}: what was between them is gone", _BACKUP, entry.batch_id)
        for finding in count_findings(self._place.source, entry):
            self._findings.add(finding)
        self.suite, self._last = entry.suite_fingerprint, entry
        return Batch(entry, None, published=entry.batch_id <= published)

    def _without_entry(self, epoch: SealedEpoch) -> bool:
        """A committed epoch before the next entry's: it is that of the entry before, or one that has none."""
        if epoch.epoch <= (self._last.epoch if self._last else 0):
            return False
        self._never_written(epoch)
        return True

    def _never_written(self, epoch: SealedEpoch) -> None:
        rows = sum(read.rows for read in epoch.units.values())
        message = f"epoch {epoch.epoch} was read ({rows} rows) and committed, but no entry of the ledger has it"
        self._add(Kind.MISSING_BATCH, message, _BACKUP)
        self._take(epoch)

    def _follows(self, entry: Entry, reported: int) -> None:
        """Batches and epochs have no holes; `reported` of them were named already."""
        batch, epoch = (self._last.batch_id, self._last.epoch) if self._last else (-1, 0)
        if self._last is None and entry.batch_id == 0 and entry.epoch == 0 and not entry.counts.read:
            return  # Spark makes a first batch of the initial offset when a source had nothing to read at its start
        if entry.epoch <= epoch:
            message = (
                f"batch {entry.batch_id} says it wrote epoch {entry.epoch}, which batch {batch} or one before it wrote"
            )
            self._add(Kind.DOUBLE_BATCH, message, _BACKUP, entry.batch_id)
        elif not reported and (entry.batch_id != batch + 1 or entry.epoch != epoch + 1):
            message = (
                f"batch {entry.batch_id} (epoch {entry.epoch}) follows batch {batch} (epoch {epoch}) in the ledger"
            )
            self._add(Kind.MISSING_BATCH, f"{message}: what was between them is gone", _BACKUP, entry.batch_id)

    def _batch(self, entry: Entry, sealed: SealedEpoch | None, published: int) -> Batch:
        for finding in count_findings(self._place.source, entry):
            self._findings.add(finding)
        self.suite = entry.suite_fingerprint
        if self._last and entry.epoch <= self._last.epoch:
            self._last = replace(self._last, batch_id=entry.batch_id)
            return Batch(entry, None, published=entry.batch_id <= published)
        self._last = entry
        epoch = sealed if sealed and sealed.epoch == entry.epoch else self._live(entry.epoch)
        self._agrees(entry, epoch)
        self._take(epoch)
        return Batch(entry, self._reads.tally(epoch), published=entry.batch_id <= published)

    def _live(self, epoch: int) -> SealedEpoch:
        """An epoch that was not sealed when the read log was listed."""
        return SealedEpoch(epoch, self._log.plan(epoch), self._log.units(epoch))

    def _agrees(self, entry: Entry, epoch: SealedEpoch) -> None:
        rows = sum(read.rows for read in epoch.units.values())
        if rows != entry.counts.read:
            message = f"batch {entry.batch_id}: the ledger says {entry.counts.read} rows were read, the read log {rows}"
            self._add(Kind.READ_LOG, f"{message} (epoch {entry.epoch})", _BACKUP, entry.batch_id)

    def _take(self, epoch: SealedEpoch) -> None:
        for finding in self._reads.take(epoch):
            self._findings.add(replace(finding, source=self._place.source))

    def _after_the_last(self, epoch: SealedEpoch | None, sealed: Iterator[SealedEpoch]) -> None:
        """What was read after the last entry: lost, under way, or written while the audit ran."""
        batch, last = (self._last.batch_id, self._last.epoch) if self._last else (-1, 0)
        newer = {entry.epoch for entry in self._ledger.entries(batch + 1)}
        lost = 0
        while epoch is not None:
            if epoch.epoch > last and epoch.epoch not in newer:
                self._never_written(epoch)
                lost += 1
            epoch = next(sealed, None)
        if not lost and is_committed(self._place.checkpoint, batch + 1) and self._ledger.get(batch + 1) is None:
            message = f"Spark has committed batch {batch + 1}, but the ledger has no entry of it"
            self._add(Kind.MISSING_BATCH, message, _BACKUP, batch + 1)
            return
        for number in self._log.live_epochs():
            if number > last and number not in newer:
                self._under_way(number)

    def _under_way(self, number: int) -> None:
        rows = sum(read.rows for read in self._log.units(number).values())
        if rows:
            self._unfinished(f"epoch {number} is being read ({rows} rows so far) and is not committed yet")
