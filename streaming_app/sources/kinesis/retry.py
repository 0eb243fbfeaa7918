"""Calls again what failed for a moment: exponential backoff with full jitter, for a bounded time in a row.

Full jitter (a delay drawn from 0 to the current bound) is what AWS's own analysis of contending clients found best.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from streaming_app.errors import SourceError
from streaming_app.sources.kinesis.clock import Clock
from streaming_app.sources.kinesis.failures import TemporaryError

T = TypeVar("T")
FIRST_DELAY: Final = 0.2  # the least time between two calls that a shard allows
_LOG: Final = logging.getLogger(__name__)
_TOLD_AT: Final = frozenset({4, 16, 64})  # failures in a row: one or two are everyday, and a long outage fills no log
LONGEST_DELAY: Final = 5.0  # how long Kinesis refuses after a 10 MiB answer


@dataclass
class Calls:
    """What the calls of one read cost: for the read log and the metrics."""

    made: int = 0
    throttles: int = 0
    renewals: int = 0


@dataclass(frozen=True)
class Retry:
    """Gives up with SourceError once `timeout` seconds went by without one good answer."""

    timeout: float
    clock: Clock
    jitter: Callable[[float, float], float] = field(default=random.uniform)

    def call(self, action: Callable[[], T], calls: Calls) -> T:
        """The action's answer; only TemporaryError is tried again."""
        begun = self.clock.monotonic()
        failures = 0
        while True:
            calls.made += 1
            try:
                return action()
            except TemporaryError as error:
                calls.throttles += 1
                self._wait(error, begun, failures)
                failures += 1

    def _wait(self, error: TemporaryError, begun: float, failures: int) -> None:
        spent = self.clock.monotonic() - begun
        if spent >= self.timeout:
            raise SourceError(f"gave up after {spent:.0f} s of failing calls (throttle_timeout): {error}") from error
        if failures in _TOLD_AT:
            _LOG.warning("still failing after %.0f s, trying on for %.0f s: %s", spent, self.timeout - spent, error)
        bound = min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(failures, 10))
        self.clock.sleep(min(self.jitter(0.0, bound), self.timeout - spent))
