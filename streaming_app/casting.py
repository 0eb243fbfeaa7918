"""Strings to types, in Spark SQL: a text that is not exactly a value of its type becomes null, never a guess.

| type | accepted |
| --- | --- |
| decimal(p,s) | digits with at most p-s before and s after the point; zeros beyond are no digits; no exponent: nothing is rounded |
| int, bigint | whole numbers that fit |
| double | what Java reads as a double |
| boolean | true, false |
| date | 2026-03-01 |
| timestamp | ISO 8601 date and time, with offset or else UTC; epoch seconds (9 or 10 digits, maybe a fraction), epoch milliseconds (12 or 13 digits) |

White space around numbers is ignored. Needs `spark.sql.session.timeZone` UTC, which the service sets.
"""

from __future__ import annotations

from typing import Final

from streaming_app.schema import Column

_ISO_DATE: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_ISO_TIME: Final = r"[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?"
_OFFSET: Final = r"(Z|[+-][0-9]{2}(:?[0-9]{2})?)?"
_TIMESTAMP: Final = f"^{_ISO_DATE}[T ]{_ISO_TIME}{_OFFSET}$"
_EPOCH_SECONDS: Final = r"^[0-9]{9,10}([.][0-9]{1,6})?$"
_EPOCH_MILLIS: Final = r"^[0-9]{12,13}$"


def cast_sql(column: Column, text: str) -> str:
    """A Spark SQL expression for `text` (an expression of type string) as the column's type, null when it is none."""
    if column.type == "string":
        return text
    if column.decimal_digits:
        return _decimal(text, column.type, *column.decimal_digits)
    if column.type == "timestamp":
        return _timestamp(text)
    if column.type == "date":
        return f"CASE WHEN {text} RLIKE '^{_ISO_DATE}$' THEN try_cast({text} AS DATE) END"
    if column.type == "boolean":
        return f"CASE WHEN lower(trim({text})) IN ('true', 'false') THEN try_cast(trim({text}) AS BOOLEAN) END"
    return f"try_cast({text} AS {column.type.upper()})"


def _decimal(text: str, sql_type: str, precision: int, scale: int) -> str:
    whole = f"0*[0-9]{{1,{precision - scale}}}" if precision > scale else "0+"
    fraction = f"([.][0-9]{{0,{scale}}}0*)?"
    return f"CASE WHEN {text} RLIKE '^ *[+-]?{whole}{fraction} *$' THEN try_cast({text} AS {sql_type.upper()}) END"


def _timestamp(text: str) -> str:
    return (
        f"CASE WHEN {text} RLIKE '{_TIMESTAMP}' THEN try_cast({text} AS TIMESTAMP)"
        f" WHEN {text} RLIKE '{_EPOCH_MILLIS}' THEN timestamp_millis(try_cast({text} AS BIGINT))"
        f" WHEN {text} RLIKE '{_EPOCH_SECONDS}' THEN timestamp_seconds(try_cast({text} AS DECIMAL(16, 6))) END"
    )
