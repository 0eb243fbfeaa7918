"""Expectations about two columns of a row."""

from __future__ import annotations

from typing import Any, Final

from streaming_app.quality.arguments import Arguments
from streaming_app.quality.expectation import RowLevel
from streaming_app.quality.sql import NULL, NUMERIC_TYPES, all_of, any_of, fails_unless, family, identifier
from streaming_app.schema import Column

_IGNORED: Final = ("both_values_are_missing", "either_value_is_missing", "neither")


def comparable(arguments: Arguments, columns: list[Column], name: str) -> None:
    """Note columns of different kinds: ANSI mode would stop the query at the first text that is no number."""
    kinds = {"number" if family(column) in NUMERIC_TYPES else family(column) for column in columns}
    if len(kinds) > 1 and not arguments.problems:
        listed = ", ".join(f"{column.name} {column.type}" for column in columns)
        arguments.problem(name, f"the columns cannot be compared: {listed}")


def _columns(arguments: Arguments) -> tuple[Column, Column]:
    return arguments.column("column_A"), arguments.column("column_B")


def _judged(arguments: Arguments, columns: tuple[Column, Column], expected: str) -> str:
    """Fails unless expected, and `ignore_row_if` does not leave the row out."""
    missing = [f"{identifier(column.name)} IS NULL" for column in columns]
    ignored = arguments.choice("ignore_row_if", _IGNORED)
    if ignored == "neither":
        return fails_unless(expected)
    skip = all_of(missing) if ignored == "both_values_are_missing" else any_of(missing)
    return fails_unless(f"({skip}) OR ({expected})")


def _equal(arguments: Arguments) -> str:
    columns = _columns(arguments)
    comparable(arguments, list(columns), "column_B")
    a, b = (identifier(column.name) for column in columns)
    return _judged(arguments, columns, f"{a} <=> {b}")


def _greater(arguments: Arguments) -> str:
    columns = _columns(arguments)
    comparable(arguments, list(columns), "column_B")
    a, b = (identifier(column.name) for column in columns)
    or_equal = arguments.flag("or_equal")
    return _judged(arguments, columns, f"{a} >= {b} OR {a} <=> {b}" if or_equal else f"{a} > {b}")


def _in_set(arguments: Arguments) -> str:
    columns = _columns(arguments)
    pairs = arguments.a_list("value_pairs_set")
    if isinstance(arguments.get("value_pairs_set"), list) and not pairs:
        arguments.problem("value_pairs_set", "is empty; give one pair at least")
    conditions = [_pair(arguments, columns, f"value_pairs_set[{at}]", pair) for at, pair in enumerate(pairs)]
    return _judged(arguments, columns, any_of(conditions))


def _pair(arguments: Arguments, columns: tuple[Column, Column], name: str, pair: Any) -> str:
    if not isinstance(pair, list) or len(pair) != len(columns):
        arguments.problem(name, "should be a list of two values")
        return "FALSE"
    return all_of(
        [
            f"{identifier(column.name)} <=> {_value(arguments, f'{name}[{at}]', column, pair[at])}"
            for at, column in enumerate(columns)
        ]
    )


def _value(arguments: Arguments, name: str, column: Column, value: Any) -> str:
    literal = None if value is None else arguments.literal(name, column, value)
    return literal.sql if literal else NULL


EXPECTATIONS: Final = (
    RowLevel("expect_column_pair_values_to_be_equal", "pair_equal", _equal, None),
    RowLevel("expect_column_pair_values_a_to_be_greater_than_b", "pair_greater", _greater, None),
    RowLevel("expect_column_pair_values_to_be_in_set", "pair_in_set", _in_set, None),
)
