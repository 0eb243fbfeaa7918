"""What one compiled expectation is: Great Expectations' name, our short one, and the function that makes the SQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from streaming_app.quality.arguments import Arguments
from streaming_app.thresholds import Skips

# By the first word of `ignore_row_if`: both_values_are_missing, any_value_is_missing, never, ...
_IGNORED: Final = {"either": Skips.ANY, "any": Skips.ANY, "neither": Skips.NONE, "never": Skips.NONE}


class RowLevel(NamedTuple):
    """An expectation that judges each row by itself.

    `compile` returns SQL that is TRUE for a failing row, FALSE for any other and never null; what it cannot use it
    notes in the arguments' problems, and its result is then worth nothing.
    """

    type: str
    short: str
    compile: Callable[[Arguments], str]
    skips: Skips | None = Skips.ANY  # None: as the kwarg ignore_row_if says

    def skipped(self, kwargs: Mapping[str, Any]) -> Skips:
        """Which rows Great Expectations leaves out before it takes the share that `mostly` is compared with."""
        if self.skips is not None:
            return self.skips
        return _IGNORED.get(str(kwargs.get("ignore_row_if")).partition("_")[0], Skips.ALL)
