"""The keys of the rows that a source has published lately: what the sink finds duplicates by.

    dedup/segments/<uuid>.keys     keys that one task accepted, or several segments merged; written once
    dedup/index/<batch>.json       the segments that count after a micro-batch; the newest one is in force

A task's segment belongs to its batch's ledger entry, as its files do: the index takes it over once the entry is there, and
never without. Nothing of it is a record of its own: without the folder the source goes on and forgets what came before.

A segment is 16 bytes of header (`QSRKEYS1`, number of keys n) and three arrays of n little-endian 64-bit numbers: hashes
(unsigned, ascending), second hashes, times in microseconds since 1970.
"""

from __future__ import annotations

import json
import mmap
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import takewhile
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from streaming_app.errors import SinkError
from streaming_app.storage import Storage

KEYS: Final = "dedup"  # its folder inside a source's checkpoint
_SEGMENTS: Final = f"{KEYS}/segments"
_INDEX: Final = f"{KEYS}/index"
_MAGIC: Final = b"QSRKEYS1"
_HEADER: Final = 16
_DIGITS: Final = 20
_FANIN: Final = 4  # so many segments of about one size become one: few to search, and each key is merged some six times
_SMALLEST: Final = 1024  # keys of a segment of level 0
FINAL_KEYS: Final = 1 << 20  # a segment of so many (24 MiB) is merged no more, so that a merge stays short
_MICROS: Final = 1_000_000

Hashes = npt.NDArray[np.uint64]
Times = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Keys:
    """Keys ascending by `hashes`; a key is a hash and its `checks`. `times` are microseconds since 1970."""

    hashes: Hashes
    checks: Hashes
    times: Times

    def __len__(self) -> int:
        return len(self.hashes)

    @classmethod
    def of(cls, hashes: Hashes, checks: Hashes, times: Times) -> Keys:
        """Sorted, from any order; equal ones stay in theirs."""
        return cls(hashes, checks, times).take(np.argsort(hashes, kind="stable"))

    def take(self, which: npt.NDArray[Any]) -> Keys:
        """Some of the keys: by a mask, or by places, in their order."""
        return Keys(self.hashes[which], self.checks[which], self.times[which])

    @classmethod
    def together(cls, parts: Sequence[Keys]) -> Keys:
        """All keys of some. A stable sort finds the sorted runs, so this is a merge."""
        joined = [np.concatenate([getattr(part, name) for part in parts]) for name in ("hashes", "checks", "times")]
        return cls.of(*joined)

    def has(self, hashes: Hashes, checks: Hashes, times: Times, within: int) -> npt.NDArray[np.bool_]:
        """For each key asked for, whether it is here with a time at most `within` microseconds away."""
        found = np.zeros(len(hashes), np.bool_)
        at, asked = np.searchsorted(self.hashes, hashes, "left"), np.arange(len(hashes))
        while True:  # once, but for keys that came again after more than `within`
            inside = at < len(self.hashes)
            at, asked = at[inside], asked[inside]
            same = self.hashes[at] == hashes[asked]
            at, asked = at[same], asked[same]
            if not len(at):
                return found
            near = np.abs(self.times[at] - times[asked]) <= within
            found[asked[(self.checks[at] == checks[asked]) & near]] = True
            at = at + 1


@dataclass(frozen=True)
class Segment:
    """One file of keys: how many, their first and last time (microseconds since 1970), when they were committed (seconds)."""

    key: str
    keys: int
    first: int
    last: int
    committed_at: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Segment:
        """The inverse of `to_json`."""
        return cls(**value)

    @property
    def level(self) -> int:
        """0 for up to 1,024 keys, one more for each four times as many."""
        return ((max(self.keys - 1, 0) // _SMALLEST).bit_length() + 1) // 2


@dataclass(frozen=True)
class KeyIndex:
    """The segments that count, oldest first. `newest` is the greatest time published; `retired` are of no use any more."""

    through: int = -1
    newest: int = -(1 << 62)
    segments: tuple[Segment, ...] = ()
    retired: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        """A JSON document that `from_json` reads back."""
        return json.dumps({**asdict(self), "segments": [segment.to_json() for segment in self.segments]}).encode()

    @classmethod
    def from_json(cls, data: bytes) -> KeyIndex:
        """The inverse of `to_json`; raises KeyError, TypeError or ValueError for anything else."""
        value = json.loads(data)
        segments = tuple(Segment.from_json(segment) for segment in value["segments"])
        return cls(int(value["through"]), int(value["newest"]), segments, tuple(value["retired"]))


class KeyLog:
    """The keys inside a checkpoint folder (`storage` is rooted at `checkpoints/<source>`)."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def write(self, keys: Keys) -> Segment:
        """Keep a task's keys, durably. They count once a ledger entry names the segment and `advance` has taken it."""
        segment = Segment(
            f"{_SEGMENTS}/{uuid.uuid4().hex}.keys", len(keys), int(keys.times.min()), int(keys.times.max())
        )
        arrays = (keys.hashes.astype("<u8"), keys.checks.astype("<u8"), keys.times.astype("<i8"))
        header = _MAGIC + len(keys).to_bytes(8, "little")
        self._storage.put(segment.key, b"".join([header, *(array.tobytes() for array in arrays)]))
        return segment

    def read(self, segment: Segment) -> Keys:
        """A segment's keys, mapped into memory, so that what is not looked at takes none. Raises SinkError."""
        data = self._mapped(segment.key)
        count = int.from_bytes(data[8:_HEADER], "little")
        if bytes(data[:8]) != _MAGIC or len(data) != _HEADER + 24 * count:
            raise self._broken(segment.key, "is cut off, or no such file of ours")
        at = [_HEADER + 8 * count * part for part in range(3)]
        return Keys(
            *(np.frombuffer(data, kind, count, start) for kind, start in zip(("<u8", "<u8", "<i8"), at, strict=True))
        )

    def index(self) -> KeyIndex:
        """The index in force; an empty one where there is none. Raises SinkError."""
        while (key := self._newest_key()) is not None:
            data = self._storage.get(key)
            if data is None:  # another one has just taken its place
                continue
            try:
                return KeyIndex.from_json(data)
            except (KeyError, TypeError, ValueError) as error:
                raise self._broken(key, f"cannot be read ({error!r})") from error
        return KeyIndex()

    def advance(self, batch_id: int, segments: Iterable[Segment], committed_at: float, within: float) -> None:
        """Let a batch's keys count from now on; idempotent. Forgets keys that are older than `within` seconds by both clocks.

        A key is kept while its time is at most `within` behind the greatest time published, or its batch was committed at most
        `within` before this one. Call it for every batch after its ledger entry is there, before the next batch begins.
        """
        before = self.index()
        if before.through >= batch_id:
            return
        new = tuple(Segment(each.key, each.keys, each.first, each.last, committed_at) for each in segments)
        newest = max([before.newest, *(segment.last for segment in new)])
        clock = _Clock(newest - int(within * _MICROS), committed_at - within)
        kept = [segment for segment in before.segments if clock.keeps(segment)] + list(new)
        merged = self._merged(kept, clock)
        now = {segment.key for segment in merged}
        gone = [segment.key for segment in (*before.segments, *new) if segment.key not in now]
        index = KeyIndex(batch_id, newest, tuple(merged), tuple(gone))
        self._storage.put(_index_key(batch_id), index.to_json())
        older = [item.key for item in self._storage.list(_INDEX) if item.key < _index_key(before.through)]
        self._storage.delete([*before.retired, *older])

    def discard(self, segments: Iterable[Segment]) -> None:
        """Remove segments that no ledger entry owns."""
        self._storage.delete([segment.key for segment in segments])

    def remove_orphans(self) -> int:
        """Remove segments that the index does not name; call it when nothing is being written. Returns their number."""
        named = {segment.key for segment in self.index().segments}
        orphans = [item.key for item in self._storage.list(_SEGMENTS) if item.key not in named]
        self._storage.delete(orphans)
        return len(orphans)

    def _merged(self, segments: list[Segment], clock: _Clock) -> list[Segment]:
        """The same keys in fewer segments, without those that are too old."""
        level = 0
        while level < _level_of(FINAL_KEYS):
            run = list(takewhile(lambda segment: segment.level <= level, reversed(segments)))[::-1]  # noqa: B023
            if len(run) < _FANIN:
                level += 1
                continue
            parts = [clock.kept_of(segment, self.read(segment)) for segment in run]
            keys = Keys.together(parts)
            joined = [self._joined(keys, run)] if len(keys) else []
            segments, level = [*segments[: -len(run)], *joined], 0
        return segments

    def _joined(self, keys: Keys, run: Sequence[Segment]) -> Segment:
        made = self.write(keys)
        return Segment(made.key, made.keys, made.first, made.last, max(segment.committed_at for segment in run))

    def _newest_key(self) -> str | None:
        return max((item.key for item in self._storage.list(_INDEX) if item.key.endswith(".json")), default=None)

    def _mapped(self, key: str) -> Any:
        """The object's bytes: the file itself where it is local, otherwise a copy that goes with this process."""
        try:
            source = self._storage.open(key)
        except FileNotFoundError:
            raise self._broken(key, "is gone") from None
        with source, tempfile.TemporaryFile() as copy:
            file: Any = source
            if not _is_file(source):
                shutil.copyfileobj(source, copy)
                copy.flush()
                file = copy
            try:
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except ValueError:  # an empty file cannot be mapped
                return b""

    def _broken(self, key: str, what: str) -> SinkError:
        return SinkError(
            f"{self._storage.uri}/{key} {what}; restore the checkpoint from a backup, or remove its folder {KEYS}/: then"
            " repetitions of rows before now are no longer recognised"
        )


@dataclass(frozen=True)
class _Clock:
    """From which time (microseconds) or commit (seconds) on keys are remembered."""

    times_from: int
    commits_from: float

    def keeps(self, segment: Segment) -> bool:
        return segment.last >= self.times_from or segment.committed_at >= self.commits_from

    def kept_of(self, segment: Segment, keys: Keys) -> Keys:
        if segment.committed_at >= self.commits_from or segment.first >= self.times_from:
            return keys
        return keys.take(keys.times >= self.times_from)


def _level_of(keys: int) -> int:
    return Segment("", keys, 0, 0).level


def _index_key(batch_id: int) -> str:
    return f"{_INDEX}/{max(batch_id, 0):0{_DIGITS}d}.json"


def _is_file(source: Any) -> bool:
    try:
        source.fileno()
    except (AttributeError, OSError):
        return False
    return True
