"""The book of compactions: one entry for each set of files that was replaced, with what they were replaced by.

    staged outputs -> entry n, if absent (the commit point) -> outputs visible -> read back -> inputs deleted -> pointer

In an Iceberg lake one commit of the table puts the outputs in the inputs' place instead of the deletion, so its readers see
either all inputs or all outputs; the inputs stay until `vacuum` finds that no snapshot names them.

No input is deleted before every output is visible and was read back, so no row is ever in no file; whatever dies on the way
is finished by the next one who calls `finish`, and until then either all inputs or all outputs are there. Entries are
numbered without holes: whoever writes entry n has read all entries below it and found none of his files in them, so a file
is replaced once at most, by any number of commands at the same time.

Outputs whose staged files are gone for ever (a bucket's lifecycle rule), or do not hold what they should, are taken back by a
later entry; their inputs are all there still, or it is an error that says so.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from batch_app.compaction.reading import UNREADABLE, Proof, prove
from streaming_app.errors import SinkError
from streaming_app.journal.ledger import LedgerFile
from streaming_app.journal.sequenced import SequencedLog
from streaming_app.storage import Published, StagedFile, Storage

_LOG: Final = logging.getLogger(__name__)
_PREFIX: Final = "entries"
_POINTER: Final = "published.json"
_KEEP_OPEN: Final = 10  # latest entries stay single objects, for people to look at
COPY_OF: Final = "copy_of"  # in the handle of an output that is a copy of another object
_REPLACE: Final = "replace"
_TAKE_BACK: Final = "take_back"


class AlreadyReplacedError(Exception):
    """Another compaction has some of the files."""


@dataclass(frozen=True)
class Replaced:
    """A file that was replaced. `stamp` is the `ingested_at` of all its rows (microseconds), None where it was a compaction's.

    The sink writes one moment into all rows of a task, so that within a partition the stamp tells which rows of an output
    were in which file.
    """

    name: str
    size: int
    rows: int
    stamp: int | None

    def to_json(self) -> list[Any]:
        """A JSON list that `from_json` reads back; short, as an entry may have ten thousand."""
        return [self.name, self.size, self.rows, self.stamp]

    @classmethod
    def from_json(cls, value: Sequence[Any]) -> Replaced:
        """The inverse of `to_json`."""
        return cls(*value)


@dataclass(frozen=True)
class Compaction:
    """One entry: in `folder` (`clean/input_source=stream/order_date=2026-03-01`) `inputs` were replaced by `outputs`.

    `proof` is what the rows of inputs and of outputs come to. `at`: seconds since the epoch. `takes_back`: the number of an
    entry whose outputs could not be published. `fills`: the column in which the outputs have values more (`backfill --rescue`).
    `number` is -1 before it is in the book.
    """

    kind: str
    token: str
    at: float
    folder: str = ""
    inputs: tuple[Replaced, ...] = ()
    outputs: tuple[LedgerFile, ...] = ()
    proof: Proof = field(default_factory=Proof)
    takes_back: int | None = None
    fills: str = ""
    number: int = -1

    @classmethod
    def of(
        cls, token: str, folder: str, inputs: Sequence[Replaced], outputs: Sequence[LedgerFile], proof: Proof
    ) -> Compaction:
        """An entry that replaces files."""
        return cls(_REPLACE, token, time.time(), folder, tuple(inputs), tuple(outputs), proof)

    @property
    def input_keys(self) -> list[str]:
        """Keys of the files that are replaced."""
        return [f"{self.folder}/{file.name}" for file in self.inputs]

    @property
    def output_keys(self) -> list[str]:
        """Keys of the files that replace them."""
        return [file.staged.key for file in self.outputs]

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` reads back; its number is its place in the book."""
        return {
            "kind": self.kind,
            "token": self.token,
            "at": self.at,
            "folder": self.folder,
            "inputs": [file.to_json() for file in self.inputs],
            "outputs": [file.to_json() for file in self.outputs],
            "proof": self.proof.to_json(),
            "takes_back": self.takes_back,
            "fills": self.fills,
        }

    @classmethod
    def from_json(cls, number: int, value: Mapping[str, Any]) -> Compaction:
        """The inverse of `to_json`."""
        return cls(
            kind=value["kind"],
            token=value["token"],
            at=value["at"],
            folder=value["folder"],
            inputs=tuple(Replaced.from_json(file) for file in value["inputs"]),
            outputs=tuple(LedgerFile.from_json(file) for file in value["outputs"]),
            proof=Proof.from_json(value["proof"]),
            takes_back=value["takes_back"],
            fills=value.get("fills", ""),
            number=number,
        )


class Since:
    """The keys that entries have replaced or written since the book was asked, which must be before any file was listed.

    What was carried out by then is what a listing shows. An entry after it may have been half-way: a file that it has touched
    may be gone, or have its rows in another one that is listed, too. Each entry is read once. Memory: the keys of others' entries.
    """

    def __init__(self, book: CompactionBook, number: int) -> None:
        self._book, self.number, self._read = book, number, number
        self._keys: set[str] = set()
        self._folders: set[str] = set()

    def touched(self, keys: Iterable[str]) -> bool:
        """Whether an entry has some of the files. Raises SinkError."""
        self._read_on()
        return not self._keys.isdisjoint(keys)

    def changed(self, folder: str) -> bool:
        """Whether an entry is about a partition's folder. Raises SinkError."""
        self._read_on()
        return folder in self._folders

    def pass_over(self, number: int) -> None:
        """The next entry is one's own, of files that only it has."""
        self._read = number

    def _read_on(self) -> None:
        for entry, stands in self._book.history(self._read + 1):
            self._keys.update(entry.output_keys)  # also of one that was taken back: they were visible
            self._keys.update(entry.input_keys if stands else ())
            self._folders.add(entry.folder)
            self._read = entry.number


class Table(Protocol):
    """What says which files are read, where a listing does not."""

    def replace(self, entry: Compaction, *, back: bool = False) -> bool:
        """Put an entry's outputs in its inputs' place in one step (`back`: these in those's), or find that done.

        False when the table names neither; raises SinkError when it names some of them only, or cannot be reached.
        """
        ...


class CompactionBook:
    """The book inside `checkpoints/compaction`. Guarantee: a file is replaced by one entry at most that was not taken back.

    `table` is for a lake whose readers do not go by a listing; whoever carries entries out there has to give it.
    """

    def __init__(self, storage: Storage, lake: Storage, table: Table | None = None) -> None:
        self._storage, self._lake, self._table = storage, lake, table
        self._log = SequencedLog(storage, _PREFIX)

    @property
    def uri(self) -> str:
        """Its folder, for messages."""
        return self._storage.uri

    def newest(self) -> int:
        """The number of the last entry, -1 when there is none."""
        return self._log.newest()

    def finished_through(self) -> int:
        """The highest number up to which nothing is left to do, -1 at the start."""
        data = self._storage.get(_POINTER)
        return int(json.loads(data)["through"]) if data else -1

    def since(self, number: int | None = None) -> Since:
        """From now on, or from what it was before a process ended. Ask before any file is listed."""
        return Since(self, self.finished_through() if number is None else number)

    def entries(self, first: int = 0) -> Iterator[Compaction]:
        """Entries from a number on, ascending, those that were taken back and their releases left out."""
        yield from (entry for entry, stands in self.history(first) if stands)

    def history(self, first: int = 0) -> Iterator[tuple[Compaction, bool]]:
        """Entries from a number on that replace files, ascending, and whether they stand: False for one that was taken back."""
        found = list(self._all(first))
        void = {entry.takes_back for entry in found}
        yield from ((entry, entry.number not in void) for entry in found if entry.kind == _REPLACE)

    def _all(self, first: int) -> Iterator[Compaction]:
        expected = first
        for number, value in self._log.entries(first):
            if number != expected:
                raise SinkError(
                    f"{self._storage.uri} holds entry {number} but not entry {expected}: which files were replaced is not"
                    " known any more; restore the folder from a backup"
                )
            expected += 1
            try:
                yield Compaction.from_json(number, value)
            except (KeyError, TypeError, ValueError) as error:
                raise SinkError(
                    f"entry {number} of {self._storage.uri} cannot be understood ({error!r}); restore it from a backup"
                ) from error

    def commit(self, compaction: Compaction, since: Since) -> bool:
        """Write the entry and carry it out. `since`: from before the inputs were listed.

        False when the outputs could not be published and were taken back. Raises AlreadyReplacedError, with nothing written
        and the outputs discarded, when another compaction was faster.
        """
        number = self._append(compaction, since)
        self.finish()
        return all(entry.takes_back != number for entry in self._all(number + 1))

    def discard(self, compaction: Compaction) -> None:
        """Throw away what was staged for an entry that is not written."""
        for file in compaction.outputs:
            if COPY_OF not in file.staged.handle:
                self._lake.discard(file.staged)

    def _append(self, compaction: Compaction, since: Since) -> int:
        while True:
            number = self._log.newest() + 1  # before the entries below it are looked at
            if since.touched(compaction.input_keys):
                self.discard(compaction)
                raise AlreadyReplacedError
            if self._log.append_if_absent(number, compaction.to_json()):
                since.pass_over(number)
                return number

    def unfinished(self) -> list[Compaction]:
        """Entries that may not be carried out whole."""
        return list(self.entries(self.finished_through() + 1))

    def finish(self) -> list[int]:
        """Carry out what dead processes left half-way, and what was just written; returns the numbers of those entries."""
        through = self.finished_through()
        newest = self.newest()
        finished = []
        for entry in self.entries(through + 1):
            if entry.number <= newest:
                self._carry_out(entry)
                finished.append(entry.number)
        if newest > through:
            self._storage.put(_POINTER, json.dumps({"through": newest}).encode())
            with suppress(SinkError):  # another one folds at the same time: he does it for both
                self._log.fold(through=newest - _KEEP_OPEN)
        return finished

    def _carry_out(self, entry: Compaction) -> None:
        states = [self._publish(file.staged) for file in entry.outputs]
        try:
            why = "" if Published.GONE not in states else "its staged files are gone"
            why = why or self._unlike(entry)
        except FileNotFoundError:
            why = "its files are gone"
        if not why:
            self._leave(entry)
        elif not self._went_on(entry):
            self._take_back(entry, why)

    def _leave(self, entry: Compaction) -> None:
        """From now on nobody reads the inputs."""
        if self._table is None:
            self._lake.delete(entry.input_keys)
        elif not self._table.replace(entry) and not self._went_on(entry):
            raise SinkError(
                f"compaction {entry.number} of {entry.folder}: the table names neither the files that it replaces nor those that"
                " replace them; somebody else has changed it: run audit"
            )

    def _publish(self, staged: StagedFile) -> Published:
        """Make an output visible; after a switch in the catalog it is a copy of what readers have seen since."""
        source = staged.handle.get(COPY_OF)
        if source is None:
            return self._lake.publish(staged)
        found = self._lake.info(staged.key)
        if found is not None:
            return staged.published_as(found.size, self._lake.uri)
        try:
            self._lake.copy(source, staged.key)
        except FileNotFoundError:
            return Published.GONE
        return Published.NOW

    def _unlike(self, entry: Compaction) -> str:
        """What is wrong with the outputs as they read back now; empty when they hold what the inputs held."""
        try:
            return (
                "" if prove(self._lake, entry.output_keys) == entry.proof else "it does not read back as it was written"
            )
        except UNREADABLE as error:
            if isinstance(error, FileNotFoundError):
                raise
            return f"it does not read back ({' '.join(str(error).split())[:200]})"

    def _went_on(self, entry: Compaction) -> bool:
        """Whether another process has carried the entry out since, and its outputs were replaced in their turn."""
        outputs = set(entry.output_keys)
        return any(not outputs.isdisjoint(later.input_keys) for later in self.entries(entry.number + 1))

    def _take_back(self, entry: Compaction, why: str) -> None:
        """Remove outputs; only while every input is there, which is so as long as no output set was whole."""
        what = f"compaction {entry.number} of {entry.folder}: {why}"
        missing = [key for key in entry.input_keys if self._lake.info(key) is None]
        if missing:
            raise SinkError(
                f"{what}, and {len(missing)} of the files that it replaces are not there any more, first {missing[0]}: restore"
                f" {', '.join(entry.output_keys)} from a backup"
            )
        if self._table is None:
            self._lake.delete(entry.output_keys)
        else:  # readers have had them, if somebody damaged them after the commit; `vacuum` removes them in time
            self._table.replace(entry, back=True)
        release = Compaction(_TAKE_BACK, entry.token, time.time(), takes_back=entry.number)
        while all(known.takes_back != entry.number for known in self._all(entry.number + 1)):
            self._log.append_if_absent(self._log.newest() + 1, release.to_json())
        _LOG.warning("%s; it was taken back, and the files that it was to replace are as they were", what)
