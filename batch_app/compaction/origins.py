"""Whose rows with an `ingested_at` are, in files that a compaction wrote: the book has the name of the file they were in first.

Two outputs of one compaction share such stamps, as each has a part of a file's rows; so do they when both are rewritten. These may
be merged again: the audit finds a batch's rows by stamp, and they are all of one owner. Rows that two owners wrote in the same
microsecond may not.
"""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np

from batch_app.compaction.book import CompactionBook

OWNER: Final = "compact"
_NAME: Final = re.compile(r"part-(.+)-[0-9a-f]{32}\.parquet")
_FILE: Final = np.dtype([("stamp", "<i8"), ("owner", "<i4")])


def owner_of(name: str) -> str | None:
    """Who wrote a file: a source, a backfill, a replay, `OWNER`; None where the sink does not name files so."""
    found = _NAME.fullmatch(name)
    return found[1] if found else None


class Origins:
    """Looks stamps up in the book, which is read when that is needed first. Memory: 12 bytes a file that was ever replaced."""

    def __init__(self, book: CompactionBook) -> None:
        self._book, self._last = book, -1
        self._owners: dict[str, int] = {}
        self._folders: dict[str, Any] = {}

    def read(self) -> None:
        """Learn what was written since the last call. Raises SinkError when the book cannot be understood."""
        for entry in self._book.entries(self._last + 1):
            rows = [
                (file.stamp, self._owners.setdefault(owner, len(self._owners)))
                for file in entry.inputs
                if file.stamp is not None and (owner := owner_of(file.name))
            ]
            known = self._folders.get(entry.folder, np.empty(0, _FILE))
            self._folders[entry.folder] = np.sort(np.concatenate([known, np.array(rows, _FILE)]), order=["stamp"])
            self._last = entry.number

    def owner(self, folder: str, stamp: int) -> str | None:
        """Who wrote all rows of a partition with a stamp; None where that is nobody, or not one alone."""
        files = self._folders.get(folder, np.empty(0, _FILE))
        begin, end = np.searchsorted(files["stamp"], stamp, "left"), np.searchsorted(files["stamp"], stamp, "right")
        found = set(files["owner"][begin:end].tolist())
        return list(self._owners)[found.pop()] if len(found) == 1 else None
