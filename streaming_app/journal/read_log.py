"""What each read of a source returned, by epoch and unit: the reason a re-run batch sees exactly the same rows.

A source's offset names an epoch. Within an epoch every unit (a shard, a file) is read by one task, which records what
it read *if absent* before it ends; whoever reads that unit of that epoch again must read exactly the recorded range.
Once the epoch is committed its records are folded into one entry of a `SequencedLog`; audit reads them back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from streaming_app.journal.sequenced import Document, SequencedLog
from streaming_app.storage import Storage

READ_LOG: Final = "read_log"  # its folder inside a source's checkpoint


@dataclass(frozen=True)
class UnitRead:
    """One unit's read in one epoch: rows and bytes delivered, and what the source needs to read the same again."""

    unit: str
    rows: int
    bytes: int
    detail: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> Document:
        """A JSON object that `from_json` reads back."""
        return {"unit": self.unit, "rows": self.rows, "bytes": self.bytes, "detail": self.detail}

    @classmethod
    def from_json(cls, value: Document) -> UnitRead:
        """The inverse of `to_json`."""
        return cls(value["unit"], value["rows"], value["bytes"], value["detail"])


class ReadLog:
    """The read log inside a checkpoint folder (`storage` is rooted at `checkpoints/<source>`)."""

    def __init__(self, storage: Storage, prefix: str = READ_LOG) -> None:
        self._storage = storage
        self._prefix = prefix
        self._sealed = SequencedLog(storage, f"{prefix}/epochs")

    def _key(self, epoch: int, name: str) -> str:
        return f"{self._prefix}/live/{epoch:020d}-{name}.json"

    def _live(self, epoch: int) -> list[str]:
        """Keys of an epoch's records; the folder holds the few epochs that are not sealed yet."""
        beginning = f"{self._prefix}/live/{epoch:020d}-"
        return [item.key for item in self._storage.list(f"{self._prefix}/live") if item.key.startswith(beginning)]

    def _unit_key(self, epoch: int, unit: str) -> str:
        return self._key(epoch, "u-" + hashlib.sha256(unit.encode()).hexdigest()[:32])

    def put_plan_if_absent(self, epoch: int, plan: Document) -> Document:
        """Fix what epoch `epoch` will read, once; returns the plan in force, this one or an earlier caller's."""
        self._storage.put_if_absent(self._key(epoch, "plan"), json.dumps(plan).encode())
        found = self.plan(epoch)
        return plan if found is None else found

    def plan(self, epoch: int) -> Document | None:
        """The plan in force for an epoch, None when there is none."""
        data = self._storage.get(self._key(epoch, "plan"))
        if data is not None:
            value: Document = json.loads(data)
            return value
        sealed = self._sealed.get(epoch)
        return sealed.get("plan") if sealed else None

    def unit(self, epoch: int, unit: str) -> UnitRead | None:
        """What was read of `unit` in `epoch`, or None when it was not finished yet."""
        data = self._storage.get(self._unit_key(epoch, unit))
        if data is not None:
            return UnitRead.from_json(json.loads(data))
        return self._sealed_units(epoch).get(unit)

    def put_if_absent(self, epoch: int, read: UnitRead) -> bool:
        """Record a finished read; False when another task's record came first (then read *that* range)."""
        return self._storage.put_if_absent(self._unit_key(epoch, read.unit), json.dumps(read.to_json()).encode())

    def units(self, epoch: int) -> dict[str, UnitRead]:
        """All finished reads of an epoch, by unit."""
        live = {}
        for key in self._live(epoch):
            data = self._storage.get(key) if "-u-" in key else None
            if data is not None:
                read = UnitRead.from_json(json.loads(data))
                live[read.unit] = read
        return live or self._sealed_units(epoch)

    def _sealed_units(self, epoch: int) -> dict[str, UnitRead]:
        sealed = self._sealed.get(epoch)
        reads = [UnitRead.from_json(value) for value in sealed["units"]] if sealed else []
        return {read.unit: read for read in reads}

    def seal(self, epoch: int) -> None:
        """Fold a committed epoch into one entry and drop its single records; may be repeated."""
        units = self.units(epoch)
        plan = self.plan(epoch)
        self._sealed.append_if_absent(
            epoch, {"plan": plan, "units": [read.to_json() for _, read in sorted(units.items())]}
        )
        self._storage.delete(self._live(epoch))
        self._sealed.fold(through=epoch)

    def sealed(self) -> Iterator[tuple[int, dict[str, UnitRead]]]:
        """Every committed epoch with its reads, ascending."""
        for epoch, entry in self._sealed.entries():
            reads = [UnitRead.from_json(value) for value in entry["units"]]
            yield epoch, {read.unit: read for read in reads}

    def live_epochs(self) -> list[int]:
        """Epochs that were not sealed yet, ascending."""
        prefix = f"{self._prefix}/live/"
        keys = (item.key.removeprefix(prefix) for item in self._storage.list(prefix.rstrip("/")))
        return sorted({int(key.split("-", 1)[0]) for key in keys})
