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

from streaming_app.errors import SinkError
from streaming_app.journal.sequenced import Document, SequencedLog
from streaming_app.storage import Storage
from streaming_app.storage.many import get_all

READ_LOG: Final = "read_log"  # its folder inside a source's checkpoint
_UNIT: Final = "u-"
_NOTES: Final = "notes"


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


@dataclass(frozen=True)
class SealedEpoch:
    """A committed epoch: what it was to read (None for sources without plans), and what it read."""

    epoch: int
    plan: Document | None
    units: dict[str, UnitRead]


class ReadLog:
    """The read log inside a checkpoint folder (`storage` is rooted at `checkpoints/<source>`).

    Guarantee: of any number of callers one plan and one range a unit wins, durable before it is answered; it stays the
    answer when the epoch is sealed, also where sealing was cut off half-way or a late task comes after it.
    """

    def __init__(self, storage: Storage, prefix: str = READ_LOG) -> None:
        self._storage = storage
        self._prefix = prefix
        self._sealed = SequencedLog(storage, f"{prefix}/epochs")

    def _key(self, epoch: int, name: str) -> str:
        return f"{self._prefix}/live/{epoch:020d}-{name}.json"

    def _plan_key(self, epoch: int) -> str:
        return self._key(epoch, "plan")

    def _unit_key(self, epoch: int, unit: str) -> str:
        return self._key(epoch, _UNIT + hashlib.sha256(unit.encode(errors="surrogatepass")).hexdigest()[:32])

    def _live(self) -> dict[int, list[str]]:
        """Keys of the single records by epoch, ascending; the folder holds the few epochs that are not sealed yet."""
        found: dict[int, list[str]] = {}
        for item in self._storage.list(f"{self._prefix}/live"):
            epoch = item.key.rsplit("/", 1)[-1].split("-", 1)[0]
            if epoch.isdigit():
                found.setdefault(int(epoch), []).append(item.key)
        return found

    def put_plan_if_absent(self, epoch: int, plan: Document) -> Document:
        """Fix what epoch `epoch` will read, once; returns the plan in force, this one or an earlier caller's."""
        data = json.dumps(plan).encode()
        won = self._storage.put_if_absent(self._plan_key(epoch), data)
        sealed = self._sealed.get(epoch) if won else None
        if sealed is not None:  # a service that slept while another one finished this epoch
            self._storage.delete([self._plan_key(epoch)])
        found = self.plan(epoch) if sealed or not won else None
        return _load(data, self._plan_key(epoch)) if found is None else found

    def replace_plan(self, epoch: int, plan: Document) -> None:
        """Put another plan in the place of one; only where nothing that was read by it is committed."""
        self._storage.put(self._plan_key(epoch), json.dumps(plan).encode())

    def forget_units(self, epoch: int) -> dict[str, UnitRead]:
        """Forget what was read in an epoch; only where nothing of it is committed. Returns what that was."""
        keys = [key for key in self._live().get(epoch, []) if f"-{_UNIT}" in key]
        units = self._live_units(keys)
        self._storage.delete(keys)
        return units

    def plan(self, epoch: int) -> Document | None:
        """The plan in force for an epoch, None when there is none."""
        data = self._storage.get(self._plan_key(epoch))
        sealed = self._sealed.get(epoch)  # has the word: a live record beside it came from a late caller, cut off
        if sealed is not None:
            return sealed.get("plan")
        return None if data is None else _load(data, self._plan_key(epoch))

    def unit(self, epoch: int, unit: str) -> UnitRead | None:
        """What was read of `unit` in `epoch`, or None when it was not finished yet."""
        data = self._storage.get(self._unit_key(epoch, unit))
        sealed = self._sealed.get(epoch)
        if sealed is not None:
            return _units(sealed).get(unit)
        return None if data is None else UnitRead.from_json(_load(data, self._unit_key(epoch, unit)))

    def put_if_absent(self, epoch: int, read: UnitRead) -> bool:
        """Record a finished read; False when another task's record came first (then read *that* range)."""
        return self._storage.put_if_absent(self._unit_key(epoch, read.unit), json.dumps(read.to_json()).encode())

    def units(self, epoch: int) -> dict[str, UnitRead]:
        """All finished reads of an epoch, by unit."""
        live = self._live_units(self._live().get(epoch, []))
        sealed = self._sealed.get(epoch)  # after the live ones, of which sealing may have taken some away
        return live if sealed is None else _units(sealed)

    def count(self, epoch: int) -> int:
        """How many units of an epoch that is under way have been read; one listing."""
        return sum(f"-{_UNIT}" in key for key in self._live().get(epoch, []))

    def _live_units(self, keys: list[str]) -> dict[str, UnitRead]:
        chosen = [key for key in keys if f"-{_UNIT}" in key]
        found = zip(chosen, get_all(self._storage, chosen), strict=True)
        reads = [UnitRead.from_json(_load(data, key)) for key, data in found if data is not None]
        return {read.unit: read for read in reads}

    def seal(self, epoch: int) -> None:
        """Fold a committed epoch, and earlier ones left over, into one entry each; may be cut off and repeated."""
        live = self._live()
        for earlier in sorted({epoch, *(found for found in live if found < epoch)}):
            self._seal_one(earlier, live.get(earlier, []))
        self._sealed.fold(through=epoch)

    def _seal_one(self, epoch: int, keys: list[str]) -> None:
        records = zip(keys, get_all(self._storage, keys), strict=True)
        documents = {key: _load(data, key) for key, data in records if data is not None}
        found = list(documents)
        plan = documents.pop(self._plan_key(epoch), None)
        units = sorted(documents.values(), key=lambda unit: str(unit["unit"]))
        self._sealed.append_if_absent(epoch, {"plan": plan, "units": units})  # no effect where it was sealed before
        self._storage.delete(found)

    def history(self, first: int = 0) -> Iterator[SealedEpoch]:
        """As `sealed`, with each epoch's plan."""
        for epoch, entry in self._sealed.entries(first):
            yield SealedEpoch(epoch, entry.get("plan"), _units(entry))

    def sealed(self, first: int = 0) -> Iterator[tuple[int, dict[str, UnitRead]]]:
        """Every committed epoch from `first` on with its reads, ascending."""
        for epoch, entry in self._sealed.entries(first):
            yield epoch, _units(entry)

    def note(self, name: str, document: Document) -> None:
        """Remember something about the checkpoint as a whole under a name; the last one counts."""
        self._storage.put(self._note_key(name), json.dumps(document).encode())

    def noted(self, name: str) -> Document | None:
        """What was remembered under a name, or None."""
        data = self._storage.get(self._note_key(name))
        return None if data is None else _load(data, self._note_key(name))

    def notes(self, beginning: str) -> list[Document]:
        """Everything remembered under names that begin so, in the names' order."""
        prefix = f"{self._prefix}/{_NOTES}"
        names = sorted(item.key.rsplit("/", 1)[-1].removesuffix(".json") for item in self._storage.list(prefix))
        found = (self.noted(name) for name in names if name.startswith(beginning))
        return [note for note in found if note is not None]

    def _note_key(self, name: str) -> str:
        return f"{self._prefix}/{_NOTES}/{name}.json"

    def newest(self) -> int:
        """The last epoch that was sealed, -1 when there is none."""
        return self._sealed.newest()

    def live_epochs(self) -> list[int]:
        """Epochs that were not sealed yet, ascending."""
        return [epoch for epoch in sorted(self._live()) if self._sealed.get(epoch) is None]


def _units(entry: Document | None) -> dict[str, UnitRead]:
    reads = [UnitRead.from_json(value) for value in entry["units"]] if entry else []
    return {read.unit: read for read in reads}


def _load(data: bytes, key: str) -> Document:
    try:
        value: Document = json.loads(data)
    except ValueError as error:
        raise SinkError(f"{key} is not JSON ({error}); restore the checkpoint from a backup, whole") from error
    return value
