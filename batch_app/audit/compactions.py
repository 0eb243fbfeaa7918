"""Files that were compacted: which compaction replaced a file of the ledger, and which rows of its outputs were that file's.

The sink writes one `ingested_at` into all rows of a task, and a compaction keeps it; so within a partition it tells the rows
of one file from those of all others (batch_app/compaction/engine.py refuses files where it would not). The rows are not
believed, only found by it: what they come to is counted against the batch's reads as those of any other file.

Memory: 37 bytes a replaced file. Disk: the positions of the outputs under check, at most `_KEPT` files at a time, in the
machine's folder for temporary files.
"""

from __future__ import annotations

import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from batch_app.audit.lake import digest_of, find_key, open_rows
from batch_app.compaction.book import Compaction, CompactionBook, Replaced
from streaming_app.journal.ledger import LedgerFile
from streaming_app.schema import Decoded
from streaming_app.storage import Storage

_KEPT: Final = (
    32  # outputs whose positions are on the disk at the same time: 128 MiB of orders are some 500 MB of these
)
_FILE: Final = np.dtype(
    [("high", "<u8"), ("low", "<u8"), ("entry", "<i4"), ("rows", "<i8"), ("stamp", "<i8"), ("owned", "?")]
)
_NO_STAMP: Final = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Gone:
    """A file that compaction `entry` replaced; `stamp` is None where it was an output of another compaction."""

    entry: int
    folder: str
    rows: int
    stamp: int | None


@dataclass(frozen=True)
class _Entry:
    folder: str
    outputs: tuple[LedgerFile, ...]


class Compactions:
    """What the book of compactions says. Make it before the lake is listed; safe for several threads.

    `finished` is the entry up to which, at that moment, nothing was left to do: the files that these replaced are gone.
    """

    def __init__(self, book: CompactionBook, lake: Storage) -> None:
        self.book, self._lake = book, lake
        self.finished = book.finished_through()
        self._entries: dict[int, _Entry] = {}
        self._last = -1
        self._files = np.empty(0, _FILE)
        self._spools: OrderedDict[str, _Spool] = OrderedDict()
        self._lock = threading.RLock()

    def read(self) -> None:
        """Learn what was written since the last call. Raises SinkError when the book cannot be understood."""
        with self._lock:
            new = list(self.book.entries(self._last + 1))
            self._last = max([self._last, *(entry.number for entry in new)])
            for entry in new:
                self._entries[entry.number] = _Entry(entry.folder, entry.outputs)
            parts = [_files_of(entry) for entry in new]
            self._files = np.concatenate([self._files, *parts])
            self._files.sort(order=["high", "low"])

    def entries(self) -> Iterator[tuple[int, tuple[LedgerFile, ...]]]:
        """Every entry's number and outputs."""
        yield from ((number, entry.outputs) for number, entry in self._entries.items())

    def find(self, key: str, *, own: bool = True) -> Gone | None:
        """What became of a file that some ledger owns (`own`), None when no compaction has replaced it."""
        with self._lock:
            place = find_key(self._files, key)
            if place is None:
                return None
            found = self._files[place]
            if own:
                self._files["owned"][place] = True
            entry, stamp = int(found["entry"]), int(found["stamp"])
            return Gone(entry, self._entries[entry].folder, int(found["rows"]), None if stamp == _NO_STAMP else stamp)

    def find_new(self, key: str) -> Gone | None:
        """As `find`, for a file that has just vanished: the book is read again."""
        self.read()
        return self.find(key)

    def live(self, number: int) -> list[LedgerFile]:
        """Where the rows of an entry's files are now: its outputs, or what has replaced these in their turn."""
        found: dict[str, LedgerFile] = {}
        todo, seen = [number], {number}
        while todo:
            for output in self._entries[todo.pop()].outputs:
                later = self.find(output.staged.key)
                if later is None:
                    found[output.staged.key] = output
                elif later.entry not in seen:  # it may have replaced several of these
                    seen.add(later.entry)
                    todo.append(later.entry)
        return list(found.values())

    def positions(self, output: str, stamp: int) -> Iterator[Any]:
        """The positions in an output of the rows with a stamp. Raises FileNotFoundError, and what an unsound file raises."""
        with self._lock:
            spool = self._spools.get(output)
            if spool is None:
                spool = self._spools[output] = _Spool(self._lake, output)
                while len(self._spools) > _KEPT:
                    self._spools.popitem(last=False)
            self._spools.move_to_end(output)
        yield from spool.positions(stamp)

    def unowned(self) -> Iterator[tuple[int, str]]:
        """Files that were replaced, though no ledger and no earlier compaction knows them: entry and key."""
        for _, outputs in self.entries():
            for output in outputs:
                self.find(output.staged.key)
        if self._files["owned"].all():
            return
        for entry in self.book.entries():
            for key in entry.input_keys:
                place = find_key(self._files, key)
                if place is not None and not self._files["owned"][place]:
                    yield entry.number, key


def _files_of(entry: Compaction) -> Any:
    def record(key: str, file: Replaced) -> tuple[int, int, int, int, int, bool]:
        stamp = _NO_STAMP if file.stamp is None else file.stamp
        return (*digest_of(key), entry.number, file.rows, stamp, False)

    rows: Iterable[Any] = (record(key, file) for key, file in zip(entry.input_keys, entry.inputs, strict=True))
    return np.fromiter(rows, _FILE)


class _Spool:
    """One output's positions on the disk, each piece in order of the stamps: those of one stamp are a few slices."""

    def __init__(self, lake: Storage, key: str) -> None:
        self._index: list[tuple[Any, Any]] = []
        schema = pa.schema([(Decoded.POSITION.value, pa.string())])
        with tempfile.TemporaryDirectory(prefix="audit-") as folder:
            path = str(Path(folder, "positions.arrow"))
            with open_rows(lake, key) as rows, pa.OSFile(path, "wb") as file, pa.ipc.new_file(file, schema) as writer:
                for stamps, positions in rows.stamped():
                    order = np.argsort(stamps, kind="stable")
                    writer.write_batch(pa.record_batch([positions.take(pa.array(order))], schema=schema))
                    different, begins = np.unique(stamps[order], return_index=True)
                    self._index.append((different, np.append(begins, len(stamps))))
            self._reader = pa.ipc.open_file(pa.memory_map(path))  # it stays readable when its name is gone

    def positions(self, stamp: int) -> Iterator[Any]:
        for number, (stamps, begins) in enumerate(self._index):
            place = int(np.searchsorted(stamps, stamp))
            if place < len(stamps) and stamps[place] == stamp:
                begin, end = int(begins[place]), int(begins[place + 1])
                yield self._reader.get_batch(number).column(0).slice(begin, end - begin)
