"""Expectations about several columns of a row."""

from __future__ import annotations

from itertools import combinations
from typing import Final

from streaming_app.quality.arguments import Arguments
from streaming_app.quality.expectation import RowLevel
from streaming_app.quality.pairs import comparable
from streaming_app.quality.sql import NUMERIC_TYPES, all_of, any_of, fails_unless, family, identifier
from streaming_app.schema import Column

_IGNORED: Final = ("all_values_are_missing", "any_value_is_missing", "never")
_AS_DOUBLE: Final = Column(name="total", type="double")


def _judged(arguments: Arguments, columns: list[Column], expected: str) -> str:
    """Fails unless expected, and `ignore_row_if` does not leave the row out."""
    missing = [f"{identifier(column.name)} IS NULL" for column in columns]
    ignored = arguments.choice("ignore_row_if", _IGNORED)
    if ignored == "never":
        return fails_unless(expected)
    skip = all_of(missing) if ignored == "all_values_are_missing" else any_of(missing)
    return fails_unless(f"({skip}) OR ({expected})")


def _sum_equals(arguments: Arguments) -> str:
    """A null counts as 0, and the sum is compared as a double: both as Great Expectations does on Spark."""
    columns = arguments.columns()
    for at, column in enumerate(columns):
        arguments.of_type(column, f"column_list[{at}]", NUMERIC_TYPES, "only numbers can be added up")
    total = arguments.required("sum_total")
    literal = None if total is None else arguments.literal("sum_total", _AS_DOUBLE, total)
    # An overflow makes try_add null. Such a sum equals no total: the row fails.
    total_sum = _sum([_summand(column) for column in columns])
    expected = f"coalesce({total_sum} = {literal.sql if literal else 'NULL'}, FALSE)"
    return _judged(arguments, columns, expected)


def _summand(column: Column) -> str:
    value = f"coalesce({identifier(column.name)}, 0)"
    return f"CAST({value} AS DECIMAL(38, 0))" if family(column) in {"int", "bigint"} else value


def _sum(summands: list[str]) -> str:
    total = summands[0] if summands else "0"
    for summand in summands[1:]:
        total = f"try_add({total}, {summand})"
    return total


def _equal(arguments: Arguments) -> str:
    columns = arguments.columns()
    comparable(arguments, columns, "column_list")
    first, *others = [identifier(column.name) for column in columns] or ["NULL"]
    return _judged(arguments, columns, all_of([f"{first} <=> {other}" for other in others]))


def _unique(arguments: Arguments) -> str:
    columns = arguments.columns()
    comparable(arguments, columns, "column_list")
    names = [identifier(column.name) for column in columns]
    return _judged(arguments, columns, f"NOT ({any_of([f'{a} <=> {b}' for a, b in combinations(names, 2)])})")


EXPECTATIONS: Final = (
    RowLevel("expect_multicolumn_sum_to_equal", "sum_equals", _sum_equals, None),
    RowLevel("expect_multicolumn_values_to_be_equal", "values_equal", _equal, None),
    RowLevel("expect_select_column_values_to_be_unique_within_record", "unique_within_record", _unique, None),
)
