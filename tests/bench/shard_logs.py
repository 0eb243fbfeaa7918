"""Shards of the emulator: records already encoded as GetRecords answers them, so that an answer is a range of bytes.

A record is encoded once as `{"ApproximateArrivalTimestamp":...,"Data":"...","PartitionKey":"...","SequenceNumber":"..."}`.
`FileShard` keeps all of them in one file, comma after comma, with the offset of each beside it: whatever position and limit
is asked for, the answer's records are one range of that file. `LiveShard` is fed while the emulator runs.
"""

from __future__ import annotations

import json
import mmap
import threading
import time
from array import array
from binascii import b2a_base64
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

FORMAT: Final = 2  # changes when a cache of an older version must not be used
SEQUENCE_BASE: Final = "4959" + "0" * 32  # real numbers have 56 digits too; the last 20 are shard and index here
ABOUT: Final = "about.json"  # written last: a cache without it is not whole
MAX_ENCODED_BYTES: Final = (10 << 20) * 4 // 3  # what 10 MiB, GetRecords's limit, become in base64
RECORDS_PER_MILLISECOND: Final = 100  # arrival times of preloaded records: enough to find one by AT_TIMESTAMP


def sequence_number(shard: int, index: int) -> str:
    """The sequence number of a shard's record."""
    return f"{SEQUENCE_BASE}{shard:04d}{index:016d}"


def sequence_index(sequence: str) -> int:
    """The inverse of `sequence_number`: the record's index in its shard."""
    return int(sequence[-16:])


def encode(shard: int, index: int, data: bytes, arrived_ms: int) -> bytes:
    """One record as an answer's JSON has it; its partition key is `k` and the index."""
    return b'{"ApproximateArrivalTimestamp":%d.%03d,"Data":"%b","PartitionKey":"k%d","SequenceNumber":"%b"}' % (
        arrived_ms // 1000,
        arrived_ms % 1000,
        b2a_base64(data, newline=False),
        index,
        sequence_number(shard, index).encode(),
    )


@dataclass(frozen=True)
class FileRange:
    """Bytes of an open file."""

    file: int
    offset: int
    size: int


@dataclass(frozen=True)
class Answer:
    """Records `first` to `last` (exclusive) of a shard, encoded, and how far the next one is behind now."""

    first: int
    last: int
    body: FileRange | bytes
    behind_ms: int


class Shard(Protocol):
    """What the emulator needs of a shard."""

    def __len__(self) -> int: ...
    def read(self, first: int, limit: int) -> Answer:
        """At most `limit` records from index `first` on, fewer when they grow too large."""

    def index_at(self, arrived_ms: int) -> int:
        """The first record that arrived at this time or later."""

    def arrivals(self) -> list[int]:
        """Arrival times of all records, in milliseconds since 1970."""


class FileShard:
    """A shard that was encoded into `path` and `path`.idx (offsets as 64-bit integers, one more than records)."""

    def __init__(self, path: Path, arrived_ms: int) -> None:
        self._file = path.open("rb")
        index_file = path.with_suffix(".idx").open("rb")
        self._map = mmap.mmap(index_file.fileno(), 0, access=mmap.ACCESS_READ)
        self._offsets = memoryview(self._map).cast("Q")
        self._arrived_ms = arrived_ms

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def read(self, first: int, limit: int) -> Answer:
        offsets = self._offsets
        last = min(first + limit, len(self))
        if last > first and offsets[last] - offsets[first] > MAX_ENCODED_BYTES:
            last = max(first + 1, bisect_left(offsets, offsets[first] + MAX_ENCODED_BYTES, first, last) - 1)
        size = max(0, offsets[last] - offsets[first] - 1) if last > first else 0  # without the last comma
        behind = max(1, now_ms() - self._arrival(last)) if last < len(self) else 0
        return Answer(first, last, FileRange(self._file.fileno(), offsets[first], size), behind)

    def _arrival(self, index: int) -> int:
        return self._arrived_ms + index // RECORDS_PER_MILLISECOND

    def index_at(self, arrived_ms: int) -> int:
        return min(len(self), max(0, (arrived_ms - self._arrived_ms) * RECORDS_PER_MILLISECOND))

    def arrivals(self) -> list[int]:
        return [self._arrival(index) for index in range(len(self))]


class LiveShard:
    """A shard that grows while it is read; arrival times are when a record was appended."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._lock = threading.Lock()
        self._records: list[bytes] = []
        self._arrivals: array[int] = array("q")

    def __len__(self) -> int:
        return len(self._records)

    def append(self, data: bytes, arrived_ms: int) -> None:
        """One more record."""
        record = encode(self._number, len(self._records), data, arrived_ms)
        with self._lock:
            self._arrivals.append(arrived_ms)
            self._records.append(record)

    def read(self, first: int, limit: int) -> Answer:
        with self._lock:
            records = self._records[first : first + limit]
            last = first + len(records)
            behind = max(1, now_ms() - self._arrivals[last]) if last < len(self._records) else 0
        return Answer(first, last, b",".join(records), behind)

    def index_at(self, arrived_ms: int) -> int:
        with self._lock:
            return bisect_left(self._arrivals, arrived_ms)

    def arrivals(self) -> list[int]:
        with self._lock:
            return self._arrivals.tolist()


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def lines(folder: Path, limit: int | None = None) -> Iterator[bytes]:
    """The first `limit` lines of a folder's NDJSON files, in order of their names, without line ends."""
    paths = sorted(folder.glob("*.ndjson"))
    if not paths:
        raise SystemExit(f"no *.ndjson in {folder}; make some with python -m tests.bench.generate")
    return islice((line.rstrip(b"\n") for path in paths for line in _lines_of(path)), limit)


def _lines_of(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=1 << 20) as file:
        yield from file


def file_shards(folder: Path, cache: Path, shards: int, limit: int | None = None) -> list[Shard]:
    """The folder's records dealt to `shards` shards in turn; encoded into `cache`, or found there from an earlier run."""
    wanted = {"format": FORMAT, "shards": shards, "limit": limit, "input": _fingerprint(folder)}
    arrived_ms = _cached_since(cache, wanted)
    if arrived_ms is None:
        arrived_ms = now_ms()
        _encode_all(folder, cache, shards, limit, arrived_ms)
        (cache / ABOUT).write_text(json.dumps(wanted | {"arrived_ms": arrived_ms}))
    return [FileShard(_shard_path(cache, number), arrived_ms) for number in range(shards)]


def _cached_since(cache: Path, wanted: dict[str, Any]) -> int | None:
    """When a cache that is just what is wanted was made; None, and no such cache any more, otherwise."""
    about = cache / ABOUT
    if about.exists():
        found = json.loads(about.read_text())
        made: int = found.pop("arrived_ms")
        if found == wanted:
            return made
        about.unlink()
    return None


def _fingerprint(folder: Path) -> list[list[Any]]:
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in sorted(folder.glob("*.ndjson"))]


def _shard_path(cache: Path, number: int) -> Path:
    return cache / f"shard-{number}.json"


class _ShardFile:
    """One shard's file while it is written."""

    def __init__(self, path: Path, number: int, arrived_ms: int) -> None:
        self._path, self._number, self._arrived_ms = path, number, arrived_ms
        self._file: BinaryIO = path.open("wb", buffering=1 << 20)
        self._offsets = array("Q", [0])

    def append(self, data: bytes) -> None:
        index = len(self._offsets) - 1
        record = encode(self._number, index, data, self._arrived_ms + index // RECORDS_PER_MILLISECOND)
        self._file.write(record + b",")
        self._offsets.append(self._offsets[-1] + len(record) + 1)

    def close(self) -> None:
        self._file.close()
        self._path.with_suffix(".idx").write_bytes(self._offsets.tobytes())


def _encode_all(folder: Path, cache: Path, shards: int, limit: int | None, arrived_ms: int) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    files = [_ShardFile(_shard_path(cache, number), number, arrived_ms) for number in range(shards)]
    for index, line in enumerate(lines(folder, limit)):
        files[index % shards].append(line)
    for file in files:
        file.close()
