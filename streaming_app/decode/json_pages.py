"""Many events in one piece of memory, looked at all together: where each begins, its quotes, and what it has at a place.

An event is *plain* when its bytes are UTF-8 without control characters and backslashes: each of its quotes then begins or
ends a string of JSON, if it is JSON at all, and a string is the bytes between two of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np
import pyarrow as pa

Numbers = Any  # a numpy array; places are bytes from the beginning of the page
_WORD: Final = 8
_BEYOND: Final = bytes(_WORD)  # behind the last event, so that its last byte can be looked at as part of a word
_QUOTE, _BACKSLASH, _SPACE, _LAST_ASCII = 0x22, 0x5C, 0x20, 0x7F
_MOST_BYTES: Final = 32 << 20  # were they all quotes, their places would take eight times that


class Page:
    """Events in their order; their bytes are copied once."""

    def __init__(self, events: Sequence[bytes]) -> None:
        sizes = np.fromiter(map(len, events), np.int64, len(events))
        self.bounds = np.zeros(len(events) + 1, np.int64)
        np.cumsum(sizes, out=self.bounds[1:])
        self.starts, self.ends = self.bounds[:-1], self.bounds[1:]
        self._joined = b"".join([*events, _BEYOND])
        self._bytes = np.frombuffer(self._joined, np.uint8)
        self._words: Numbers = np.ndarray((int(self.bounds[-1]) + 1,), "<u8", self._joined, strides=(1,))

    @staticmethod
    def takes(events: Sequence[bytes]) -> bool:
        """Whether the events are few enough bytes for one page."""
        return sum(map(len, events)) <= _MOST_BYTES

    @cached_property
    def quotes(self) -> Numbers:
        """The places of all quotes."""
        return np.flatnonzero(self._bytes == _QUOTE)

    @cached_property
    def first_quotes(self) -> Numbers:
        """For each event the number of quotes before it, then the number of all."""
        return np.searchsorted(self.quotes, self.bounds)

    @cached_property
    def plain(self) -> Numbers:
        """Whether each event is plain."""
        plain = np.ones(len(self.starts), bool)
        content = self._bytes[: self.bounds[-1]]
        if len(content) and content.min() < _SPACE:
            self._mark(plain, content < _SPACE)
        if b"\\" in self._joined:
            self._mark(plain, content == _BACKSLASH)
        if not (self._joined.isascii() or _is_utf8(self._joined)):
            self._mark(plain, content > _LAST_ASCII)
        return plain

    def plain_with(self, quotes: int) -> Numbers:
        """The numbers of the plain events that have so many quotes."""
        return np.flatnonzero((np.diff(self.first_quotes) == quotes) & self.plain)

    def others(self, rows: Numbers) -> Numbers:
        """The numbers of the events that are not among these."""
        left = np.ones(len(self.starts), bool)
        left[rows] = False
        return np.flatnonzero(left)

    def holds(self, text: bytes, places: Numbers) -> Numbers:
        """Whether the text stands at each of these places, which may lie anywhere."""
        good = np.ones(len(places), bool)
        for begin in range(0, len(text), _WORD):
            part = text[begin : begin + _WORD]
            mask = np.uint64((1 << (8 * len(part))) - 1)
            wanted = np.uint64(int.from_bytes(part, "little"))
            good &= (self._words[np.minimum(places + begin, len(self._words) - 1)] & mask) == wanted
        return good

    def texts(self, begins: Numbers, ends: Numbers) -> pa.Array:
        """The bytes from each begin to its end as strings; places must not decrease, and the bytes be UTF-8."""
        count = len(begins)
        offsets = np.empty(2 * count + 1, np.int32)  # text, what is between, text, ...: taken without what is between
        offsets[0:-1:2], offsets[1::2] = begins, ends
        offsets[-1] = ends[-1] if count else 0
        pieces = pa.Array.from_buffers(
            pa.string(), 2 * count, [None, pa.py_buffer(offsets), pa.py_buffer(self._joined)]
        )
        return pieces.take(pa.array(np.arange(0, 2 * count, 2)))

    def raw(self) -> pa.Array:
        """The events themselves."""
        offsets = pa.py_buffer(self.bounds.astype(np.int32))
        return pa.Array.from_buffers(pa.binary(), len(self.starts), [None, offsets, pa.py_buffer(self._joined)])

    def _mark(self, plain: Numbers, bad: Numbers) -> None:
        """An event with a bad byte is not plain."""
        plain[np.searchsorted(self.bounds, np.flatnonzero(bad), "right") - 1] = False


def _is_utf8(data: bytes) -> bool:
    """Of all events together, which is as good: one that begins and ends with ASCII cannot share a character."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
