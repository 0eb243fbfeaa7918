"""The newest of many things, in whatever order they come."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from operator import itemgetter
from typing import Generic, TypeVar

T = TypeVar("T")


class Newest(Generic[T]):
    """The last `kept` of them by their time. Iterates newest first; of equal times the one that came last is newer."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._things: list[tuple[float, T]] = []  # oldest first

    def add(self, at: float, thing: T) -> None:
        """Take a thing of a moment, and let the oldest go."""
        insort(self._things, (at, thing), key=itemgetter(0))
        del self._things[: -self._kept]

    def __iter__(self) -> Iterator[T]:
        return iter([thing for _, thing in reversed(self._things)])
