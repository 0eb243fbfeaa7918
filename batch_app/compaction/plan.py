"""Which files of the lake are worth compacting: one listing of each table, small files grouped by partition."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Any, Final

from streaming_app.schema import CLEAN, DEAD_LETTER, INPUT_SOURCE, InputSource
from streaming_app.storage import ObjectInfo, Storage

TABLES: Final = (CLEAN, DEAD_LETTER)
TARGET: Final = 128 << 20  # Athena reads files of 128 MiB or more best
_FULL: Final = 0.75  # of the target: such a file stays as it is
_GROUP: Final = 8  # targets: what is merged at once; a partition with more makes several groups
_FILES: Final = 20_000  # of one group: its entry in the book is read whole
_PARTS: Final = 4  # table/input_source=x/day=y/file


@dataclass(frozen=True)
class Wanted:
    """Which partitions, and what is small. Days are inclusive."""

    tables: Sequence[str] = TABLES
    sources: Sequence[InputSource] = tuple(InputSource)
    since: date | None = None
    until: date | None = None
    target: int = TARGET
    min_files: int = 4

    def has(self, folder: str) -> bool:
        """Whether a partition's folder (`clean/input_source=stream/order_date=2026-03-01`) is meant."""
        _, source, day = folder.split("/")
        if source.partition("=")[2] not in list(self.sources):
            return False
        try:
            value = date.fromisoformat(day.partition("=")[2])
        except ValueError:
            return False
        return (self.since is None or value >= self.since) and (self.until is None or value <= self.until)


@dataclass(frozen=True)
class File:
    """A file's key, bytes and time of change (seconds since the epoch)."""

    key: str
    size: int
    modified: float

    @property
    def name(self) -> str:
        """Without its folder."""
        return self.key.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Group:
    """Small files of one partition that become one set of larger files. Memory: about 300 bytes a file."""

    folder: str
    files: tuple[File, ...]

    @property
    def table(self) -> str:
        """The table: clean or dead_letter."""
        return self.folder.split("/")[0]

    @property
    def source(self) -> str:
        """The value of input_source."""
        return self.folder.split("/")[1].partition("=")[2]

    @property
    def day(self) -> str:
        """`order_date=2026-03-01`."""
        return self.folder.split("/")[2]

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class Planned:
    """A partition's folder, its files that would be replaced, their bytes, and about how many files would replace them."""

    folder: str
    files: int
    bytes: int
    into: int


def planned(groups: Iterable[Group], wanted: Wanted) -> list[Planned]:
    """What would be done to each partition, in order of the folders."""
    found = []
    for folder, some in groupby(groups, lambda group: group.folder):
        parts = list(some)
        into = sum(max(1, -(-group.bytes // wanted.target)) for group in parts)
        files = sum(len(group.files) for group in parts)
        found.append(Planned(folder, files, sum(group.bytes for group in parts), into))
    return found


@dataclass
class Listed:
    """What a listing came to."""

    partitions: int = 0
    files: int = 0
    bytes: int = 0


def find(lake: Storage, wanted: Wanted, listed: Listed) -> list[Group]:
    """Groups worth compacting, in order of their folders; counts in `listed` what there is."""
    groups: list[Group] = []
    for table in wanted.tables:
        for folder, infos in _partitions(lake.list(table)):
            if wanted.has(folder):
                files = [File(info.key, info.size, info.modified.timestamp()) for info in infos]
                listed.partitions += 1
                listed.files += len(files)
                listed.bytes += sum(file.size for file in files)
                groups += _groups(folder, files, wanted)
    return groups


def _partitions(infos: Iterable[ObjectInfo]) -> Iterator[tuple[str, list[ObjectInfo]]]:
    """Files that readers see and that lie where the sink writes, by partition."""
    seen = (info for info in infos if _is_ours(info.key))
    for folder, group in groupby(seen, key=lambda info: info.key.rsplit("/", 1)[0]):
        yield folder, list(group)


def _is_ours(key: str) -> bool:
    parts = key.split("/")
    visible = not any(part.startswith(("_", ".")) for part in parts)
    named = len(parts) == _PARTS and parts[1].startswith(f"{INPUT_SOURCE}=") and "=" in parts[2]
    return visible and named and parts[-1].endswith(".parquet")


def _groups(folder: str, files: Sequence[File], wanted: Wanted) -> Iterator[Group]:
    """Oldest files first, so that a group's rows lie close together in time, too."""
    small = sorted((file for file in files if file.size < wanted.target * _FULL), key=_age)
    part: list[File] = []
    held = 0
    for file in small:
        if part and (len(part) >= _FILES or held + file.size > wanted.target * _GROUP):
            yield from _worth(folder, part, wanted)
            part, held = [], 0
        part.append(file)
        held += file.size
    yield from _worth(folder, part, wanted)


def _age(file: File) -> Any:
    return file.modified, file.key


def _worth(folder: str, part: Sequence[File], wanted: Wanted) -> Iterator[Group]:
    """Nothing for files that would not become fewer."""
    group = Group(folder, tuple(part))
    if len(part) >= max(2, wanted.min_files) and len(part) > -(-group.bytes // wanted.target):
        yield group
