"""Finding files that were not read yet, in a listing that may hold a million others."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from streaming_app.sources.csv_files.files import PlannedFile
from streaming_app.sources.csv_files.seen import SeenFiles
from streaming_app.storage import ObjectInfo, Storage

_LOOKUP: Final = 10_000  # listed files that are looked up together
MOST_PENDING: Final = 20_000  # found files that wait in memory; more are found by a later listing
_HIDDEN: Final = ("_", ".")


def is_wanted(key: str, suffixes: tuple[str, ...]) -> bool:
    """Whether a key is read at all: its suffix is configured, and neither file nor folder is hidden (`_` or `.` first)."""
    return key.lower().endswith(suffixes) and not any(part.startswith(_HIDDEN) for part in key.split("/"))


@dataclass(frozen=True)
class Found:
    """One listing: files to read in order of time, how many are still being written, and the newest time of all.

    `more`: another listing will find further ones that were there already.
    """

    files: list[PlannedFile]
    unsettled: int
    newest: datetime | None
    more: bool = False


@dataclass
class _Sighting:
    etag: str
    since: float


@dataclass
class _Tally:
    unsettled: dict[str, _Sighting] = field(default_factory=dict)
    newest: datetime | None = None
    too_early: int = 0  # changed files whose earlier version is still being finished


class Discovery:
    """Lists the storage and picks what is new or changed, and at rest."""

    def __init__(self, storage: Storage, suffixes: tuple[str, ...], settle: float) -> None:
        self._storage = storage
        self._suffixes = suffixes
        self._settle = settle
        self._sightings: dict[str, _Sighting] = {}

    def look(self, seen: SeenFiles, committed: int, until: datetime | None = None) -> Found:
        """List everything once. A changed file counts once its earlier version's epoch is `committed` (so: sealed).

        `until` leaves out files with a later modification time. Memory: bounded by the new files, `MOST_PENDING` of them.
        """
        tally = _Tally()
        news = self._at_rest(self._news(self._listed(tally, until), seen, committed, tally), tally)
        first = heapq.nsmallest(MOST_PENDING, news, key=lambda file: (file.modified, file.key))
        self._sightings = tally.unsettled
        more = bool(tally.unsettled or tally.too_early or len(first) == MOST_PENDING)
        return Found(first, len(tally.unsettled), tally.newest, more)

    def _listed(self, tally: _Tally, until: datetime | None) -> Iterator[ObjectInfo]:
        for item in self._storage.list(""):
            if is_wanted(item.key, self._suffixes) and (until is None or item.modified <= until):
                tally.newest = item.modified if tally.newest is None else max(tally.newest, item.modified)
                yield item

    def _news(
        self, listed: Iterable[ObjectInfo], seen: SeenFiles, committed: int, tally: _Tally
    ) -> Iterator[tuple[ObjectInfo, PlannedFile]]:
        rest = iter(listed)
        while items := list(islice(rest, _LOOKUP)):
            for item, version in seen.news(items):
                if version is None or version.epoch <= committed:
                    yield item, PlannedFile.of(item, version)
                else:
                    tally.too_early += 1

    def _at_rest(self, news: Iterable[tuple[ObjectInfo, PlannedFile]], tally: _Tally) -> Iterator[PlannedFile]:
        now, clock = datetime.now(UTC), time.monotonic()
        for item, file in news:
            if (now - item.modified).total_seconds() >= self._settle:
                yield file
                continue
            before = self._sightings.get(item.key)
            sighting = before if before and before.etag == item.etag else _Sighting(item.etag, clock)
            if clock - sighting.since >= self._settle:
                yield file
            else:
                tally.unsettled[item.key] = sighting
