"""Checks of texts that Great Expectations makes with Python's own parsers, as functions that Spark's SQL may call.

No SQL function reads JSON or dates exactly as Python does (`json.loads` takes NaN and a key twice, `strptime` takes 1 for
01), so the very same parsers run here, in Spark's Python workers, and only where a suite has such a rule. Each takes texts
or null, raises nothing, and depends on nothing but its arguments (and, for names of months or zones in a format, on the
workers' locale and zone): a batch that runs again gets the same verdicts.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

IS_JSON: Final = "qsr_is_json"
HAS_STRFTIME_FORMAT: Final = "qsr_has_strftime_format"
_MOMENT: Final = datetime(2020, 1, 2, 3, 4, 5, 678901, UTC)


def is_json(text: str | None) -> bool | None:
    """Whether `json.loads` takes the text; null for null."""
    if text is None:
        return None
    try:
        json.loads(text)
    except (ValueError, RecursionError):  # a whole number of more than 4,300 digits is a ValueError, too
        return False
    return True


def has_strftime_format(text: str | None, form: str) -> bool | None:
    """Whether `datetime.strptime` takes the text in this format; null for null."""
    if text is None:
        return None
    try:
        datetime.strptime(text, form)  # noqa: DTZ007 - only whether it can be read
    except (ValueError, OverflowError):
        return False
    return True


def format_fault(form: str) -> str:
    """Why the format cannot be used, as Great Expectations finds it: a moment written so cannot be read again. Empty if it can."""
    try:
        form.encode("utf-8")
        datetime.strptime(_MOMENT.strftime(form), form)  # noqa: DTZ007 - as above
    except UnicodeEncodeError:
        return "holds half a character (a lone surrogate)"
    except (ValueError, OverflowError) as error:
        return f"is no format that can be read: {error}"
    return ""


FUNCTIONS: Final[dict[str, Callable[..., bool | None]]] = {
    IS_JSON: is_json,
    HAS_STRFTIME_FORMAT: has_strftime_format,
}
