"""What one compiled expectation is: Great Expectations' name, our short one, and the function that makes the SQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from streaming_app.quality.arguments import Arguments


class RowLevel(NamedTuple):
    """An expectation that judges each row by itself.

    `compile` returns SQL that is TRUE for a failing row, FALSE for any other and never null; what it cannot use it
    notes in the arguments' problems, and its result is then worth nothing.
    """

    type: str
    short: str
    compile: Callable[[Arguments], str]
