"""The sink's commit log: one entry a micro-batch, written if absent; that write is the commit point.

An entry owns its files. `published_through` says up to which batch all files are visible; whatever lies above it is
finished by recovery. A batch with an entry is never written again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from streaming_app.errors import SinkError
from streaming_app.journal.keys import Segment
from streaming_app.journal.sequenced import Document, SequencedLog
from streaming_app.storage import StagedFile, Storage

LEDGER: Final = "ledger"  # its folder inside a source's checkpoint
NO_EPOCH: Final = -1  # of a batch whose source keeps no read log
_KEEP_OPEN: Final = 10  # latest entries stay single objects, for people to look at


@dataclass(frozen=True)
class LedgerFile:
    """One file of the lake: table, rows, bytes, partition (column=value below input_source), and how it was staged."""

    table: str
    partition: str
    rows: int
    staged: StagedFile

    def to_json(self) -> Document:
        """A JSON object that `from_json` reads back."""
        return {"table": self.table, "partition": self.partition, "rows": self.rows, **self.staged.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LedgerFile:
        """The inverse of `to_json`."""
        return cls(value["table"], value["partition"], value["rows"], StagedFile.from_json(value))


@dataclass(frozen=True)
class Counts:
    """Rows of a micro-batch. `read` comes from the read log, the others from the writers; they must add up.

    The dictionaries count rows by rule. A dead letter counts in `by_warning` and `by_info`, too, where it fails such a rule.
    """

    read: int = 0
    clean: int = 0
    dead: int = 0
    duplicates: int = 0
    by_reason: dict[str, int] = field(default_factory=dict)
    by_stage: dict[str, int] = field(default_factory=dict)
    by_warning: dict[str, int] = field(default_factory=dict)
    by_info: dict[str, int] = field(default_factory=dict)

    @property
    def written(self) -> int:
        """Rows that became something."""
        return self.clean + self.dead + self.duplicates


@dataclass(frozen=True)
class Entry:
    """One committed micro-batch. Times are seconds since the epoch; `arrived` is the oldest and newest row's arrival.

    `breaches` are the limits that it broke and was published nevertheless, in words by the limit's name. `window` is what
    the circuit breaker has seen up to here (thresholds.py), `keys` are those of its clean rows (keys.py).
    """

    batch_id: int
    epoch: int
    source: str
    suite_fingerprint: str
    token: str
    counts: Counts
    files: tuple[LedgerFile, ...]
    arrived: tuple[float, float] | None
    committed_at: float
    breaches: Mapping[str, str] = field(default_factory=dict)
    window: Sequence[Any] = ()
    keys: tuple[Segment, ...] = ()

    def to_json(self) -> Document:
        """A JSON object that `from_json` reads back."""
        counts = self.counts
        return {
            "batch": self.batch_id,
            "epoch": self.epoch,
            "source": self.source,
            "suite": self.suite_fingerprint,
            "token": self.token,
            "read": counts.read,
            "clean": counts.clean,
            "dead": counts.dead,
            "duplicates": counts.duplicates,
            "by_reason": counts.by_reason,
            "by_stage": counts.by_stage,
            "by_warning": counts.by_warning,
            "by_info": counts.by_info,
            "files": [file.to_json() for file in self.files],
            "arrived": list(self.arrived) if self.arrived else None,
            "committed_at": self.committed_at,
            **({"breaches": dict(self.breaches)} if self.breaches else {}),
            **({"window": list(self.window)} if self.window else {}),
            **({"keys": [segment.to_json() for segment in self.keys]} if self.keys else {}),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Entry:
        """The inverse of `to_json`."""
        return cls(
            batch_id=value["batch"],
            epoch=value["epoch"],
            source=value["source"],
            suite_fingerprint=value["suite"],
            token=value["token"],
            counts=Counts(
                value["read"],
                value["clean"],
                value["dead"],
                value["duplicates"],
                dict(value["by_reason"]),
                dict(value["by_stage"]),
                dict(value.get("by_warning", {})),  # entries of version 0.1 have none
                dict(value.get("by_info", {})),
            ),
            files=tuple(LedgerFile.from_json(file) for file in value["files"]),
            arrived=tuple(value["arrived"]) if value["arrived"] else None,
            committed_at=value["committed_at"],
            breaches=value.get("breaches", {}),
            window=tuple(value.get("window", ())),
            keys=tuple(Segment.from_json(segment) for segment in value.get("keys", ())),
        )


class Ledger:
    """The ledger inside a checkpoint folder (`storage` is rooted at `checkpoints/<source>`)."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._log = SequencedLog(storage, f"{LEDGER}/entries")
        self._pointer = f"{LEDGER}/published.json"
        self._registered = f"{LEDGER}/registered.json"

    def append_if_absent(self, entry: Entry) -> bool:
        """Commit a batch; False when it has an entry already."""
        return self._log.append_if_absent(entry.batch_id, entry.to_json())

    def get(self, batch_id: int) -> Entry | None:
        """The entry of a batch, or None."""
        document = self._log.get(batch_id)
        return Entry.from_json(document) if document else None

    def void(self, batch_id: int) -> None:
        """Take back an unpublished entry, so that its batch can be written anew."""
        self._log.remove_open(batch_id)

    def published_through(self) -> int:
        """The highest batch id up to which every file is visible, -1 at the start."""
        data = self._storage.get(self._pointer)
        try:
            return int(json.loads(data)["through"]) if data else -1
        except (KeyError, TypeError, ValueError) as error:
            raise SinkError(
                f"{self._storage.uri}/{self._pointer} cannot be read ({error!r}); `python -m streaming_app doctor --repair`"
                " makes it anew"
            ) from error

    def mark_published(self, batch_id: int) -> None:
        """Every file up to this batch is visible; call it in order of batch ids. Folds old entries."""
        self._storage.put(self._pointer, json.dumps({"through": batch_id}).encode())
        self._log.fold(through=batch_id - _KEEP_OPEN)

    def registered_through(self) -> int:
        """The batch up to which a catalog knows every partition, -1 when that was never noted or cannot be read."""
        data = self._storage.get(self._registered)
        try:
            return int(json.loads(data)["through"]) if data else -1
        except (KeyError, TypeError, ValueError):
            return -1

    def mark_registered(self, batch_id: int) -> None:
        """A catalog knows every partition up to this batch."""
        self._storage.put(self._registered, json.dumps({"through": batch_id}).encode())

    def unpublished(self) -> list[Entry]:
        """Committed entries whose files may not all be visible, ascending; looks only at the latest entries."""
        through = self.published_through()
        entries = (self.get(number) for number in self._log.open_numbers() if number > through)
        return [entry for entry in entries if entry is not None]

    def newest(self) -> int:
        """The last batch that has an entry, -1 when there is none."""
        return self._log.newest()

    def entries(self, first: int = 0) -> Iterator[Entry]:
        """Every entry from a batch id on, ascending."""
        for _, document in self._log.entries(first):
            yield Entry.from_json(document)
