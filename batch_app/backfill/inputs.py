"""Which files a backfill is about: paths, days, and whether a file holds CSV rows or a copy of the stream."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from streaming_app.config import Config
from streaming_app.errors import ConfigError
from streaming_app.schema import InputSource
from streaming_app.storage import ObjectInfo, Storage, is_s3, open_storage, plain_path

RAW_STREAM: Final = "raw_stream"  # Firehose's prefix below the lake's root
_JSON: Final = tuple(f".{name}{packed}" for name in ("ndjson", "jsonl", "json") for packed in ("", ".gz"))
_DAY: Final = re.compile(r"(?<!\d)(\d{4})[/-](\d{2})[/-](\d{2})(?!\d)")  # Firehose: 2026/03/01/09/
_HIDDEN: Final = ("_", ".")
_PLANNED: Final = ("name", "folder", "file", "size", "etag", "modified")


@dataclass(frozen=True)
class SourceFile:
    """A file as it was listed. `name` begins its rows' positions: relative to the lake, or its whole address.

    `sha256`: of the bytes that the gate has judged, the only ones that may be loaded; empty where no gate stood before.
    """

    name: str
    folder: str
    key: str
    size: int
    etag: str
    modified: str
    sha256: str = ""

    def to_json(self) -> dict[str, Any]:
        """As a plan has it; `key` is the read log's unit there."""
        return {**vars(self), "key": self.name, "file": self.key}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> SourceFile:
        """The inverse of `to_json`."""
        name, folder, key, size, etag, modified = (value[each] for each in _PLANNED)
        return cls(name, folder, key, size, etag, modified, value.get("sha256", ""))  # plans of version 0.1 have none


@dataclass(frozen=True)
class Wanted:
    """What was asked for. No paths: raw_stream/ and raw/ of the lake. `source` None: as each file's name says."""

    paths: Sequence[str] = ()
    since: date | None = None
    until: date | None = None
    source: InputSource | None = None


@dataclass
class Found:
    """Files by what they hold, in order of name.

    `ignored`: files below a folder that are neither; `unjudged`: files that the gate has not read.
    """

    files: dict[InputSource, list[SourceFile]] = field(default_factory=dict)
    ignored: int = 0
    unjudged: int = 0


def find(wanted: Wanted, config: Config) -> Found:
    """The files, each once. Raises ConfigError for a path with nothing to read in it."""
    found = Found()
    names = Names(config.lake.root)
    known: set[str] = set()
    for path in wanted.paths or _places(wanted, config):
        listed = list(_listed(whole_address(path), config))
        if not listed and wanted.paths:
            raise ConfigError(f"{path}: there is no file")
        for folder, info, direct in listed:
            file = _file(folder, info, names)
            source = wanted.source or _source(file, config)
            if source is None and direct:
                raise ConfigError(f"{path}: is it CSV or a copy of the stream? Say --input-source batch or stream")
            if source is None:
                found.ignored += 1
            elif (identity := names.identity(file.name)) not in known and _within(file, wanted):
                known.add(identity)
                found.files.setdefault(source, []).append(file)
    for files in found.files.values():
        files.sort(key=lambda file: file.name)
    return found


def _places(wanted: Wanted, config: Config) -> list[str]:
    stream = f"{config.lake.root.rstrip('/')}/{RAW_STREAM}"
    places = {InputSource.STREAM: [stream], InputSource.BATCH: [config.csv_path()]}
    return places[wanted.source] if wanted.source else [*places[InputSource.STREAM], *places[InputSource.BATCH]]


def _listed(path: str, config: Config) -> Iterator[tuple[str, ObjectInfo, bool]]:
    options = config.lake.s3.storage_options()
    folder, _, name = path.rpartition("/")
    if name and not (not is_s3(path) and Path(path).is_dir()) and not _is_bucket(path):
        parent = folder or "/"
        info = open_storage(parent, options).info(name)
        if info is not None:
            yield parent, info, True
            return
    storage: Storage = open_storage(path, options)
    for info in storage.list(""):
        if not any(part.startswith(_HIDDEN) for part in info.key.split("/")):
            yield path, info, False


def _is_bucket(path: str) -> bool:
    return is_s3(path) and "/" not in path.partition("://")[2]


def _file(folder: str, info: ObjectInfo, names: Names) -> SourceFile:
    name = names.name(f"{folder.rstrip('/')}/{info.key}")
    return SourceFile(name, folder, info.key, info.size, info.etag, info.modified.isoformat())


class Names:
    """What files are called in positions and plans: relative to the lake, or by their whole address outside of it.

    The same file may be named in many ways (links, `..`, file:// addresses); `identity` is the same for all of them, also for
    names in plans that an earlier version wrote, as long as the links stand.
    """

    def __init__(self, root: str) -> None:
        whole = whole_address(root)
        self._root = _real(whole)
        self._roots = (f"{self._root}/", f"{whole if is_s3(whole) else os.path.normpath(whole)}/")

    def name(self, address: str) -> str:
        """The name of a file at a whole address. What is linked into the lake has its name there."""
        real = _real(address)
        for found in (real, address if is_s3(address) else os.path.normpath(address)):
            for root in self._roots:
                if found.startswith(root):
                    return found.removeprefix(root)
        return real

    def identity(self, name: str) -> str:
        """Where the file of a name lies in truth."""
        outside = name.startswith("/") or is_s3(name)
        return _real(_meant(name if outside else f"{self._root}/{name}"))


def _meant(address: str) -> str:
    """Earlier versions put file:// addresses into plans with their %20."""
    if is_s3(address) or "%" not in address or Path(address).exists():
        return whole_address(address)
    plain = unquote(address)
    return plain if Path(plain).exists() else address


def whole_address(place: str) -> str:
    """An address that means the same in every process: s3://bucket/prefix, or the whole path of a local file or folder."""
    if not is_s3(place):
        return str(Path(plain_path(place)).absolute())
    bucket, _, key = place.partition("://")[2].partition("/")
    return f"s3://{bucket}/{key.strip('/')}".rstrip("/")


def _real(address: str) -> str:
    return address if is_s3(address) else os.path.realpath(address)


def _source(file: SourceFile, config: Config) -> InputSource | None:
    name = file.name.lower()
    if name.endswith(config.sources.csv.suffixes):
        return InputSource.BATCH
    if name.endswith(_JSON) or file.name.startswith(f"{RAW_STREAM}/"):
        return InputSource.STREAM
    return None


def _within(file: SourceFile, wanted: Wanted) -> bool:
    if wanted.since is None and wanted.until is None:
        return True
    day = day_of(file)
    return (wanted.since is None or day >= wanted.since) and (wanted.until is None or day <= wanted.until)


def day_of(file: SourceFile) -> date:
    """The last day that stands in the file's name (2026/03/01 or 2026-03-01), otherwise that of its last change, UTC."""
    for match in reversed(_DAY.findall(file.name)):
        try:
            return date(*map(int, match))
        except ValueError:
            continue
    return date.fromisoformat(file.modified[:10])
