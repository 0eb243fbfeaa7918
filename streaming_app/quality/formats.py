"""Expectations about what a text holds, JSON or a time, judged by Python's own parsers as Great Expectations does."""

from __future__ import annotations

from typing import Final

from streaming_app.quality.arguments import Arguments
from streaming_app.quality.expectation import RowLevel
from streaming_app.quality.sql import fails_unless, identifier, text
from streaming_app.text_checks import HAS_STRFTIME_FORMAT, IS_JSON, format_fault


def _column(arguments: Arguments, what: str) -> str:
    column = arguments.column()
    arguments.of_type(column, "column", {"string"}, what)
    return identifier(column.name)


def _json(arguments: Arguments) -> str:
    return fails_unless(f"{IS_JSON}({_column(arguments, 'only texts can hold JSON')})")


def _strftime(arguments: Arguments) -> str:
    column = _column(arguments, "a format looks at texts only; the cast has checked this column already")
    return fails_unless(f"{HAS_STRFTIME_FORMAT}({column}, {text(_format(arguments))})")


def _format(arguments: Arguments) -> str:
    form = arguments.required("strftime_format")
    if form is None:
        return ""
    fault = format_fault(form) if isinstance(form, str) else "should be a text; put it in quotes"
    if fault:
        arguments.problem("strftime_format", fault)
    return "" if fault else str(form)


EXPECTATIONS: Final = (
    RowLevel("expect_column_values_to_be_json_parseable", "json_parseable", _json),
    RowLevel("expect_column_values_to_match_strftime_format", "strftime_format", _strftime),
)
