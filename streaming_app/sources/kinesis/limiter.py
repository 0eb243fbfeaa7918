"""One limiter a shard for every GetRecords call of this process: 5 calls and 2 MiB a second are all that Kinesis allows.

All readers of a shard share these limits, so a call that another process made lately is told to the limiter with
`called_at`, and what still collides is answered by backing off.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable

from streaming_app.sources.kinesis.clock import Clock


class ShardLimiter:
    """Spaces calls by `interval` seconds, and by the time their bytes take at `bytes_per_second`; 0 switches either off."""

    def __init__(self, interval: float, bytes_per_second: int, clock: Clock) -> None:
        self._interval, self._rate, self._clock = interval, bytes_per_second, clock
        self._lock = threading.Lock()
        self._next = 0.0

    def acquire(self) -> None:
        """Wait for this caller's turn."""
        with self._lock:
            now = self._clock.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._interval
        if turn > now:
            self._clock.sleep(turn - now)

    def received(self, size: int) -> None:
        """Put the next call off by what `size` bytes cost; after a 10 MiB answer Kinesis itself refuses for 5 s."""
        if self._rate:
            with self._lock:
                begun = self._next - self._interval
                self._next = max(self._next, begun + size / self._rate)

    def called_at(self, moment: float) -> None:
        """Take into account a call that another process made at `moment` (seconds since 1970 by its own clock)."""
        ago = max(0.0, self._clock.now() - moment)
        if ago < self._interval:
            with self._lock:
                self._next = max(self._next, self._clock.monotonic() + self._interval - ago)


class Limiters:
    """The limiters of a process, by shard."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Hashable, ShardLimiter] = {}

    def of(self, shard: Hashable, interval: float, bytes_per_second: int, clock: Clock) -> ShardLimiter:
        """The one limiter of this shard; the first caller's limits hold."""
        with self._lock:
            if shard not in self._known:
                self._known[shard] = ShardLimiter(interval, bytes_per_second, clock)
            return self._known[shard]
