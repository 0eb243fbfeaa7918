"""Sums by second over the last hour, in a fixed amount of memory."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from math import ceil
from typing import Final

import numpy as np
import numpy.typing as npt

HOUR: Final = 3600  # seconds that are kept
MOST_SERIES: Final = 200  # 29 kB each; amounts of further ones are not kept while all of these have some

Name = tuple[str, ...]
Seconds = npt.NDArray[np.float64]


class History:
    """A ring of seconds for each series. Safe between threads; memory is bounded by MOST_SERIES * HOUR numbers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._series: dict[Name, Seconds] = {}
        self._last: dict[Name, int] = {}  # the second of each that was written last
        self._newest = 0  # the last second that was written; everything up to HOUR before it is valid

    def add(self, amounts: Mapping[Name, float], begun: float, ended: float) -> None:
        """Spread amounts evenly over the time from `begun` to `ended` (seconds since 1970); a second is named by its end.

        Of what lies more than an hour before the newest second only the rest is kept.
        """
        last = ceil(ended)
        with self._lock:
            self._advance(last)
            seconds = np.arange(max(min(int(begun) + 1, last), self._newest - HOUR + 1), last + 1)
            shares = _shares(seconds, begun, ended)
            for name, amount in amounts.items():
                series = self._of(name) if amount and len(seconds) else None
                if series is not None:
                    series[seconds % HOUR] += amount * shares
                    self._last[name] = max(last, self._last.get(name, 0))

    def sums(self, begin: int, end: int, step: int = 1) -> dict[Name, Seconds]:
        """Sums of `step` seconds each over [begin, end), by series; series without anything in it are left out.

        `step` divides `end - begin`.
        """
        with self._lock:
            valid = np.arange(max(begin, self._newest - HOUR + 1), min(end, self._newest + 1))
            found = {name: series[valid % HOUR] for name, series in self._series.items()}
        return {
            name: self._whole(kept, valid, begin, end).reshape(-1, step).sum(axis=1)
            for name, kept in found.items()
            if kept.any()
        }

    def _whole(self, kept: Seconds, valid: npt.NDArray[np.int64], begin: int, end: int) -> Seconds:
        whole = np.zeros(end - begin)
        whole[valid - begin] = kept
        return whole

    def _of(self, name: Name) -> Seconds | None:
        if name not in self._series and len(self._series) >= MOST_SERIES:
            self._free()
        if name not in self._series and len(self._series) < MOST_SERIES:
            self._series[name] = np.zeros(HOUR)
        return self._series.get(name)

    def _free(self) -> None:
        """Drop the series that have nothing in the hour: reasons of a suite that is not in force any more, for example."""
        for name in [name for name, last in self._last.items() if last <= self._newest - HOUR]:
            del self._series[name], self._last[name]

    def _advance(self, to: int) -> None:
        """Empty the seconds that are used again."""
        again = np.arange(max(self._newest, to - HOUR) + 1, to + 1) % HOUR
        if len(again):
            for series in self._series.values():
                series[again] = 0.0
        self._newest = max(self._newest, to)


def _shares(seconds: npt.NDArray[np.int64], begun: float, ended: float) -> Seconds:
    """The part of the time from `begun` to `ended` in each of the seconds."""
    if ended <= begun:
        return np.ones(len(seconds))
    parts: Seconds = (np.minimum(seconds, ended) - np.maximum(seconds - 1, begun)) / (ended - begun)
    return parts
