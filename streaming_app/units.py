"""Durations and sizes as people write them: `500ms`, `30s`, `10m`, `2h`, `7d`; `64MiB`, `1GiB`."""

from __future__ import annotations

import re
from typing import Any, Final

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")
_SECONDS: Final = {None: 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE: Final = re.compile(r"(\d+)\s*(B|KiB|MiB|GiB)?")
_BYTES: Final = {None: 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def parse_duration(value: Any) -> Any:
    """Seconds from `10m`; numbers stay as they are (seconds). Raises ValueError for any other text."""
    if isinstance(value, bool):
        raise ValueError("true or false is no duration; write for example 30s")  # noqa: TRY004 - pydantic collects ValueErrors
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value.strip())
    if not match:
        raise ValueError(f"{value!r} is no duration; write for example 500ms, 30s, 10m, 2h or 7d")
    return float(match[1]) * _SECONDS[match[2]]


def parse_size(value: Any) -> Any:
    """Bytes from `64MiB`; numbers stay as they are. Raises ValueError for any other text."""
    if isinstance(value, bool):
        raise ValueError("true or false is no size; write for example 64MiB")  # noqa: TRY004 - pydantic collects ValueErrors
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if not match:
        raise ValueError(f"{value!r} is no size; write for example 512KiB, 64MiB, 1GiB or plain bytes")
    return int(match[1]) * _BYTES[match[2]]
