"""Expectations about missing values: the only ones that look at nulls."""

from __future__ import annotations

from typing import Final

from streaming_app.quality.arguments import Arguments
from streaming_app.quality.expectation import RowLevel
from streaming_app.quality.sql import identifier
from streaming_app.thresholds import Skips


def _not_null(arguments: Arguments) -> str:
    return f"{identifier(arguments.column().name)} IS NULL"


def _null(arguments: Arguments) -> str:
    return f"{identifier(arguments.column().name)} IS NOT NULL"


EXPECTATIONS: Final = (
    RowLevel("expect_column_values_to_not_be_null", "not_null", _not_null, Skips.NONE),
    RowLevel("expect_column_values_to_be_null", "null", _null, Skips.NONE),
)
