"""Time as the source sees it, so that tests can own it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the source asks of time."""

    def monotonic(self) -> float:
        """Seconds that only grow; for intervals."""
        ...

    def now(self) -> float:
        """Seconds since 1970, UTC; for records and offsets."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The machine's own clock."""

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
