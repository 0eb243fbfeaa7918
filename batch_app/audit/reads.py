"""What a source read, epoch after epoch: nothing left out in between, nothing read twice.

This is what makes batch by batch enough for the rows: every position lies in the range (or file) of exactly one epoch,
so a row that is twice in the lake is twice in one batch, or it is a row that its batch never read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from batch_app.audit.report import Finding, Kind
from batch_app.audit.tally import FileTally, ShardRange, ShardTally, Tally
from streaming_app.config.models import SourceName
from streaming_app.journal.read_log import SealedEpoch, UnitRead

# As streaming_app/sources/kinesis/positions.py writes them; importing that package would start loading Spark.
_AT, _AFTER = "AT:", "AFTER:"
_RESTORE: Final = "restore the checkpoint from a backup, whole"
_AGAIN: Final = "read that range again into a new lake, and compare (see docs/guarantees.md)"
MALFORMED: Final = (KeyError, TypeError, ValueError, AttributeError)  # what reading a damaged record raises


class Reads(Protocol):
    """The reads of one source, epochs ascending."""

    def take(self, epoch: SealedEpoch) -> Iterator[Finding]:
        """The next epoch: what is wrong with it and with how it follows the ones before. Raises one of `MALFORMED`."""
        ...

    def tally(self, epoch: SealedEpoch) -> Tally:
        """Counts the rows of that epoch's batch. Raises one of `MALFORMED`."""
        ...

    @property
    def units(self) -> int:
        """Shards or files seen so far."""
        ...


def reads_of(source: str, first_plan: Mapping[str, Any] | None) -> Reads:
    """The reads of a source; `first_plan` is epoch 0's, which says where a stream began."""
    if source == SourceName.KINESIS:
        return ShardReads((first_plan or {}).get("shards"))
    return FileReads()


@dataclass
class _Shard:
    """How far a shard was read. `last`: the highest sequence number so far."""

    began: int
    end: str = ""
    last: int | None = None
    over: bool = False


class ShardReads:
    """Kinesis: each shard's ranges join one another, and children follow their parents."""

    def __init__(self, starts: Mapping[str, str] | None) -> None:
        self._starts = starts
        self._shards: dict[str, _Shard] = {}
        self._parents: dict[str, tuple[str, ...]] = {}

    @property
    def units(self) -> int:
        return len(self._shards)

    def tally(self, epoch: SealedEpoch) -> Tally:
        return ShardTally(
            ShardRange(
                read.unit,
                read.detail["first_seq"],
                read.detail["last_seq"],
                read.rows,
                aggregates="aggregates" in read.detail,
            )
            for read in epoch.units.values()
            if read.rows
        )

    def take(self, epoch: SealedEpoch) -> Iterator[Finding]:
        if epoch.epoch == 0 and not epoch.units:
            return  # where the stream begins; Spark makes a batch of it when there is nothing to read at the start
        ended = any(shard.over for shard in self._shards.values())
        begun = [shard for shard in epoch.units if shard not in self._shards]
        yield from self._left_out(epoch)
        for shard in begun:
            self._shards[shard] = _Shard(epoch.epoch)
        for shard in begun:
            yield from self._started(epoch, shard, ended)
        for read in epoch.units.values():
            yield from self._continued(epoch.epoch, read, self._shards[read.unit])
        for read in epoch.units.values():
            yield from self._children(epoch.epoch, read)

    def _left_out(self, epoch: SealedEpoch) -> Iterator[Finding]:
        expected = [name for name, shard in self._shards.items() if not shard.over]
        if not self._shards and self._starts:
            expected = list(self._starts)
        for name in sorted(set(expected) - set(epoch.units)):
            message = f"epoch {epoch.epoch} has no read of shard {name}, which was not read to its end"
            yield _finding(Kind.GAP, message, _RESTORE, name)

    def _started(self, epoch: SealedEpoch, shard: str, ended: bool) -> Iterator[Finding]:
        if self._starts is not None and shard in self._starts:
            yield from self._joins(epoch.epoch, epoch.units[shard], self._starts[shard])
        elif shard in self._parents:
            yield from self._early(shard)
        elif self._starts is not None and not ended:
            message = f"shard {shard} appears in epoch {epoch.epoch}, but the stream did not begin with it and no shard"
            yield _finding(Kind.GAP, f"{message} that could be its parent was read to its end", _RESTORE, shard)

    def _early(self, child: str) -> Iterator[Finding]:
        """Parents that were still being read when their child began."""
        for parent in self._parents[child]:
            if parent in self._shards and not self._shards[parent].over:
                message = (
                    f"shard {child} was begun in epoch {self._shards[child].began}, before its parent {parent} was"
                )
                yield _finding(Kind.GAP, f"{message} read to its end; its orders may be out of order", _AGAIN, child)

    def _children(self, epoch: int, read: UnitRead) -> Iterator[Finding]:
        """Learn a closed shard's children; one that began before anybody named it did so too early."""
        for child in read.detail["children"]:
            if child["id"] in self._parents:
                continue
            self._parents[child["id"]] = tuple(child["parents"]) or (read.unit,)
            began = self._shards.get(child["id"])
            if began:
                message = (
                    f"shard {child['id']} was begun in epoch {began.began}, but its parent {read.unit} ended only in"
                )
                yield _finding(
                    Kind.GAP, f"{message} epoch {epoch}; its orders may be out of order", _AGAIN, child["id"]
                )

    def _continued(self, epoch: int, read: UnitRead, shard: _Shard) -> Iterator[Finding]:
        if shard.over:
            message = f"epoch {epoch} reads shard {read.unit} again, though an earlier one read it to its end"
            yield _finding(Kind.OVERLAP, message, _RESTORE, read.unit)
        elif shard.end:
            yield from self._joins(epoch, read, shard.end)
        if read.rows:
            yield from self._ordered(epoch, read, shard)
        shard.end = read.detail["end"]
        shard.over = bool(read.detail["closed"] or read.detail.get("lost"))
        if read.detail.get("lost"):
            message = f"shard {read.unit} expired in epoch {epoch} before it was read to its end ({shard.end})"
            yield _finding(Kind.GAP, message, "its last rows can only come from another copy of the stream", read.unit)

    def _joins(self, epoch: int, read: UnitRead, expected: str) -> Iterator[Finding]:
        start = read.detail["start"]
        if start != expected:
            message = (
                f"shard {read.unit}: epoch {epoch} begins at {start}, but what was read before ended at {expected}"
            )
            yield _finding(Kind.GAP, f"{message}; what lies between was left out or read twice", _AGAIN, read.unit)

    def _ordered(self, epoch: int, read: UnitRead, shard: _Shard) -> Iterator[Finding]:
        first, last, start, end = int(read.detail["first_seq"]), int(read.detail["last_seq"]), *_ends(read)
        if not start <= first <= last <= end:
            message = (
                f"shard {read.unit}: epoch {epoch} has records {first} to {last}, outside the range it says it read"
            )
            detail = f"{read.detail['start']} to {read.detail['end']}"
            yield _finding(Kind.READ_LOG, f"{message} ({detail})", _RESTORE, read.unit)
        if shard.last is not None and first <= shard.last:
            message = (
                f"shard {read.unit}: epoch {epoch} reads from {first} on, but an earlier one had read to {shard.last}"
            )
            yield _finding(Kind.OVERLAP, f"{message}; its rows are in the lake twice", _RESTORE, read.unit)
        shard.last = last if shard.last is None else max(last, shard.last)


def _ends(read: UnitRead) -> tuple[int, float]:
    """The lowest and the highest sequence number that the range allows."""
    start, end = read.detail["start"], read.detail["end"]
    lowest = 0
    if start.startswith(_AFTER):
        lowest = int(start.removeprefix(_AFTER)) + 1
    elif start.startswith(_AT):
        lowest = int(start.removeprefix(_AT))
    return lowest, int(end.removeprefix(_AFTER)) if end.startswith(_AFTER) else float("inf")


class FileReads:
    """CSV: every planned file was read, and no two reads give their rows the same positions.

    Memory: 8 bytes of each name's hash, about 100 bytes a file with Python's own; two different names among a million
    have the same hash with a probability of 1 in 37 million.
    """

    def __init__(self) -> None:
        self._names: set[int] = set()
        self._count = 0

    @property
    def units(self) -> int:
        return self._count

    def tally(self, epoch: SealedEpoch) -> Tally:
        return FileTally({read.detail["name"]: read.rows for read in epoch.units.values() if read.rows})

    def take(self, epoch: SealedEpoch) -> Iterator[Finding]:
        for file in (epoch.plan or {}).get("files", []):
            if file["key"] not in epoch.units:
                message = f"{file['key']} was planned for epoch {epoch.epoch}, and the read log has no read of it"
                yield _finding(Kind.GAP, message, f"upload it again under a new name, or {_RESTORE}", file["key"])
        for read in epoch.units.values():
            self._count += 1
            if read.rows:
                yield from self._named(epoch.epoch, read)

    def _named(self, epoch: int, read: UnitRead) -> Iterator[Finding]:
        name = hashlib.blake2b(read.detail["name"].encode(errors="surrogatepass"), digest_size=8).digest()
        number = int.from_bytes(name, "little")
        if number in self._names:
            message = f"epoch {epoch} reads {read.unit} again under the same name, so its rows are in the lake twice"
            yield _finding(Kind.OVERLAP, message, _RESTORE, read.unit)
        self._names.add(number)


def _finding(kind: Kind, message: str, advice: str, unit: str) -> Finding:
    return Finding("", kind, message, advice, unit=unit)
