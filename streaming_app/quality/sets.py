"""Expectations about membership in a set of values."""

from __future__ import annotations

from typing import Final

from streaming_app.quality.arguments import Arguments
from streaming_app.quality.expectation import RowLevel
from streaming_app.quality.sql import fails_unless, identifier, in_list


def _membership(arguments: Arguments) -> tuple[str, str]:
    """The column, and whether it is in the set."""
    column = arguments.column()
    name = identifier(column.name)
    return name, in_list(name, arguments.literals("value_set", column))


def _in_set(arguments: Arguments) -> str:
    name, member = _membership(arguments)
    # An empty set has no member, and a null still passes: `member` alone would be false for it.
    return fails_unless(f"{name} IS NULL OR {member}")


def _not_in_set(arguments: Arguments) -> str:
    _, member = _membership(arguments)
    return fails_unless(f"NOT ({member})")


EXPECTATIONS: Final = (
    RowLevel("expect_column_values_to_be_in_set", "in_set", _in_set),
    RowLevel("expect_column_values_to_not_be_in_set", "not_in_set", _not_in_set),
)
