"""Storage in a local folder: links make `put_if_absent` atomic, one rename publishes a staged file."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final, cast

from streaming_app.storage.base import ObjectInfo, Published, StagedFile

STAGING: Final = "_staging"  # names that begin with _ are hidden from Athena, Trino and Spark
_TEMPORARY: Final = ".tmp-"


class LocalStorage:
    """A folder. Guarantee: after a method returned, its effect survives the death of the process (not of the disk)."""

    def __init__(self, root: str) -> None:
        self._root = Path(root).absolute()

    @property
    def uri(self) -> str:
        """The folder's path."""
        return str(self._root)

    def _path(self, key: str) -> Path:
        path = (self._root / key).resolve() if ".." in key else self._root / key
        if not path.is_relative_to(self._root):
            raise ValueError(f"{key!r} leads out of {self._root}")
        return path

    def get(self, key: str) -> bytes | None:
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _write_temporary(self, target: Path, data: bytes) -> Path:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f"{_TEMPORARY}{uuid.uuid4().hex}")
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return temporary

    def put(self, key: str, data: bytes) -> None:
        target = self._path(key)
        self._write_temporary(target, data).replace(target)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        target = self._path(key)
        temporary = self._write_temporary(target, data)
        try:
            os.link(temporary, target)
        except FileExistsError:
            return False
        finally:
            temporary.unlink()
        return True

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._path(key).unlink(missing_ok=True)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        top = self._path(prefix) if prefix else self._root
        for folder, folders, names in os.walk(top):
            folders.sort()
            for name in sorted(names):
                if name.startswith(_TEMPORARY):
                    continue
                path = Path(folder, name)
                with suppress(FileNotFoundError):  # removed since the listing
                    yield self._describe(path)

    def _describe(self, path: Path) -> ObjectInfo:
        stat = path.stat()
        return ObjectInfo(
            key=path.relative_to(self._root).as_posix(),
            size=stat.st_size,
            modified=datetime.fromtimestamp(stat.st_mtime, UTC),
            etag=f"{stat.st_size:x}-{stat.st_mtime_ns:x}",
        )

    def info(self, key: str) -> ObjectInfo | None:
        try:
            return self._describe(self._path(key))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def open(self, key: str) -> BinaryIO:
        return self._path(key).open("rb")

    def stage(self, key: str, owner: str) -> LocalStagingFile:
        self._path(key)  # refuses a key that leads out
        return LocalStagingFile(self._root, key, f"{STAGING}/{owner}/{uuid.uuid4().hex}.staged")

    def publish(self, staged: StagedFile) -> Published:
        source, target = self._path(staged.handle["path"]), self._path(staged.key)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            source.rename(target)
        except FileNotFoundError:
            return Published.ALREADY if target.exists() else Published.GONE
        return Published.NOW

    def discard(self, staged: StagedFile) -> None:
        self._path(staged.handle["path"]).unlink(missing_ok=True)

    def staged(self, owner: str, prefixes: Iterable[str]) -> Iterator[StagedFile]:
        del prefixes  # a local staged file does not know its target; its owner's folder holds them all
        for item in self.list(f"{STAGING}/{owner}"):
            yield StagedFile(key="", size=item.size, handle={"path": item.key})


class LocalStagingFile:
    """A file in the staging folder, on the same disk as the lake so that publishing is one rename."""

    def __init__(self, root: Path, key: str, path: str) -> None:
        self._root, self._key, self._staged = root, key, path
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        self._file = cast(BinaryIO, (root / path).open("xb"))
        self._size = 0

    def write(self, data: bytes) -> int:
        self._size += memoryview(data).nbytes
        return self._file.write(data)

    def finish(self) -> StagedFile:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return StagedFile(self._key, self._size, {"path": self._staged})

    def abort(self) -> None:
        self._file.close()
        (self._root / self._staged).unlink(missing_ok=True)
