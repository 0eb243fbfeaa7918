"""Counts the positions found in one batch's files against what the batch read: each exactly once?

Both tallies are exact, not sampled and not hashed. They use that `rows` different positions inside a range that had
`rows` rows are all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

_EXAMPLES: Final = 3
_ROW_NUMBER: Final = "^(0|[1-9][0-9]{0,17})$"  # what fits an int64, written in the only way it is written
_ZERO, _NINE, _COLON = ord("0"), ord("9"), ord(":")
Texts = npt.NDArray[np.bytes_]


@dataclass(frozen=True)
class UnitGap:
    """Rows of one unit that are in no file; `which` names them where that can be known."""

    unit: str
    rows: int
    which: str = ""


@dataclass
class Counted:
    """Rows that are somewhere twice or should not be anywhere, with a few examples; and those that are nowhere."""

    duplicates: int = 0
    duplicate_examples: list[str] = field(default_factory=list)
    unknown: int = 0
    unknown_examples: list[str] = field(default_factory=list)
    gaps: list[UnitGap] = field(default_factory=list)

    def add_duplicates(self, count: int, examples: Iterable[str]) -> None:
        """`count` rows too many."""
        self.duplicates += count
        self.duplicate_examples = _few(self.duplicate_examples, examples)

    def add_unknown(self, count: int, examples: Iterable[str]) -> None:
        """`count` rows that the batch never read."""
        self.unknown += count
        self.unknown_examples = _few(self.unknown_examples, examples)

    @property
    def missing(self) -> int:
        """Rows in no file."""
        return sum(gap.rows for gap in self.gaps)


def _few(known: list[str], more: Iterable[str]) -> list[str]:
    return [*known, *more][:_EXAMPLES]


class Tally(Protocol):
    """Takes positions in any order and any number of pieces."""

    def add(self, positions: Any) -> None:
        """Positions of some rows (an Arrow string array)."""
        ...

    def result(self) -> Counted:
        """What they came to; call it once, at the end."""
        ...


@dataclass(frozen=True)
class ShardRange:
    """What one epoch read of a shard: `rows` rows of records with sequence numbers from `first` to `last`.

    `aggregates`: some of the records held several rows, whose positions have a number more, `shard:sequence:number`.
    """

    shard: str
    first: str
    last: str
    rows: int
    aggregates: bool = False


class ShardTally:
    """Positions `shard:sequence[:number]`. Memory: twice the batch's position texts.

    Numbers without leading zeros are in the order of their texts when these are equally long. So positions are kept by
    length, sorted as text once, and each shard's range is a run between two bounds.
    """

    def __init__(self, ranges: Iterable[ShardRange]) -> None:
        self._ranges = list(ranges)
        self._texts: dict[int, list[Texts]] = {}
        self._counted = Counted()
        self._found = dict.fromkeys((part.shard for part in self._ranges), 0)

    def add(self, positions: Any) -> None:
        known = _with_text(positions, self._counted)
        lengths = pc.binary_length(known)
        different = pc.unique(lengths).to_pylist()
        for length in different:
            same = known if len(different) == 1 else known.filter(pc.equal(lengths, length))
            self._texts.setdefault(length, []).append(_fixed_width(same, length))

    def result(self) -> Counted:
        for length in sorted(self._texts):
            self._count(length, np.sort(np.concatenate(self._texts.pop(length)), kind="stable"))
        for part in self._ranges:
            found, between = self._found[part.shard], f"between {part.first} and {part.last}"
            if found < part.rows:
                self._counted.gaps.append(UnitGap(part.shard, part.rows - found, between))
            elif found > part.rows:
                self._counted.add_unknown(found - part.rows, [f"{part.shard}, {between}"])
        return self._counted

    def _count(self, length: int, texts: Texts) -> None:
        again = texts[1:] == texts[:-1]
        if again.any():
            self._counted.add_duplicates(int(again.sum()), _decoded(np.unique(texts[1:][again])))
            texts = texts[np.append(True, ~again)]
        wanted = np.zeros(len(texts), bool)
        for part in self._ranges:
            self._take_range(part, length, texts, wanted)
        if not wanted.all():
            self._counted.add_unknown(int((~wanted).sum()), _decoded(texts[~wanted]))

    def _take_range(self, part: ShardRange, length: int, texts: Texts, wanted: npt.NDArray[np.bool_]) -> None:
        """Mark the range's own positions. Beside the sequence number there is nothing, or a colon and a number."""
        left = length - len(part.shard) - 1
        for digits in range(len(part.first), min(left, len(part.last)) + 1):
            number = left - digits - 1
            if digits == left or (part.aggregates and number > 0):
                self._take_numbers(part, digits, max(number, 0), texts, wanted)

    def _take_numbers(
        self, part: ShardRange, digits: int, number: int, texts: Texts, wanted: npt.NDArray[np.bool_]
    ) -> None:
        """Positions whose sequence number has so many digits, and the number after it, if there is one, so many."""
        prefix = f"{part.shard}:".encode()
        low = part.first.encode() if digits == len(part.first) else b"1".ljust(digits, b"0")
        high = part.last.encode() if digits == len(part.last) else b"9" * digits
        rest = b":" + b"9" * number if number else b""
        begin, end = np.searchsorted(texts, prefix + low, "left"), np.searchsorted(texts, prefix + high + rest, "right")
        tails = texts[begin:end].view(np.uint8).reshape(end - begin, texts.itemsize)[:, len(prefix) :]
        good = _all_digits(tails[:, :digits])
        if number:
            after = tails[:, digits + 1 :]
            good[~_all_digits(after)] = False
            good[tails[:, digits] != _COLON] = False
            if number > 1:
                good[after[:, 0] == _ZERO] = False
        wanted[begin:end][good] = True
        self._found[part.shard] += int(good.sum())


def _all_digits(texts: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    return np.asarray(((texts >= _ZERO) & (texts <= _NINE)).all(axis=1))


def _with_text(positions: Any, counted: Counted) -> Any:
    """Positions that are some text; the others belong to no row that was read."""
    known = positions.drop_null()
    known = known.filter(pc.not_equal(known, ""))
    count = len(positions) - len(known)
    counted.add_unknown(count, ["(empty)"] if count else [])
    return known


def _fixed_width(texts: Any, width: int) -> Texts:
    """Equally long texts as one NumPy array, without a copy."""
    start = np.frombuffer(texts.buffers()[1], np.int32, count=1, offset=4 * texts.offset)[0]
    return np.frombuffer(texts.buffers()[2], f"S{width}", count=len(texts), offset=int(start))


def _decoded(texts: Texts) -> list[str]:
    return [text.decode(errors="replace") for text in texts[:_EXAMPLES].tolist()]


class FileTally:
    """Positions `name#row`: rows 1 to n, or 0 to n-1 where the header's own line became a row.

    Memory: one byte for each row of the files that the batch read.
    """

    def __init__(self, rows: Mapping[str, int]) -> None:
        self._rows = rows
        self._seen: dict[str, npt.NDArray[np.bool_]] = {}
        self._counted = Counted()

    def add(self, positions: Any) -> None:
        known = _with_text(positions, self._counted)
        prefixes = pc.ascii_rtrim(known, "0123456789").dictionary_encode()
        order = None if len(prefixes.dictionary) == 1 else np.argsort(prefixes.indices, kind="stable")
        ordered = known if order is None else known.take(pa.array(order))
        ends = np.cumsum(np.bincount(prefixes.indices, minlength=len(prefixes.dictionary)))
        for prefix, (begin, end) in zip(prefixes.dictionary.to_pylist(), pairwise([0, *ends.tolist()]), strict=True):
            self._take(prefix, ordered.slice(begin, end - begin))

    def _take(self, prefix: str, positions: Any) -> None:
        name = prefix.removesuffix("#")
        if name == prefix or name not in self._rows:
            self._counted.add_unknown(len(positions), positions.slice(0, _EXAMPLES).to_pylist())
            return
        numbers = pc.utf8_slice_codeunits(positions, start=len(prefix))
        good = pc.match_substring_regex(numbers, _ROW_NUMBER)
        bad = positions.filter(pc.invert(good))
        self._counted.add_unknown(len(bad), bad.slice(0, _EXAMPLES).to_pylist())
        self._mark(name, numbers.filter(good).cast(pa.int64()).to_numpy())

    def _mark(self, name: str, numbers: npt.NDArray[np.int64]) -> None:
        rows = self._rows[name]
        beyond = numbers[numbers > rows]
        self._counted.add_unknown(len(beyond), [f"{name}#{row}" for row in beyond[:_EXAMPLES]])
        seen = self._seen.setdefault(name, np.zeros(rows + 1, bool))
        inside = numbers[numbers <= rows]
        once = inside if (np.diff(inside) > 0).all() else np.unique(inside)
        again = once[seen[once]]
        if len(once) < len(inside):
            values, counts = np.unique(inside, return_counts=True)
            again = np.union1d(again, values[counts > 1])
        too_many = len(inside) - len(once) + int(seen[once].sum())
        self._counted.add_duplicates(too_many, [f"{name}#{row}" for row in again[:_EXAMPLES]])
        seen[once] = True

    def result(self) -> Counted:
        for name, rows in self._rows.items():
            self._judge(name, rows, self._seen.pop(name, np.zeros(rows + 1, bool)))
        return self._counted

    def _judge(self, name: str, rows: int, seen: npt.NDArray[np.bool_]) -> None:
        first = 0 if seen[0] else 1
        if first == 0 and seen[rows]:
            self._counted.add_unknown(1, [f"{name}#{rows}"])
        missing = np.flatnonzero(~seen[first : first + rows]) + first
        if len(missing):
            self._counted.gaps.append(UnitGap(name, len(missing), _as_ranges(missing)))


def _as_ranges(numbers: npt.NDArray[np.int64]) -> str:
    """`rows 3-7, 12, ...`: the first few runs of ascending numbers."""
    breaks = np.flatnonzero(np.diff(numbers) > 1)[:_EXAMPLES]
    firsts = numbers[np.append(0, breaks + 1)]
    lasts = numbers[np.append(breaks, len(numbers) - 1)]
    shown = [str(first) if first == last else f"{first}-{last}" for first, last in zip(firsts, lasts, strict=True)]
    return "rows " + ", ".join([*shown[:_EXAMPLES], "..."] if len(shown) > _EXAMPLES else shown)
