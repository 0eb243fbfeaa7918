"""Reads `dead_letter/`: only the days and sources that are asked for, only the columns that are needed, files side by side.

Filters are pushed down to Parquet's row groups where Parquet can answer them; what it cannot (a reason in a list, a text
in bytes that are no UTF-8) is looked at afterwards.

Guarantee: each dead letter that was there when a scan began is in it once, while compactions replace files. When one takes a file
that is still to be read, its partition is listed again, and of what is new there the letters that were given are left out.
"""

from __future__ import annotations

import base64
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from batch_app.compaction.book import CompactionBook
from batch_app.compaction.seen_once import MOST_LISTINGS
from batch_app.dead_letters.book import ID_LENGTH, Ids, Taken
from batch_app.dead_letters.listing import DeadFile, Listing
from batch_app.dead_letters.selection import Selection
from streaming_app.errors import SinkError
from streaming_app.schema import DEAD_DATE, INGESTED_AT, INPUT_SOURCE, Decoded, Judged
from streaming_app.storage import Storage, is_s3

ID: Final = "dead_letter_id"
SOURCE: Final = "source"
SUITE: Final = "suite_fingerprint"
ACTION: Final = "action"  # number of the book's entry that took it, -1 while it is open
_TIME: Final = pa.timestamp("us", tz="UTC")
# As the sink writes them (sink/datasource.py, DEAD_LETTER_SCHEMA), whose import would load pyspark; a test compares them.
SCHEMA: Final = pa.schema(
    [
        (ID, pa.string()),
        (Judged.STAGE.value, pa.string()),
        (Judged.REASONS.value, pa.list_(pa.string())),
        (Judged.RAW.value, pa.string()),
        (Judged.RAW_ENCODING.value, pa.string()),
        (SOURCE, pa.string()),
        (Decoded.POSITION.value, pa.string()),
        (Decoded.ARRIVED_AT.value, _TIME),
        (INGESTED_AT, _TIME),
        (SUITE, pa.string()),
    ]
)
COLUMNS: Final = (*SCHEMA.names, INPUT_SOURCE, DEAD_DATE)
_S3_THREADS: Final = 16
_FILES_AHEAD: Final = 4  # per thread: bounds how much is in memory before it is asked for


@dataclass
class _Read:
    """What was read of one partition: its files, and the ids that were given. Memory: 32 bytes an id, of one partition."""

    partition: str = ""
    files: set[str] = field(default_factory=set)
    ids: list[Ids] = field(default_factory=list)
    listed_again: bool = False

    def new(self, file: DeadFile, found: _Found) -> pa.Table:
        """A file's rows without those that were given."""
        self.files.add(file.key)
        given = np.isin(found.ids, np.concatenate(self.ids)) if self.listed_again and self.ids else None
        self.ids.append(found.ids)
        return found.rows if given is None else found.rows.filter(pa.array(~given))


class _Found(NamedTuple):
    """A file's selected rows, and their ids."""

    ids: Ids
    rows: pa.Table


@dataclass
class DeadLetters:
    """The dead letters of one lake. `taken` says which of them were replayed or discarded; safe for several threads.

    `compactions`: see Listing.
    """

    storage: Storage
    taken: Taken = field(default_factory=Taken)
    compactions: CompactionBook | None = None

    def files(self, selection: Selection) -> list[DeadFile]:
        """Files that may hold what is selected, newest day first."""
        return self._listing.files(selection)

    @property
    def _listing(self) -> Listing:
        return Listing(self.storage, self.compactions)

    def scan(
        self,
        selection: Selection,
        columns: Sequence[str],
        *,
        state: str = "open",
        files: Sequence[DeadFile] | None = None,
    ) -> Iterator[tuple[DeadFile, pa.Table]]:
        """Each file's selected rows, a partition's files one after the other; never an empty table.

        `state`: open | taken | any. `files`: those of `files(selection)` unless given. Columns are those of `COLUMNS` and
        `ACTION`. Raises SinkError for a file that is no sound Parquet, and for one that goes again and again.
        """
        todo = self.files(selection) if files is None else files

        def read(file: DeadFile) -> _Found:
            return self._read(file, selection, columns, state)

        done = _Read()
        for file, found in self._ahead(todo, read):
            if file.partition != done.partition:
                done = _Read(file.partition)
            if done.listed_again:  # and what was left of the partition is read
                continue
            try:
                rows = done.new(file, found.result())
            except FileNotFoundError:
                yield from self._again(done, read)
                continue
            if rows.num_rows:
                yield file, rows

    def _ahead(
        self, files: Sequence[DeadFile], read: Callable[[DeadFile], _Found]
    ) -> Iterator[tuple[DeadFile, Future[_Found]]]:
        """Each file and what comes of it, read side by side before it is asked for."""
        threads = _S3_THREADS if is_s3(self.storage.uri) else min(4, os.cpu_count() or 1)
        running: deque[tuple[DeadFile, Future[_Found]]] = deque()
        with ThreadPoolExecutor(threads, "dead-letters") as pool:
            for file in files:
                if len(running) >= threads * _FILES_AHEAD:
                    yield running.popleft()
                running.append((file, pool.submit(read, file)))
            yield from running

    def _again(self, done: _Read, read: Callable[[DeadFile], _Found]) -> Iterator[tuple[DeadFile, pa.Table]]:
        """What was not given yet of a partition in which a file has gone."""
        done.listed_again = True
        for _ in range(MOST_LISTINGS if self.compactions else 0):
            left = [file for file in self._listing.again(done.partition) if file.key not in done.files]
            try:
                for file in left:
                    rows = done.new(file, read(file))
                    if rows.num_rows:
                        yield file, rows
            except FileNotFoundError:
                continue
            return
        raise SinkError(
            f"files of {self.storage.uri}/{done.partition} went while they were read; run the command again"
        )

    def _read(self, file: DeadFile, selection: Selection, columns: Sequence[str], state: str) -> _Found:
        """Raises FileNotFoundError where a compaction was faster."""
        needed = {ID, *(name for name in columns if name in SCHEMA.names)}
        needed |= {Judged.REASONS.value} if selection.reasons else set()
        needed |= {Judged.RAW.value, Judged.RAW_ENCODING.value, Decoded.POSITION.value} if selection.text else set()
        try:
            table = self._fragment(file).to_table(
                schema=SCHEMA,
                columns=[name for name in SCHEMA.names if name in needed],
                filter=_pushed(selection, file),
            )
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError) as error:
            where = f"{self.storage.uri}/{file.key}"
            raise SinkError(
                f"{where} is no sound Parquet file ({_one_line(error)}); restore it from a backup"
            ) from error
        table = self._with_action(_afterwards(table, selection), state)
        return _Found(fixed_ids(table.column(ID)), _with_partitions(table, file, columns).select(list(columns)))

    def _fragment(self, file: DeadFile) -> Any:
        if not is_s3(self.storage.uri) and Path(self.storage.uri).is_dir():
            place: Any = str(Path(self.storage.uri, file.key))
            return ds.ParquetFileFormat().make_fragment(place, filesystem=_local())
        data = self.storage.get(file.key)
        if data is None:
            raise FileNotFoundError(file.key)
        return ds.ParquetFileFormat().make_fragment(pa.BufferReader(data))

    def _with_action(self, table: pa.Table, state: str) -> pa.Table:
        numbers = self.taken.numbers(fixed_ids(table.column(ID)))
        table = table.append_column(ACTION, pa.array(numbers, pa.int32()))
        if state == "any":
            return table
        return table.filter(pa.array(numbers < 0 if state == "open" else numbers >= 0))


def _local() -> Any:
    from pyarrow import fs  # noqa: PLC0415 - 20 ms that a lake on S3 does not need

    return fs.LocalFileSystem()


def fixed_ids(column: Any) -> Ids:
    """A column of ids as fixed-width bytes, without a Python object for each. An odd id is padded or cut."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    array = (
        array.cast(pa.binary())
        if not len(array) or pc.all(pc.equal(pc.binary_length(array), ID_LENGTH)).as_py()
        else None
    )
    if array is None:
        return np.array([(text or "").encode()[:ID_LENGTH] for text in column.to_pylist()], f"S{ID_LENGTH}")
    if not len(array):
        return np.empty(0, f"S{ID_LENGTH}")
    start = np.frombuffer(array.buffers()[1], np.int32, count=1, offset=4 * array.offset)[0]
    return np.frombuffer(array.buffers()[2], f"S{ID_LENGTH}", count=len(array), offset=int(start))


def _pushed(selection: Selection, file: DeadFile) -> Any:
    """What Parquet's reader can decide."""
    wanted = pc.scalar(True)
    if selection.labels and file.input_source not in selection.inputs:
        wanted &= pc.field(SOURCE).isin(list(selection.labels))
    if selection.stages:
        wanted &= pc.field(Judged.STAGE.value).isin([str(stage) for stage in selection.stages])
    if selection.ids:
        wanted &= _id_filter(selection.ids)
    if selection.text:
        places = (pc.field(name) for name in (Judged.RAW.value, Decoded.POSITION.value))
        raw, position = (pc.match_substring(place, selection.text, ignore_case=True) for place in places)
        wanted &= raw | position | (pc.field(Judged.RAW_ENCODING.value) == "base64")
    return wanted


def _id_filter(ids: Sequence[str]) -> Any:
    whole = [value for value in ids if len(value) == ID_LENGTH]
    wanted = pc.field(ID).isin(pa.array(whole, pa.string()))
    for beginning in ids:
        if len(beginning) < ID_LENGTH:
            wanted |= pc.starts_with(pc.field(ID), beginning)
    return wanted


def _afterwards(table: pa.Table, selection: Selection) -> pa.Table:
    if selection.reasons and table.num_rows:
        reasons = table.column(Judged.REASONS.value).combine_chunks()
        hit = pc.is_in(reasons.flatten(), pa.array(selection.reasons))
        mask = np.zeros(table.num_rows, bool)
        mask[pc.list_parent_indices(reasons).filter(hit).to_numpy()] = True
        table = table.filter(pa.array(mask))
    if selection.text and table.num_rows:
        table = table.filter(pa.array(_has_text(table, selection.text)))
    return table


def _has_text(table: pa.Table, text: str) -> list[bool]:
    """Whether bytes that are no UTF-8 hold the text; all others were looked at by the reader."""
    encoding = table.column(Judged.RAW_ENCODING.value)
    kept = [True] * table.num_rows
    for place in np.flatnonzero(pc.equal(encoding, "base64").fill_null(False).to_numpy()).tolist():
        raw = base64.b64decode(table.column(Judged.RAW.value)[place].as_py() or "")
        position = table.column(Decoded.POSITION.value)[place].as_py() or ""
        kept[place] = text.lower().encode() in raw.lower() or text.lower() in position.lower()
    return kept


def _with_partitions(table: pa.Table, file: DeadFile, columns: Sequence[str]) -> pa.Table:
    for name, value in {INPUT_SOURCE: file.input_source.value, DEAD_DATE: file.day}.items():
        if name in columns:
            table = table.append_column(name, pa.repeat(pa.scalar(value), table.num_rows))
    return table


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
