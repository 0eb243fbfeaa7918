r"""Expectations about regular expressions: found anywhere in the text, as Java reads them (Spark's `rlike`).

Great Expectations on pandas reads them with Python's `re`. `regex.faults` refuses what only one of the two
accepts; where both accept and differ (`\d` and `\w` beyond ASCII, `$` before a final line end), Spark's reading holds.
"""

from __future__ import annotations

from typing import Any, Final

from streaming_app.quality import regex
from streaming_app.quality.arguments import Arguments
from streaming_app.quality.expectation import RowLevel
from streaming_app.quality.sql import all_of, fails_unless, identifier, text


def _column(arguments: Arguments) -> str:
    column = arguments.column()
    arguments.of_type(column, "column", {"string"}, "a regular expression looks at texts only")
    return identifier(column.name)


def _checked(arguments: Arguments, name: str, pattern: Any) -> str:
    """The pattern, or one that matches nothing where it cannot be used."""
    if not isinstance(pattern, str):
        arguments.problem(name, "should be a text; put it in quotes")
        return "(?!)"
    faults = regex.faults(pattern)
    for fault in faults:
        arguments.problem(name, fault)
    return "(?!)" if faults else pattern


def _one(arguments: Arguments) -> str:
    pattern = arguments.required("regex")
    return "(?!)" if pattern is None else _checked(arguments, "regex", pattern)


def _several(arguments: Arguments) -> list[str]:
    listed = arguments.a_list("regex_list")
    if isinstance(arguments.get("regex_list"), list) and not listed:
        arguments.problem("regex_list", "is empty; give one regular expression at least")
    return [_checked(arguments, f"regex_list[{at}]", pattern) for at, pattern in enumerate(listed)]


def _match(arguments: Arguments) -> str:
    return fails_unless(f"{_column(arguments)} RLIKE {text(_one(arguments))}")


def _not_match(arguments: Arguments) -> str:
    return fails_unless(f"NOT ({_column(arguments)} RLIKE {text(_one(arguments))})")


def _match_list(arguments: Arguments) -> str:
    column, patterns = _column(arguments), _several(arguments)
    if arguments.choice("match_on", ("any", "all")) == "any":
        # Joined, as Great Expectations does on Spark, and not one by one: a flag such as (?i) holds for all that follow.
        return fails_unless(f"{column} RLIKE {text('|'.join(patterns))}")
    return fails_unless(all_of([f"{column} RLIKE {text(pattern)}" for pattern in patterns]))


def _not_match_list(arguments: Arguments) -> str:
    column, patterns = _column(arguments), _several(arguments)
    return fails_unless(all_of([f"NOT ({column} RLIKE {text(pattern)})" for pattern in patterns]))


EXPECTATIONS: Final = (
    RowLevel("expect_column_values_to_match_regex", "regex", _match),
    RowLevel("expect_column_values_to_not_match_regex", "not_regex", _not_match),
    RowLevel("expect_column_values_to_match_regex_list", "regex_list", _match_list),
    RowLevel("expect_column_values_to_not_match_regex_list", "not_regex_list", _not_match_list),
)
