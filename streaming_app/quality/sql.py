"""The only place where SQL text is made from names and values: escaped identifiers and typed literals.

Every literal is right under Spark 4's defaults (`spark.sql.parser.escapedStringLiterals=false`, ANSI mode on), and
the configuration refuses the other setting. A `$` never stands in the text as itself: Spark replaces `${name}` in any
SQL it parses (`spark.sql.variable.substitute`), inside quotes too.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

from streaming_app.schema import MAX_DECIMAL_PRECISION, Column

NULL: Final = "NULL"
NUMERIC_TYPES: Final = frozenset({"int", "bigint", "double", "decimal"})
_INT32: Final = 1 << 31
_INT64: Final = 1 << 63


class Literal(NamedTuple):
    """A value as SQL, and as something that sorts as SQL sorts it."""

    sql: str
    value: Any


def identifier(name: str) -> str:
    """A column's name in backticks."""
    return "`" + name.replace("`", "``") + "`"


def text(value: str) -> str:
    """A string literal. Raises ValueError for halves of surrogate pairs, which are no characters."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("holds half a character (a lone surrogate)") from None
    return "'" + "".join(_escaped(character) for character in value) + "'"


def _escaped(character: str) -> str:
    if character in "\\'\"":
        return "\\" + character
    if character < " " or character in "$`\x7f\u2028\u2029" or "\x80" <= character < "\xa0":
        return f"\\u{ord(character):04x}"
    return character


def family(column: Column) -> str:
    """What kind of values a column holds: its type without a decimal's digits."""
    return "decimal" if column.decimal_digits else column.type


def is_numeric(column: Column) -> bool:
    """Whether values of the column can be added up."""
    return family(column) in NUMERIC_TYPES


def literal(column: Column, value: Any) -> Literal:
    """`value` as a literal that compares with the column without any implicit cast.

    Dates and times are ISO 8601 text, times without an offset are UTC. Raises ValueError with what is wrong.
    """
    return _MAKERS[family(column)](value)


def _string(value: Any) -> Literal:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text, but the column is; put it in quotes")  # noqa: TRY004 - one kind of error
    return Literal(text(value), value)


def _boolean(value: Any) -> Literal:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")  # noqa: TRY004 - one kind of error
    return Literal("TRUE" if value else "FALSE", value)


def _number(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is no number, but the column is; write it without quotes")  # noqa: TRY004 - one kind of error
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return Decimal(repr(value))


def _int(value: Any) -> Literal:
    """A number beside an int column: an int where it is one, so that Spark need not widen the column."""
    number = _number(value)
    if number == number.to_integral_value() and -_INT32 < number < _INT32:
        return Literal(str(int(number)), number)
    return _bigint(value)


def _bigint(value: Any) -> Literal:
    number = _number(value)
    # The least of all cannot be written with L: it is read as minus (a number that does not fit).
    if number == number.to_integral_value() and -_INT64 < number < _INT64:
        return Literal(f"{int(number)}L", number)
    return _decimal(value)


def _decimal(value: Any) -> Literal:
    """An exact number: never through a double, which would round it."""
    number = _number(value)
    digits = format(number.normalize(), "f")
    if len(digits.lstrip("-").replace(".", "")) > MAX_DECIMAL_PRECISION:
        raise ValueError(f"{value!r} has more than the {MAX_DECIMAL_PRECISION} digits that Spark compares exactly")
    return Literal(f"{digits}BD", number)


def _double(value: Any) -> Literal:
    number = _number(value)
    try:
        double = float(number)
    except OverflowError:
        double = math.inf
    if math.isinf(double):
        raise ValueError(f"{value!r} is too large for a double")
    return Literal(f"{double!r}D", number)


def _date(value: Any) -> Literal:
    try:
        day = date.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} is no date; write it as 2026-03-01") from None
    return Literal(f"DATE '{day.isoformat()}'", day)


def _timestamp(value: Any) -> Literal:
    try:
        moment = datetime.fromisoformat(value)
        aware = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{value!r} is no time; write it as 2026-03-01T00:00:00Z") from None
    # strftime pads years below 1000 on some platforms only; isoformat always does.
    written = aware.replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
    return Literal(f"TIMESTAMP '{written}+00:00'", aware)


_MAKERS: Final = {
    "string": _string,
    "boolean": _boolean,
    "int": _int,
    "bigint": _bigint,
    "decimal": _decimal,
    "double": _double,
    "date": _date,
    "timestamp": _timestamp,
}


def in_list(column: str, literals: list[str]) -> str:
    """`column IN (...)`; an empty list holds nothing."""
    return f"{column} IN ({', '.join(literals)})" if literals else "FALSE"


def all_of(conditions: list[str]) -> str:
    """The conditions joined by AND, each in parentheses."""
    return " AND ".join(f"({condition})" for condition in conditions) or "TRUE"


def any_of(conditions: list[str]) -> str:
    """The conditions joined by OR, each in parentheses."""
    return " OR ".join(f"({condition})" for condition in conditions) or "FALSE"


def fails_unless(expected: str) -> str:
    """TRUE where `expected` is false; where it is null the row is skipped, as Great Expectations on Spark does."""
    return f"coalesce(NOT ({expected}), FALSE)"
