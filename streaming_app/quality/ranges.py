"""Expectations about ranges: of values, and of the lengths of texts (in characters, as Spark's `length` counts)."""

from __future__ import annotations

from typing import Any, Final

from streaming_app.quality.arguments import Arguments
from streaming_app.quality.expectation import RowLevel
from streaming_app.quality.sql import Literal, all_of, fails_unless, identifier

# Great Expectations takes numbers, dates and times as bounds and refuses a suite with any other text.
_ORDERED: Final = frozenset({"int", "bigint", "double", "decimal", "date", "timestamp"})


def _within(arguments: Arguments, what: str, low: Literal | None, high: Literal | None) -> str:
    """`what` between the bounds that are given; `strict_min` and `strict_max` leave the bound itself out."""
    strict_min, strict_max = arguments.flag("strict_min"), arguments.flag("strict_max")
    conditions = []
    if low:
        conditions.append(f"{what} {'>' if strict_min else '>='} {low.sql}")
    if high:
        conditions.append(f"{what} {'<' if strict_max else '<='} {high.sql}")
    if low and high and low.value > high.value:
        arguments.problem("min_value", "is greater than max_value: no row could pass")
    return fails_unless(all_of(conditions))


def _bounds_given(arguments: Arguments) -> tuple[Any, Any]:
    low, high = arguments.get("min_value"), arguments.get("max_value")
    if low is None and high is None:
        arguments.problem("min_value", "is missing; give min_value, max_value or both")
    return low, high


def _between(arguments: Arguments) -> str:
    column = arguments.column()
    arguments.of_type(column, "column", _ORDERED, "Great Expectations puts bounds to numbers, dates and times only")
    low, high = _bounds_given(arguments)
    return _within(
        arguments,
        identifier(column.name),
        None if low is None else arguments.literal("min_value", column, low),
        None if high is None else arguments.literal("max_value", column, high),
    )


def _length_of(arguments: Arguments) -> str:
    column = arguments.column()
    arguments.of_type(column, "column", {"string"}, "only texts have a length")
    return f"length({identifier(column.name)})"


def _lengths_between(arguments: Arguments) -> str:
    length = _length_of(arguments)
    _bounds_given(arguments)
    return _within(arguments, length, _count(arguments, "min_value"), _count(arguments, "max_value"))


def _count(arguments: Arguments, name: str) -> Literal | None:
    value = arguments.whole_number(name)
    return None if value is None else Literal(f"{value}L", value)


def _length_equals(arguments: Arguments) -> str:
    length = _length_of(arguments)
    arguments.required("value")
    count = _count(arguments, "value")
    return fails_unless(f"{length} = {count.sql if count else 'NULL'}")


EXPECTATIONS: Final = (
    RowLevel("expect_column_values_to_be_between", "between", _between),
    RowLevel("expect_column_value_lengths_to_be_between", "length", _lengths_between),
    RowLevel("expect_column_value_lengths_to_equal", "length_equals", _length_equals),
)
