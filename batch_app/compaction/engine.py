"""One group of small files -> a few larger ones: read, sort, stage, commit in the book, and the book carries it out."""

from __future__ import annotations

import os
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Final, cast

import numpy as np
import pyarrow as pa

from batch_app.compaction.book import AlreadyReplacedError, Compaction, CompactionBook, Replaced, Since
from batch_app.compaction.merging import BUDGET, SortedRows
from batch_app.compaction.origins import OWNER, Origins, owner_of
from batch_app.compaction.plan import File, Group, Planned
from batch_app.compaction.reading import Proof, UnfitError, read_table, stamps_of
from streaming_app.journal.ledger import LedgerFile
from streaming_app.schema import CLEAN, Dataset, Decoded
from streaming_app.sink.layout import DEAD_LETTER_SCHEMA, clean_schema
from streaming_app.sink.options import SinkOptions
from streaming_app.sink.parquet_files import TableFiles
from streaming_app.storage import StagedFile, StagingFile, Storage, is_s3

_S3_THREADS: Final = 16
_AHEAD: Final = 64 << 20  # bytes of files that are read before they are asked for
_FILES_AHEAD: Final = 64


@dataclass
class Outcome:
    """What a run did, or a dry run would do: figures of the partitions that were asked for, before and after.

    `skipped`: files or groups that were left as they are, and why. `finished`: entries of runs that were cut off.
    `plan`: in a dry run, what would be done to each partition.
    With a catalog: partitions whose location was `switched`, `settled` after the grace period, or is `waiting` for its end.
    """

    dry_run: bool
    partitions: int = 0
    compacted_partitions: int = 0
    files_before: int = 0
    files_after: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    replaced_files: int = 0
    written_files: int = 0
    rows: int = 0
    skipped: list[str] = field(default_factory=list)
    finished: list[int] = field(default_factory=list)
    switched: int = 0
    settled: int = 0
    waiting: int = 0
    plan: list[Planned] = field(default_factory=list)

    def add(self, made: Compaction) -> None:
        """Files that were replaced."""
        self.replaced_files += len(made.inputs)
        self.written_files += len(made.outputs)
        self.files_after += len(made.outputs) - len(made.inputs)
        self.bytes_after += sum(file.staged.size for file in made.outputs) - sum(file.size for file in made.inputs)
        self.rows += made.proof.rows

    def to_json(self) -> dict[str, Any]:
        """A JSON object; the keys are the attributes."""
        return asdict(self)


@dataclass(frozen=True)
class Below:
    """A folder of a storage, as far as writing files needs it; their keys stay those of the storage."""

    storage: Storage
    folder: str

    def stage(self, key: str, owner: str) -> StagingFile:
        """Begin a file below the folder."""
        return self.storage.stage(f"{self.folder}/{key}", owner)

    def discard(self, staged: StagedFile) -> None:
        """Throw a staged file away."""
        self.storage.discard(staged)


def _nobody(_: Any) -> None:
    """Nobody looks."""


@dataclass(frozen=True)
class Watch:
    """Who is told of a group under way: bytes of files that were read or left, their share that was written anew, what comes next."""

    read: Callable[[float], None] = _nobody
    written: Callable[[float], None] = _nobody
    now: Callable[[str], None] = _nobody


@dataclass(frozen=True)
class Compactor:
    """Compacts groups. `options` are a sink's; `in_doubt` gives the keys of files that a batch may still take back.

    Guarantee: see book.py. A file that some entry of a ledger which is not published yet owns is left alone, and so is one
    whose rows would not come back the same (`UnfitError`).
    """

    lake: Storage
    book: CompactionBook
    dataset: Dataset
    options: SinkOptions
    in_doubt: Callable[[], set[str]]
    budget: int = BUDGET
    watch: Watch = Watch()

    @cached_property
    def origins(self) -> Origins:
        """Whose rows those of compacted files are."""
        return Origins(self.book)

    def run(self, group: Group, since: Since, outcome: Outcome) -> bool:
        """Compact one group; `since` is from before it was listed. True when files were replaced."""
        made = self.build(group, outcome)
        if made is None:
            return False
        self.watch.now("checking")
        try:
            done = self.book.commit(made, since)
        except AlreadyReplacedError:
            outcome.skipped.append(f"{made.folder}: another command compacts it, too")
            return False
        if not done:
            outcome.skipped.append(f"{made.folder}: what was written could not be published; its files are as before")
            return False
        outcome.add(made)
        return True

    @staticmethod
    def new_token() -> str:
        """A name of its own for what is written next."""
        return uuid.uuid4().hex

    def build(self, group: Group, outcome: Outcome, folder: str = "") -> Compaction | None:
        """Stage a group's rows anew, below `folder`; None when that makes no fewer files. Raises SinkError."""
        doubtful = self.in_doubt()  # after the listing: a file that was listed is published, or its entry is found here
        files = [file for file in group.files if file.key not in doubtful]
        if len(files) < len(group.files):
            outcome.skipped.append(
                f"{group.folder}: {len(group.files) - len(files)} files of batches not published yet"
            )
        merge = _Merge(self, group, outcome)
        place = cast("Storage", Below(self.lake, folder)) if folder else self.lake
        writer = TableFiles(place, self._sink(group), group.table, merge.schema)
        try:
            outputs = merge.write(files, writer)
        except BaseException:
            writer.abort()
            raise
        made = Compaction.of(uuid.uuid4().hex, group.folder, merge.inputs, outputs, merge.proof)
        if len(outputs) >= len(merge.inputs):
            self.book.discard(made)
            return None
        return made

    def _sink(self, group: Group) -> SinkOptions:
        return replace(self.options, owner=OWNER, input_source=group.source)


class _Merge:
    """The merge of one group under way."""

    def __init__(self, compactor: Compactor, group: Group, outcome: Outcome) -> None:
        self._compactor, self._group, self._outcome = compactor, group, outcome
        clean = group.table == CLEAN
        self.schema = clean_schema(compactor.dataset) if clean else DEAD_LETTER_SCHEMA
        self._time = compactor.dataset.time_column if clean else Decoded.ARRIVED_AT.value
        self._stamps: dict[int, str] = {}
        self._looked_up = False
        self.inputs: list[Replaced] = []
        self.proof = Proof()

    def write(self, files: Sequence[File], writer: TableFiles) -> list[LedgerFile]:
        """Stage all rows in order of time. Raises SinkError."""
        with SortedRows(self._time, self.schema, self._compactor.budget) as rows:
            for file, table in self._tables(files):
                self._take(file, table, rows)
            self._compactor.watch.now("writing")
            for batch in rows.batches():
                writer.add(self._group.day, batch)
                self._compactor.watch.written(self._group.bytes * batch.num_rows / self.proof.rows)
        return writer.finish()

    def _take(self, file: File, table: pa.Table, rows: SortedRows) -> None:
        try:
            stamp = self._stamp(file, table)
            proof = Proof.of(table)
        except UnfitError as error:
            self._skip(file, str(error))
            return
        self.inputs.append(Replaced(file.name, file.size, table.num_rows, stamp))
        self.proof += proof
        rows.add(table)

    def _stamp(self, file: File, table: pa.Table) -> int | None:
        """The moment that stands in all rows; None for a file that a compaction wrote.

        By it the audit finds the file's rows in an output, so no other owner's rows may have the same one.
        """
        owner = owner_of(file.name)
        if not owner:
            raise UnfitError("its name is none that the sink gives")
        stamps = np.unique(stamps_of(table)).tolist()
        if owner != OWNER and len(stamps) != 1:
            raise UnfitError(f"its rows were written at {len(stamps)} moments, where the sink writes one")
        self._stamps.update({stamp: self._one_owner(stamp, owner) for stamp in stamps})
        return None if owner == OWNER else int(stamps[0])

    def _one_owner(self, stamp: int, owner: str) -> str:
        """Who has the rows with a stamp in this file and in those before it; a compaction's are somebody else's."""
        other = self._stamps.get(stamp)
        if other is None or other == owner != OWNER:
            return owner
        if not self._looked_up:
            self._compactor.origins.read()
            self._looked_up = True
        first = self._compactor.origins.owner(self._group.folder, stamp)
        if first is None or not {owner, other} <= {OWNER, first}:
            raise UnfitError("its rows were written in the same microsecond as another file's")
        return first

    def _skip(self, file: File, why: str) -> None:
        self._outcome.skipped.append(f"{file.key}: {why}")

    def _tables(self, files: Sequence[File]) -> Iterator[tuple[File, pa.Table]]:
        """Each file's rows in order, read ahead side by side; one that cannot be taken is skipped."""
        lake = self._compactor.lake
        threads = _S3_THREADS if is_s3(lake.uri) else min(4, os.cpu_count() or 1)
        running: deque[tuple[File, Future[pa.Table]]] = deque()
        with ThreadPoolExecutor(threads, "compact") as pool:
            for file in files:
                while running and (
                    len(running) >= _FILES_AHEAD or sum(held.size for held, _ in running) + file.size > _AHEAD
                ):
                    yield from self._read(*running.popleft())
                running.append((file, pool.submit(read_table, lake, file.key, self.schema)))
            while running:
                yield from self._read(*running.popleft())

    def _read(self, file: File, table: Future[pa.Table]) -> Iterator[tuple[File, pa.Table]]:
        try:
            found = table.result()
        except UnfitError as error:
            self._skip(file, str(error))
        except FileNotFoundError:
            self._skip(file, "it is not there any more")
        else:
            yield file, found
        self._compactor.watch.read(file.size)
