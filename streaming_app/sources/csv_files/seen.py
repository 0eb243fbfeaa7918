"""Which files were handed out before, and what they held: exact, and small for a million of them.

A path is kept as 16 bytes of its BLAKE2b hash beside a few numbers: 56 bytes a file in one sorted array, which is also
written as a snapshot now and then, so that a start reads one object and the few epochs sealed since.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from streaming_app.journal.read_log import READ_LOG, ReadLog, UnitRead
from streaming_app.sources.csv_files.files import PlannedFile, Version
from streaming_app.storage import ObjectInfo, Storage

_LOG: Final = logging.getLogger(__name__)
_NUMBERS: Final = ("tag", "content", "size", "modified", "epoch")
_ROW: Final = np.dtype([("high", "<u8"), ("low", "<u8"), *((name, "<u8") for name in _NUMBERS)])
_FOLDER: Final = f"{READ_LOG}/seen"
_LEAST_NEW: Final = 10_000  # entries worth another snapshot
_KEPT: Final = 2


def etag_tag(etag: str) -> int:
    """Eight bytes that stand for an etag."""
    return int.from_bytes(hashlib.blake2b(etag.encode(), digest_size=8).digest(), "little")


def content_tag(sha256: str) -> int:
    """The first eight bytes of a content hash, never 0."""
    return int(sha256[:16], 16) or 1


def _digest(key: str) -> bytes:
    return hashlib.blake2b(key.encode("utf-8", "backslashreplace"), digest_size=16).digest()


class SeenFiles:
    """Files by path. `recent` holds what is not in the sorted array yet."""

    def __init__(self) -> None:
        self._sorted = np.empty(0, _ROW)
        self._recent: dict[bytes, Version] = {}

    def __len__(self) -> int:
        """How many there are, counting a path with a newer version twice until the next snapshot."""
        return len(self._sorted) + len(self._recent)

    def news(self, items: Sequence[ObjectInfo]) -> Iterator[tuple[ObjectInfo, Version | None]]:
        """The listed files that are not known as they are: never seen (None), or seen in another version."""
        digests = [_digest(item.key) for item in items]
        tags = [etag_tag(item.etag) for item in items]
        places, known = self._places(digests)
        same_tag = self._sorted["tag"][places] == np.array(tags, "<u8") if len(self._sorted) else known
        for number, item in enumerate(items):
            recent = self._recent.get(digests[number])
            if recent:
                if recent.tag != tags[number]:
                    yield item, recent
            elif not known[number]:
                yield item, None
            elif not same_tag[number]:
                yield item, _version(self._sorted[places[number]])

    def _places(self, digests: list[bytes]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Where each digest stands in the array, and whether it does."""
        if not len(self._sorted) or not digests:
            return np.zeros(len(digests), np.int64), np.zeros(len(digests), bool)
        wanted = np.frombuffer(b"".join(digests), "<u8").reshape(-1, 2)
        places = np.searchsorted(self._sorted["high"], wanted[:, 0])
        places = np.minimum(places, len(self._sorted) - 1)
        found = self._sorted[places]
        return places, (found["high"] == wanted[:, 0]) & (found["low"] == wanted[:, 1])

    def planned(self, epoch: int, files: Iterable[PlannedFile]) -> None:
        """Files that an epoch will read; what they hold is not known yet."""
        for file in files:
            self._recent[_digest(file.key)] = Version(etag_tag(file.etag), 0, file.size, 0, epoch)

    def read(self, epoch: int, units: Iterable[UnitRead]) -> None:
        """Files that a committed epoch has read."""
        for unit in units:
            self._recent[_digest(unit.unit)] = read_version(epoch, unit)

    def worth_a_snapshot(self) -> bool:
        """Whether so much is new that a snapshot would pay."""
        return len(self._recent) >= max(_LEAST_NEW, len(self._sorted) // 4)

    def save(self, storage: Storage, through: int) -> None:
        """Fold what epochs up to `through` read into the array and write it as a snapshot; younger entries stay."""
        done = {digest: version for digest, version in self._recent.items() if version.epoch <= through}
        self._merge(done)
        for digest in done:
            del self._recent[digest]
        data = io.BytesIO()
        np.save(data, self._sorted, allow_pickle=False)
        storage.put(f"{_FOLDER}/{through:020d}.npy", data.getvalue())
        storage.delete(_snapshots(storage)[_KEPT:])

    def _merge(self, entries: dict[bytes, Version]) -> None:
        rows = np.empty(len(entries), _ROW)
        hashes = np.frombuffer(b"".join(entries), "<u8").reshape(-1, 2)
        rows["high"], rows["low"] = hashes[:, 0], hashes[:, 1]
        for name in _NUMBERS:
            rows[name] = np.array([getattr(version, name) for version in entries.values()], "<u8")
        both = np.concatenate([rows, self._sorted])  # the sort is stable, so the newer of two comes first
        both = both[np.lexsort((both["low"], both["high"]))]
        again = (both["high"][1:] == both["high"][:-1]) & (both["low"][1:] == both["low"][:-1])
        self._sorted = both[np.append(True, ~again)] if len(both) else both

    def restore(self, storage: Storage) -> int:
        """Take the newest snapshot that can be read; returns the epoch it reaches to, 0 when there is none."""
        for key in _snapshots(storage):
            array = _load(storage.get(key))
            if array is not None:
                self._sorted = array
                return int(key.rsplit("/", 1)[-1].removesuffix(".npy"))
            _LOG.warning("%s/%s cannot be read; the seen files are taken from older records", storage.uri, key)
        return 0


@dataclass(frozen=True)
class Restored:
    """What was seen, and the last epoch that was sealed (0: none)."""

    seen: SeenFiles
    sealed: int


def load_seen(storage: Storage, read_log: ReadLog, live: Iterable[int]) -> Restored:
    """Everything seen by this checkpoint: the newest snapshot, the epochs sealed since, and the `live` ones."""
    seen = SeenFiles()
    sealed = seen.restore(storage)
    for epoch, units in read_log.sealed(sealed + 1):
        seen.read(epoch, units.values())
        sealed = epoch
    for epoch in live:
        plan = read_log.plan(epoch) or {}
        seen.planned(epoch, (PlannedFile.from_json(file) for file in plan.get("files", [])))
    return Restored(seen, sealed)


def read_version(epoch: int, unit: UnitRead) -> Version:
    """What a unit's record says about the file."""
    detail = unit.detail
    content = content_tag(detail["sha256"]) if detail.get("sha256") else 0
    return Version(etag_tag(detail["etag"]), content, detail["size"], max(0, detail["modified"]), epoch)


def _version(row: Any) -> Version:
    return Version(*(int(row[name]) for name in _NUMBERS))


def _snapshots(storage: Storage) -> list[str]:
    return sorted((item.key for item in storage.list(_FOLDER) if item.key.endswith(".npy")), reverse=True)


def _load(data: bytes | None) -> npt.NDArray[Any] | None:
    try:
        array = np.load(io.BytesIO(data or b""), allow_pickle=False)
    except (ValueError, EOFError, OSError):
        return None
    return array if array.dtype == _ROW else None
