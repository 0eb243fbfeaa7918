"""Cutting text into JSON events: one a line, or several on one line without anything between them, as Firehose writes them.

A newline always ends an event, since JSON allows none inside a string. Text that is no object stays with what follows it,
or is an event of its own, and becomes a dead letter: every byte but white space between events is in exactly one event.
"""

from __future__ import annotations

import re
from typing import Final

_SEVERAL: Final = re.compile(rb"\}[ \t\r]*\{")  # maybe: it may stand in a string
_TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[{}"]', re.DOTALL)
_BLANK: Final = b" \t\r\n"


class JsonObjects:
    """Cuts blocks of one text, in order. Memory: a block and the event that goes over its end."""

    def __init__(self) -> None:
        self._rest = b""
        self._look_at = 0  # the rest was looked at up to here in vain

    def split(self, block: bytes) -> list[bytes]:
        """The events that end in this block."""
        *lines, self._rest = (self._rest + block).split(b"\n")
        events = cut_lines(lines)
        if lines:
            self._look_at = 0
        if len(self._rest) > 2 * self._look_at:  # seldom enough that a long event costs no square of its length
            found, used = _objects(self._rest)
            events += found
            self._rest = self._rest[used:]
            self._look_at = len(self._rest)
        return events

    def end(self) -> list[bytes]:
        """What is left at the end of the text."""
        rest, self._rest, self._look_at = self._rest, b"", 0
        return cut_lines([rest])


def cut_lines(lines: list[bytes]) -> list[bytes]:
    """The events of whole lines."""
    if not any(_SEVERAL.search(line) for line in lines):
        return [event for line in lines if (event := line.strip(_BLANK))]
    return [event for line in lines for event in _cut(line)]


def _cut(line: bytes) -> list[bytes]:
    found, used = _objects(line)
    rest = line[used:].strip(_BLANK)
    return [*found, rest] if rest else found


def _objects(text: bytes) -> tuple[list[bytes], int]:
    """The objects that are whole, each with what stands before it, and where the last one ends."""
    found, begin, depth = [], 0, 0
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token == b'"':  # of a string that does not end here
            break
        if token == b"{":
            depth += 1
        elif token == b"}" and depth:
            depth -= 1
            if not depth:
                found.append(text[begin : match.end()].strip(_BLANK))
                begin = match.end()
    return found, begin
