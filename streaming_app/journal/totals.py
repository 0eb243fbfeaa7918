"""Sums over all published ledger entries, each counted once: what "since ever" means in the metrics.

The sums are kept beside the ledger (`ledger/totals.json`) with the batch they reach to, so that a start reads only the
entries after it. The file is no record of its own: without it, or where it does not fit the ledger, the ledger is read
from its beginning.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from streaming_app.journal.ledger import LEDGER, Entry, Ledger
from streaming_app.storage import Storage

_KEY: Final = f"{LEDGER}/totals.json"
_SAVE_EVERY: Final = 100  # batches: one small write for each hundred
_FORMAT: Final = 2  # of the file; another one is made anew


@dataclass
class Totals:
    """Sums up to batch `through`. Rows by outcome, stage and rule; files and bytes by table; breaches by limit.

    `breached` are batches that broke any limit.
    """

    through: int = -1
    batches: int = 0
    breached: int = 0
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("read", "clean", "dead", "duplicates"), 0))
    by_stage: dict[str, int] = field(default_factory=dict)
    by_reason: dict[str, int] = field(default_factory=dict)
    by_warning: dict[str, int] = field(default_factory=dict)
    by_info: dict[str, int] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    breaches: dict[str, int] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        """Count an entry, unless it or a later one was counted before."""
        if entry.batch_id <= self.through:
            return
        counts = entry.counts
        self.through = entry.batch_id
        self.batches += 1
        self.breached += bool(entry.breaches)
        _add(self.rows, {name: getattr(counts, name) for name in self.rows})
        for name in ("by_stage", "by_reason", "by_warning", "by_info"):
            _add(getattr(self, name), getattr(counts, name))
        for file in entry.files:
            _add(self.files, {file.table: 1})
            _add(self.bytes, {file.table: file.staged.size})
        _add(self.breaches, dict.fromkeys(entry.breaches, 1))


class LedgerTotals:
    """The totals of one source, from its checkpoint folder; used by one thread at a time.

    `last` is the entry that was published last when this was made.
    """

    def __init__(self, checkpoint: Storage) -> None:
        self._storage, self._ledger = checkpoint, Ledger(checkpoint)
        self._published = self._ledger.published_through()
        self.totals = self._saved()
        self.last: Entry | None = self._ledger.get(self._published) if self._published >= 0 else None
        self._saved_through = self.totals.through
        self._add_all(entry for entry in self._ledger.entries(self.totals.through + 1))

    def add(self, entry: Entry) -> None:
        """Count a published batch, and those before it that were published without anybody telling."""
        if entry.batch_id <= self.totals.through:
            return
        self._published = entry.batch_id
        if entry.batch_id == self.totals.through + 1:
            self.totals.add(entry)
        else:
            self._add_all(self._ledger.entries(self.totals.through + 1))
        if self.totals.through >= self._saved_through + _SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """Keep the sums for the next start."""
        if self.totals.through > self._saved_through:
            document = {"format": _FORMAT, **asdict(self.totals)}
            self._storage.put(_KEY, json.dumps(document).encode())
            self._saved_through = self.totals.through

    def _add_all(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if entry.batch_id <= self._published:
                self.totals.add(entry)

    def _saved(self) -> Totals:
        data = self._storage.get(_KEY)
        try:
            document: dict[str, Any] = json.loads(data) if data else {}
            if document.pop("format", None) == _FORMAT and document["through"] <= self._published:
                return Totals(**document)
        except (AttributeError, KeyError, TypeError, ValueError):  # cut off or of another version: made anew
            return Totals()
        return Totals()


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for key, count in more.items():
        total[key] = total.get(key, 0) + count
