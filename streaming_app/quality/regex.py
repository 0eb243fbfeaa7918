"""Regular expressions that both Java (the stream) and Python (the gate on pandas) accept."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Final

_MAX_LENGTH: Final = 10_000  # characters

# What Python accepts and Java refuses; written as Python reads it, outside of character classes.
_PYTHON_ONLY: Final = (
    (re.compile(r"\(\?P"), "(?P...) is Python's alone; name a group (?<name>...) in neither, or number it"),
    (re.compile(r"\(\?\("), "(?(...)...) is Python's alone"),
    (re.compile(r"\(\?#"), "(?#...) comments are Python's alone"),
    (re.compile(r"\(\?[iLmsux-]*[aL]"), "the flags a and L are Python's alone"),
    (re.compile(r"\{,\d*\}"), "{,n} is Python's alone; write {0,n}"),
)
_PIECE: Final = re.compile(r"\\.|\[\^?\]?|.", re.DOTALL)


def faults(pattern: str) -> list[str]:
    """What is wrong with the pattern; empty when Java and Python both take it."""
    if len(pattern) > _MAX_LENGTH:
        return [f"is longer than {_MAX_LENGTH} characters"]
    try:
        pattern.encode("utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "possible nested set" is reported below
            re.compile(pattern)
    except UnicodeEncodeError:
        return ["holds half a character (a lone surrogate)"]
    except (re.error, RecursionError, OverflowError) as error:
        return [f"is no regular expression: {error}"]
    outside, inside = _split(pattern)
    found = [message for regex, message in _PYTHON_ONLY if regex.search(outside)]
    return found + list(_escape_faults(pattern)) + list(_class_faults(inside))


def _split(pattern: str) -> tuple[str, list[str]]:
    """The text outside of character classes, with escaped characters blanked out, and each class's content."""
    outside, inside = "", list[str]()
    in_class = False
    for match in _PIECE.finditer(pattern):
        piece = match[0]
        if in_class and piece == "]":
            in_class = False
        elif in_class:
            inside[-1] += piece
        elif piece.startswith("["):
            in_class = True
            inside.append(piece[1:])
        else:
            outside += "\\_" if piece.startswith("\\") else piece
    return outside, inside


def _escape_faults(pattern: str) -> Iterator[str]:
    escapes = {match[0] for match in _PIECE.finditer(pattern) if match[0].startswith("\\")}
    if "\\U" in escapes:
        yield "\\U is Python's alone; write the character itself"
    if "\\0" in escapes:
        yield "\\0 means different characters in Java and Python; write \\x00"
    if "\\N" in escapes:
        yield "\\N{...} is read differently by Java; write the character itself"


def _class_faults(classes: list[str]) -> Iterator[str]:
    for content in classes:
        plain = re.sub(r"\\.", "_", content, flags=re.DOTALL)
        if "[" in plain:
            yield "an unescaped [ inside [...] begins a class of its own in Java; write \\["
        if "&&" in plain:
            yield "&& inside [...] is an intersection in Java; write \\&&"
        if plain.startswith(("]", "^]")):
            yield "a ] right after [ is read differently by Java; write \\]"
