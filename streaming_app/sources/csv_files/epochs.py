"""The driver's side: plans epochs of files, one after the other, and finishes those that were committed.

Resume rule: on a restart Spark names the offset it stands at (`partitions(c, c)`, or `partitions(start, end)` for a batch
that has to be done again) before it asks for the latest one. Which files an epoch reads stands in its plan in the read
log; which files were seen, in all plans together.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from pyspark.sql.datasource import InputPartition

from streaming_app.errors import DataLossError, SourceError
from streaming_app.journal.read_log import ReadLog
from streaming_app.sources.csv_files.arrivals import Arrivals
from streaming_app.sources.csv_files.discovery import Discovery, Found
from streaming_app.sources.csv_files.files import PlannedFile
from streaming_app.sources.csv_files.finishing import Disposal, Finisher
from streaming_app.sources.csv_files.options import CsvOptions
from streaming_app.sources.csv_files.pending import Pending
from streaming_app.sources.csv_files.seen import load_seen
from streaming_app.storage import Storage, open_storage
from streaming_app.storage.moving import Mover

_LOG: Final = logging.getLogger(__name__)
_LISTING_SHARE: Final = 10  # at most a tenth of the time goes into listing
_MOST_UNFINISHED: Final = 100  # committed epochs whose files could not be archived or deleted, before the source fails


@dataclass(frozen=True)
class EpochPartition(InputPartition):
    """The files that one Spark task reads in an epoch."""

    epoch: int
    files: tuple[PlannedFile, ...]


def pack(files: Sequence[PlannedFile], count: int) -> list[tuple[PlannedFile, ...]]:
    """Spread files over at most `count` tasks of about equal size: each, largest first, to the smallest so far."""
    packs: list[list[PlannedFile]] = [[] for _ in range(min(count, len(files)))]
    sizes = [0] * len(packs)
    for file in sorted(files, key=lambda file: (-file.size, file.key)):
        smallest = sizes.index(min(sizes))
        packs[smallest].append(file)
        sizes[smallest] += max(file.size, 1)
    return [tuple(sorted(chosen, key=lambda file: (file.modified, file.key))) for chosen in packs]


class Epochs:
    """Plans epochs for one query; called by one thread."""

    def __init__(self, options: CsvOptions) -> None:
        self._options = options
        self._source = open_storage(options.path, options.storage)
        self._journal = open_storage(options.read_log_path, options.storage)
        self._read_log = ReadLog(self._journal)
        self._open = self._read_log.live_epochs()  # planned, not yet given to the finisher
        restored = load_seen(self._journal, self._read_log, self._open)
        self._seen, self._sealed = restored.seen, restored.sealed
        self._discovery = Discovery(self._source, options.suffixes, options.settle_seconds)
        self._finisher = Finisher(self._source, self._read_log, _disposal(options, self._source))
        self._arrivals = _arrivals(options, self._source)
        self._pending = Pending()
        self._unfinished: set[int] = set()
        self._current: int | None = None
        self._handed_out: int | None = None
        self._until: datetime | None = None
        self._bounded = False
        self._next_listing = self._next_reconciling = 0.0
        self._more = False

    def latest(self) -> int:
        """The next epoch if there are files for it, else the current one.

        Spark asks between two batches only, so all that was given to `partitions` before is committed by now.
        """
        if self._handed_out is not None:
            return self._handed_out
        current = self._current = self._sealed if self._current is None else self._current
        self._committed(current)
        self._take_finished()
        if self._options.drain_path and Path(self._options.drain_path).exists():
            return current
        if current + 1 in self._open:  # planned by an earlier run that ended before Spark knew
            self._handed_out = current + 1
        elif files := self._next_files():
            self._plan(current + 1, files)
        return current if self._handed_out is None else self._handed_out

    def partitions(self, start: int, end: int) -> list[EpochPartition]:
        """The tasks of epoch `end`; from here on that is the current epoch."""
        self._current, self._handed_out = end, None
        if end == start:
            return []
        plan = self._read_log.plan(end)
        if plan is None:
            raise DataLossError(
                f"the read log in {self._options.read_log_path} has no plan for epoch {end}, which Spark's checkpoint"
                " knows: they do not belong together; restore both from the same backup"
            )
        files = [PlannedFile.from_json(file) for file in plan["files"]]
        count = min(self._options.max_tasks, self._options.parallelism or self._options.max_tasks)
        return [EpochPartition(end, chosen) for chosen in pack(files, count)]

    def stop(self) -> None:
        """End the thread; what it did not finish is left to the next start."""
        self._finisher.stop()
        if self._arrivals:
            self._arrivals.stop()

    def commit(self, end: int) -> None:
        """Spark committed everything up to this epoch."""
        self._committed(end)

    def _committed(self, through: int) -> None:
        ready = [epoch for epoch in self._open if epoch <= through]
        self._open = [epoch for epoch in self._open if epoch > through]
        self._unfinished.update(ready)
        if ready:
            self._finisher.submit(ready)

    def _take_finished(self) -> None:
        for finished in self._finisher.finished():
            self._unfinished.discard(finished.epoch)
            self._sealed = finished.epoch
            self._seen.read(finished.epoch, finished.units)
        if len(self._unfinished) > _MOST_UNFINISHED and self._finisher.problem:
            raise SourceError(
                f"{len(self._unfinished)} committed batches of {self._options.path} wait to be finished"
                f" ({self._options.after_commit}): {self._finisher.problem}"
            )
        if self._seen.worth_a_snapshot() and self._sealed:
            self._seen.save(self._journal, self._sealed)

    def _plan(self, epoch: int, files: list[PlannedFile]) -> None:
        document = {"files": [file.to_json() for file in files], "waiting": self._pending.waiting()}
        plan = self._read_log.put_plan_if_absent(epoch, document)
        planned = [PlannedFile.from_json(file) for file in plan["files"]]
        self._seen.planned(epoch, planned)
        self._open.append(epoch)
        self._handed_out = epoch
        keys = {file.key for file in planned}
        self._pending.add(file for file in files if file.key not in keys)  # another driver has planned this epoch
        if self._arrivals:
            self._arrivals.planned(keys)

    def _next_files(self) -> list[PlannedFile]:
        if self._arrivals:
            self._add(self._arrivals.take(self._seen, self._sealed))
        if self._listing_is_due():
            self._add(self._list())
        return self._pending.take(self._options.max_files_per_batch, self._options.max_bytes_per_batch)

    def _add(self, files: list[PlannedFile]) -> None:
        for file in files:
            if file.previous:
                _LOG.warning("%s was read before and has changed since", file.key)
        self._pending.add(files)

    def _listing_is_due(self) -> bool:
        if self._arrivals and self._arrivals.working and not self._more:
            return time.monotonic() >= self._next_reconciling
        return not self._pending and (self._bounded or time.monotonic() >= self._next_listing)

    def _list(self) -> list[PlannedFile]:
        if self._options.available_now and not self._bounded:
            return self._first_listing()
        return self._look().files

    def _first_listing(self) -> list[PlannedFile]:
        """What there is "now": files that are still being written get the time to settle, once."""
        found = self._look()
        if found.unsettled:
            time.sleep(self._options.settle_seconds)
            found = self._look()
        if found.unsettled:
            _LOG.warning(
                "%d files below %s are still being written and are left out", found.unsettled, self._source.uri
            )
        self._bounded, self._until = True, found.newest
        return found.files

    def _look(self) -> Found:
        begin = time.monotonic()
        found = self._discovery.look(self._seen, self._sealed, self._until)
        end = time.monotonic()
        self._next_listing = end + _LISTING_SHARE * (end - begin)
        self._next_reconciling, self._more = end + self._options.reconcile_every, found.more
        return found


def _arrivals(options: CsvOptions, source: Storage) -> Arrivals | None:
    """None where uploads are listed; so they are by a bounded run, which has to know what there is."""
    if options.discovery != "sqs" or options.available_now:
        return None
    from streaming_app.sources.csv_files.sqs import SqsQueue  # noqa: PLC0415 - boto3 takes 0.3 s to import

    return Arrivals(SqsQueue(options.queue_url, options.storage), source, options.path, options.suffixes)


def _disposal(options: CsvOptions, source: Storage) -> Disposal | None:
    if options.after_commit == "archive":
        return Mover(source, open_storage(options.archive_path, options.storage), options.storage).move
    if options.after_commit == "delete":
        return lambda info: source.delete([info.key])
    return None
