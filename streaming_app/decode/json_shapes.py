"""Events that are written alike, taken apart all at once: one program writes its fields in one order, with one spacing.

A *shape* is an event without its values: `{"order_id":"`, `","quantity":`, `,"amount":`, `}`. An event that is plain, has
these bytes where they belong, and between them strings or plain numbers, is exactly the JSON object that the shape's own
event is, with other values. So its values can be cut out without a parser, in a handful of operations for all events.
Everything else (escapes, null, exponents, another order, other fields) is left to the parser.

Measured on the benchmark's events, 98% of which have one shape: docs/decisions/0011-json-shapes.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from streaming_app.decode.json_pages import Numbers, Page

_FIELD: Final = re.compile(
    rb' *"(?P<name>[^"\\]*)" *: *(?:"(?P<text>[^"\\]*)"|(?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?)) *(?P<after>[,}])'
)
_MINUS, _DOT, _ZERO = b"-.0"
_FEWEST: Final = 32  # events: below it the parser is quicker
_GOOD_SHARE: Final = (
    0.25  # of a page's events: below it another shape is tried, and then the page is left to the parser
)
_LONGEST_PAUSE: Final = 64  # pages


class _Value(NamedTuple):
    """One value of a shape: its field, the event's quote that ends it or stands next, and the bytes before that quote."""

    name: str
    is_text: bool
    quote: int
    before: int


class Found(NamedTuple):
    """Events of one shape: their numbers in the page, ascending, and a string array for each field that the shape has."""

    rows: Numbers
    columns: dict[str, pa.Array]


class Shape:
    """What all events of one writer share."""

    def __init__(self, runs: Sequence[bytes], fields: Sequence[tuple[str, bool]]) -> None:
        """`runs`: the bytes before, between and behind the values; `fields`: name, and whether its value is in quotes."""
        self._runs = runs
        self._quotes = sum(run.count(b'"') for run in runs)
        self._values: list[_Value] = []
        seen = 0
        for place, (name, is_text) in enumerate(fields):
            seen += runs[place].count(b'"')
            self._values.append(_Value(name, is_text, seen, runs[place + 1].find(b'"')))

    @classmethod
    def of(cls, event: bytes, names: Sequence[str]) -> Shape | None:
        """The shape of an event; None where it is no object of strings and plain numbers, each field known and there once."""
        place, begin, runs, fields = 1, 0, [], []
        if not event.startswith(b"{"):
            return None
        while (field := _FIELD.match(event, place)) is not None:
            kind = "number" if field["text"] is None else "text"
            runs.append(event[begin : field.start(kind)])
            fields.append((field["name"].decode(errors="replace"), kind == "text"))
            place, begin = field.end(), field.end(kind)
            if field["after"] == b"}":
                break
        runs.append(event[begin:])
        known = [name for name, _ in fields if name in names]
        whole = place == len(event) and event.endswith(b"}") and len(set(known)) == len(fields) > 0
        return cls(runs, fields) if whole else None

    def find(self, page: Page) -> Found:
        """All events of the page that have this shape."""
        rows = page.plain_with(self._quotes)
        good, begins, ends = self._places(page, rows)
        if not good.all():
            kept = np.flatnonzero(good)
            rows, good = rows[kept], good[kept]
            begins, ends = [begin[kept] for begin in begins], [end[kept] for end in ends]
        columns = {
            value.name: page.texts(begin, end) for value, begin, end in zip(self._values, begins, ends, strict=True)
        }
        for value in self._values:
            if not value.is_text:
                good &= are_plain_numbers(columns[value.name])
        return self._only(Found(rows, columns), good)

    def _places(self, page: Page, rows: Numbers) -> tuple[Numbers, list[Numbers], list[Numbers]]:
        """Which of the rows have the shape but for their numbers, and where each value begins and ends."""
        first, last = page.first_quotes[rows], page.ends[rows]
        place, good = page.starts[rows], np.ones(len(rows), bool)
        begins, ends = [], []
        for run, value in zip(self._runs, self._values, strict=False):
            good &= page.holds(run, place)
            begin = place + len(run)
            no_quote_follows = value.before < 0
            place = last - len(self._runs[-1]) if no_quote_follows else page.quotes[first + value.quote] - value.before
            good &= place > begin - value.is_text
            begins.append(begin)
            ends.append(place)
        good &= page.holds(self._runs[-1], place) & (place + len(self._runs[-1]) == last)
        return good, begins, ends

    @staticmethod
    def _only(found: Found, good: Numbers) -> Found:
        if good.all():
            return found
        kept = pa.array(np.flatnonzero(good))
        return Found(found.rows[good], {name: column.take(kept) for name, column in found.columns.items()})


class Shapes:
    """Remembers the shape that most events of the last pages had. One thread at a time."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._shape: Shape | None = None
        self._pause = self._left_alone = 0

    def find(self, events: Sequence[bytes]) -> tuple[Page, Found] | None:
        """The events of one shape; None where looking for one is not worth it."""
        if len(events) < _FEWEST or not Page.takes(events):
            return None
        if self._left_alone:
            self._left_alone -= 1
            return None
        page = Page(events)
        found = self._best(page, events)
        if found is None:
            self._pause = self._left_alone = min(2 * self._pause or 1, _LONGEST_PAUSE)
            return None
        self._pause = 0
        return page, found

    def _best(self, page: Page, events: Sequence[bytes]) -> Found | None:
        """By the shape of the pages before, else by that of one event or another of this one."""
        count = len(events)
        tried = (Shape.of(events[place], self._names) for place in (0, count // 2, count - 1))
        for shape in (self._shape, *tried):
            if shape is not None:
                found = shape.find(page)
                if len(found.rows) >= _GOOD_SHARE * count:
                    self._shape = shape
                    return found
        return None


def are_plain_numbers(texts: pa.Array) -> Numbers:
    """Which of these texts, none of them empty, are JSON numbers without an exponent."""
    offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1]
    good = np.ones(len(texts), bool)
    if not len(texts):
        return good
    data = np.frombuffer(texts.buffers()[2], np.uint8)[: offsets[-1]]
    begins, ends = offsets[:-1], offsets[1:]
    digit = data - np.uint8(_ZERO) <= 9  # noqa: PLR2004 - bytes below "0" wrap around
    start = begins + (data[begins] == _MINUS)  # of the digits
    start_inside = np.minimum(start, ends - 1)
    good &= (start < ends) & digit[start_inside]
    next_inside = np.minimum(start + 1, ends - 1)
    good &= (data[start_inside] != _ZERO) | (next_inside == start_inside) | ~digit[next_inside]
    others = np.flatnonzero(~digit)
    rows = np.searchsorted(offsets, others, "right") - 1
    is_sign = others < start[rows]
    is_dot = (data[others] == _DOT) & ~is_sign & (others > start[rows]) & (others < ends[rows] - 1)
    good[rows[~(is_sign | is_dot)]] = False
    dots = rows[is_dot]
    good[dots[1:][dots[1:] == dots[:-1]]] = False
    return good
