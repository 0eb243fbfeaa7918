"""A log of JSON documents keyed by a growing number, which stays as fast after a million entries as after ten.

New entries are single objects under `open/`. Once `fold_every` of them are ready to be folded they become one
compressed object under `folded/`, and a hundred of those become one again, so both folders stay short to list.
Every step can be cut off and done again: a folded object is written whole before what it replaces is deleted, and
readers prefer the folded one.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from streaming_app.errors import SinkError
from streaming_app.storage import Storage

Document = dict[str, Any]
_DIGITS: Final = 20  # of a 64-bit number, so that keys sort as numbers do
_FANOUT: Final = 100


@dataclass(frozen=True)
class _Fold:
    first: int
    last: int
    key: str


class SequencedLog:
    """Entries under `prefix` of a storage. Guarantee: `append_if_absent` is atomic and durable before it returns."""

    def __init__(self, storage: Storage, prefix: str, fold_every: int = _FANOUT) -> None:
        self._storage = storage
        self._prefix = prefix.rstrip("/")
        self._fold_every = fold_every

    def _key(self, number: int) -> str:
        return f"{self._prefix}/open/{number:0{_DIGITS}d}.json"

    def append_if_absent(self, number: int, document: Document) -> bool:
        """Write entry `number` unless it exists, open or folded; True when this call wrote it."""
        if number <= self.folded_through():
            return False
        return self._storage.put_if_absent(self._key(number), _dump(document))

    def get(self, number: int) -> Document | None:
        """Entry `number`, or None."""
        data = self._storage.get(self._key(number))
        if data is not None:
            return _load(data, self._key(number))
        for fold in self._folds():
            if fold.first <= number <= fold.last:
                return dict(self._read_fold(fold)).get(number)
        return None

    def remove_open(self, number: int) -> None:
        """Take back an entry that was not folded yet (the ledger voids one whose files are gone)."""
        self._storage.delete([self._key(number)])

    def open_numbers(self) -> list[int]:
        """Numbers of the entries that are not folded, ascending."""
        folded = self.folded_through()
        numbers = (_number(item.key) for item in self._storage.list(f"{self._prefix}/open"))
        return [number for number in numbers if number is not None and number > folded]

    def folded_through(self) -> int:
        """The highest folded number, -1 when there is none."""
        return max((fold.last for fold in self._folds()), default=-1)

    def entries(self, first: int = 0) -> Iterator[tuple[int, Document]]:
        """Every entry from number `first` on, ascending, folded and open."""
        folded = -1
        for fold in self._folds():
            folded = fold.last
            if fold.last >= first:
                yield from ((number, entry) for number, entry in self._read_fold(fold) if number >= first)
        for number in self.open_numbers():
            if number >= max(first, folded + 1):
                data = self._storage.get(self._key(number))
                if data is not None:
                    yield number, _load(data, self._key(number))

    def fold(self, through: int) -> None:
        """Fold entries up to number `through`, if there are enough of them; call it with what will not change again."""
        ready = [number for number in self.open_numbers() if number <= through]
        if len(ready) >= self._fold_every:
            lines = ((number, self._open_entry(number)) for number in ready)
            self._write_fold(ready[0], ready[-1], lines)
            self._storage.delete(self._key(number) for number in ready)
            self._fold_folds()

    def _open_entry(self, number: int) -> Document:
        data = self._storage.get(self._key(number))
        if data is None:
            raise SinkError(f"{self._storage.uri}/{self._key(number)} vanished while it was being folded; two services"
                            " seem to share one checkpoint: stop one of them")
        return _load(data, self._key(number))

    def _fold_folds(self) -> None:
        small = [fold for fold in self._folds() if fold.last - fold.first < self._fold_every * _FANOUT // 2]
        if len(small) >= _FANOUT:
            entries = (entry for fold in small for entry in self._read_fold(fold))
            self._write_fold(small[0].first, small[-1].last, entries)
            self._storage.delete(fold.key for fold in small)

    def _write_fold(self, first: int, last: int, entries: Iterator[tuple[int, Document]]) -> None:
        lines = b"".join(_dump({"n": number, "entry": entry}) + b"\n" for number, entry in entries)
        key = f"{self._prefix}/folded/{first:0{_DIGITS}d}-{last:0{_DIGITS}d}.jsonl.gz"
        self._storage.put(key, gzip.compress(lines, compresslevel=6, mtime=0))

    def _folds(self) -> list[_Fold]:
        """Folds in order, without those that a wider one covers (left there when a fold of folds was cut off)."""
        found = []
        for item in self._storage.list(f"{self._prefix}/folded"):
            first, _, last = item.key.rsplit("/", 1)[-1].removesuffix(".jsonl.gz").partition("-")
            if first.isdigit() and last.isdigit():
                found.append(_Fold(int(first), int(last), item.key))
        found.sort(key=lambda fold: (fold.first, -fold.last))
        kept: list[_Fold] = []
        for fold in found:
            if not kept or fold.last > kept[-1].last:
                kept.append(fold)
        return kept

    def _read_fold(self, fold: _Fold) -> Iterator[tuple[int, Document]]:
        data = self._storage.get(fold.key)
        if data is None:
            raise SinkError(f"{self._storage.uri}/{fold.key} vanished; the log of committed batches is incomplete")
        for line in gzip.decompress(data).splitlines():
            value = _load(line, fold.key)
            yield value["n"], value["entry"]


def _number(key: str) -> int | None:
    name = key.rsplit("/", 1)[-1].removesuffix(".json")
    return int(name) if name.isdigit() else None


def _dump(document: Document) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def _load(data: bytes, key: str) -> Document:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise SinkError(f"{key} is not JSON ({error}); restore it from a backup") from error
    if not isinstance(value, dict):
        raise SinkError(f"{key} holds no JSON object; restore it from a backup")
    return value
