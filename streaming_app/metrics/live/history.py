"""Sums by second over the last hour, in a fixed amount of memory."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Mapping
from typing import Final

HOUR: Final = 3600  # seconds that are kept
MOST_SERIES: Final = 200  # 29 kB each; amounts of further ones are not kept

Name = tuple[str, ...]


class History:
    """A ring of seconds for each series. Safe between threads; memory is bounded by MOST_SERIES * HOUR numbers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._series: dict[Name, array[float]] = {}
        self._newest = 0  # the last second that was written; everything up to HOUR before it is valid

    def add(self, amounts: Mapping[Name, float], begun: float, ended: float) -> None:
        """Spread amounts evenly over the seconds from `begun` to `ended` (seconds since 1970).

        Of what lies more than an hour before the newest second only the rest is kept.
        """
        first, last = min(int(begun) + 1, int(ended)), int(ended)
        with self._lock:
            self._advance(last)
            seconds = range(max(first, self._newest - HOUR + 1), last + 1)
            for name, amount in amounts.items():
                series = self._of(name) if amount and seconds else None
                for second in seconds if series is not None else ():
                    series[second % HOUR] += amount / (last - first + 1)  # type: ignore[index] # not None in here

    def sums(self, begin: int, end: int, step: int = 1) -> dict[Name, list[float]]:
        """Sums of `step` seconds each over [begin, end), by series; series without anything in it are left out."""
        with self._lock:
            found = {name: self._seconds(series, begin, end) for name, series in self._series.items()}
        return {
            name: [sum(seconds[at : at + step]) for at in range(0, len(seconds), step)]
            for name, seconds in found.items()
            if any(seconds)
        }

    def _seconds(self, series: array[float], begin: int, end: int) -> list[float]:
        valid = range(max(begin, self._newest - HOUR + 1), min(end, self._newest + 1))
        if not valid:
            return [0.0] * (end - begin)
        kept = [series[second % HOUR] for second in valid]
        return [0.0] * (valid.start - begin) + kept + [0.0] * (end - valid.stop)

    def _of(self, name: Name) -> array[float] | None:
        if name not in self._series and len(self._series) < MOST_SERIES:
            self._series[name] = array("d", bytes(8 * HOUR))
        return self._series.get(name)

    def _advance(self, to: int) -> None:
        """Empty the seconds that are used again."""
        for second in range(max(self._newest, to - HOUR) + 1, to + 1):
            for series in self._series.values():
                series[second % HOUR] = 0.0
        self._newest = max(self._newest, to)
