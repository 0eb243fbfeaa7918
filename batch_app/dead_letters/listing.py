"""Which files hold dead letters: each letter in one of them, whatever a compaction does while they are listed.

In a lake of plain files the compactions' book says which of the listed files have their rows in others (seen_once.py); what an
Iceberg table names has each row once anyway.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from batch_app.compaction.book import CompactionBook
from batch_app.compaction.seen_once import listed_once
from batch_app.dead_letters.selection import Selection
from streaming_app.schema import DEAD_DATE, DEAD_LETTER, INPUT_SOURCE, InputSource
from streaming_app.storage import Storage


@dataclass(frozen=True)
class DeadFile:
    """One file, with what its path says."""

    key: str
    size: int
    input_source: InputSource
    day: str

    @property
    def partition(self) -> str:
        """Its folder; a compaction keeps rows in it."""
        return self.key.rpartition("/")[0]


@dataclass(frozen=True)
class Listing:
    """Lists files of dead letters. `compactions`: the book, None for files that an Iceberg table names."""

    storage: Storage
    compactions: CompactionBook | None = None

    def files(self, selection: Selection) -> list[DeadFile]:
        """Files that may hold what is selected, newest day first. Lists single days where the range is short.

        Raises SinkError when the book and the files contradict each other.
        """
        folders = []
        for source in tuple(InputSource) if selection.labels or not selection.inputs else selection.inputs:
            folder = f"{DEAD_LETTER}/{INPUT_SOURCE}={source}"
            days = selection.days()
            folders += [folder] if days is None else [f"{folder}/{DEAD_DATE}={day}" for day in days]
        found = [file for file in self._once(folders) if selection.has_day(file.day)]
        return sorted(found, key=lambda file: (file.day, file.key), reverse=True)

    def again(self, partition: str) -> list[DeadFile]:
        """A partition's files as they are now."""
        return self._once([partition])

    def _once(self, folders: Sequence[str]) -> list[DeadFile]:
        """Without the files whose rows stand in other files of the same listing, too."""
        if self.compactions is None:
            return list(self._listed(folders))
        below = tuple(f"{folder}/" for folder in folders)
        found, out = listed_once(
            self.compactions,
            lambda: list(self._listed(folders)),
            lambda files: (file.key for file in files),
            lambda folder: f"{folder}/".startswith(below),
        )
        return [file for file in found if file.key not in out]

    def _listed(self, folders: Iterable[str]) -> Iterator[DeadFile]:
        for info in (info for folder in folders for info in self.storage.list(folder)):
            parts = info.key.split("/")
            names = dict(part.split("=", 1) for part in parts if "=" in part)
            visible = not any(part.startswith(("_", ".")) for part in parts)
            if visible and names.get(DEAD_DATE) and parts[-1].endswith(".parquet"):
                yield DeadFile(info.key, info.size, InputSource(names[INPUT_SOURCE]), names[DEAD_DATE])
