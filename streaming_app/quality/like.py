r"""Expectations about LIKE patterns: `%` is any text, `_` any one character, the whole value has to match, case counts.

Great Expectations has them on SQL databases only, which disagree on three things. Ours: case counts, as on Spark and most
databases (SQLite and MySQL ignore it unless told otherwise). A backslash without `escape`, and an escape before an
ordinary character, mean different things on different databases, so both are refused: what is accepted means the same on
all of them.

Spark's own LIKE cannot be used: it quotes each half of a character beyond U+FFFF by itself, so that the text `😀a` is not
LIKE `😀_` (measured, Spark 4.1.1). The pattern becomes a regular expression instead.
"""

from __future__ import annotations

import string
from typing import Any, Final

from streaming_app.quality.arguments import Arguments
from streaming_app.quality.expectation import RowLevel
from streaming_app.quality.sql import all_of, any_of, fails_unless, identifier, text

_MAX_LENGTH: Final = 10_000  # characters
_WILDCARDS: Final = frozenset("%_")
_BACKSLASH: Final = "\\"
_ANY_TEXT: Final = ".*"


def java_regex(pattern: str, escape: str | None) -> str:
    """A Java expression that finds what the pattern matches. Raises ValueError with what is wrong."""
    if len(pattern) > _MAX_LENGTH:
        raise ValueError(f"is longer than {_MAX_LENGTH} characters")
    if escape is None and _BACKSLASH in pattern:
        raise ValueError(
            "has a backslash, which escapes on some databases and is a character on others; say which by"
            " escape: '\\' or, where it is a character, by another escape such as escape: '!'"
        )
    made = [""]
    characters = iter(pattern)
    for character in characters:
        part = _literal(_escaped(next(characters, ""), escape)) if character == escape else _part(character)
        if not part == made[-1] == _ANY_TEXT:  # %% is %, and much faster
            made.append(part)
    return rf"(?s)\A{''.join(made)}\z"


def _escaped(character: str, escape: str) -> str:
    if character in _WILDCARDS or character == escape:
        return character
    raise ValueError(f"escapes {character!r} by {escape!r}; only % and _ and {escape!r} itself can be escaped")


def _part(character: str) -> str:
    return {"%": _ANY_TEXT, "_": "."}.get(character) or _literal(character)


def _literal(character: str) -> str:
    return _BACKSLASH + character if character in string.punctuation else character


def _column(arguments: Arguments) -> str:
    column = arguments.column()
    arguments.of_type(column, "column", {"string"}, "a LIKE pattern looks at texts only")
    return identifier(column.name)


def _escape(arguments: Arguments) -> str | None:
    escape = arguments.get("escape")
    if escape is None:
        return None
    if not isinstance(escape, str) or len(escape) != 1 or escape in _WILDCARDS:
        arguments.problem("escape", "should be one character, and neither % nor _")
        return None
    return escape


def _matches(arguments: Arguments, column: str, name: str, pattern: Any, escape: str | None) -> str:
    """SQL that is true for a value that matches; notes what cannot be used."""
    if not isinstance(pattern, str):
        arguments.problem(name, "should be a text; put it in quotes")
        return "FALSE"
    try:
        return f"{column} RLIKE {text(java_regex(pattern, escape))}"
    except ValueError as error:
        arguments.problem(name, str(error))
        return "FALSE"


def _one(arguments: Arguments) -> str:
    column, escape, pattern = _column(arguments), _escape(arguments), arguments.required("like_pattern")
    return "FALSE" if pattern is None else _matches(arguments, column, "like_pattern", pattern, escape)


def _several(arguments: Arguments) -> list[str]:
    column, escape, listed = _column(arguments), _escape(arguments), arguments.a_list("like_pattern_list")
    if isinstance(arguments.get("like_pattern_list"), list) and not listed:
        arguments.problem("like_pattern_list", "is empty; give one pattern at least")
    return [
        _matches(arguments, column, f"like_pattern_list[{at}]", pattern, escape) for at, pattern in enumerate(listed)
    ]


def _match(arguments: Arguments) -> str:
    return fails_unless(_one(arguments))


def _not_match(arguments: Arguments) -> str:
    return fails_unless(f"NOT ({_one(arguments)})")


def _match_list(arguments: Arguments) -> str:
    matches = _several(arguments)
    return fails_unless(any_of(matches) if arguments.choice("match_on", ("any", "all")) == "any" else all_of(matches))


def _not_match_list(arguments: Arguments) -> str:
    return fails_unless(f"NOT ({any_of(_several(arguments))})")


EXPECTATIONS: Final = (
    RowLevel("expect_column_values_to_match_like_pattern", "like", _match),
    RowLevel("expect_column_values_to_not_match_like_pattern", "not_like", _not_match),
    RowLevel("expect_column_values_to_match_like_pattern_list", "like_list", _match_list),
    RowLevel("expect_column_values_to_not_match_like_pattern_list", "not_like_list", _not_match_list),
)
