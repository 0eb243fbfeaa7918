"""Files that were found and no epoch reads yet: in order of time, and each path once."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from datetime import datetime

from streaming_app.sources.csv_files.files import PlannedFile, to_micros


class Pending:
    """A queue of files, oldest first; a path that is added again is there as it was found last."""

    def __init__(self) -> None:
        self._files: dict[str, PlannedFile] = {}
        self._order: list[tuple[str, str]] = []  # a heap; what was taken or replaced since is passed over
        self._bytes = 0

    def __len__(self) -> int:
        """How many files wait."""
        return len(self._files)

    def add(self, files: Iterable[PlannedFile]) -> None:
        """Files to read some time."""
        for file in files:
            before = self._files.get(file.key)
            self._bytes += file.size - (before.size if before else 0)
            self._files[file.key] = file
            if before is None or before.modified != file.modified:
                heapq.heappush(self._order, (file.modified, file.key))

    def take(self, most_files: int, most_bytes: int) -> list[PlannedFile]:
        """The next ones, one at least where there is any, however large."""
        chosen: list[PlannedFile] = []
        size = 0
        while len(chosen) < most_files and (first := self._first()):
            size += first.size
            if chosen and size > most_bytes:
                break
            chosen.append(self._files.pop(first.key))
            self._bytes -= first.size
        return chosen

    def waiting(self) -> dict[str, int]:
        """How many files and bytes wait, and the oldest one's time in microseconds (0: none), for people."""
        first = self._first()
        oldest = to_micros(datetime.fromisoformat(first.modified)) if first else 0
        return {"files": len(self._files), "bytes": self._bytes, "oldest": oldest}

    def _first(self) -> PlannedFile | None:
        while self._order:
            modified, key = self._order[0]
            file = self._files.get(key)
            if file is not None and file.modified == modified:
                return file
            heapq.heappop(self._order)
        return None
