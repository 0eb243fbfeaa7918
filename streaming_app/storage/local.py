"""Storage in a local folder: links make `put_if_absent` atomic, one rename publishes a staged file."""

from __future__ import annotations

import errno
import os
import re
import stat
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final, cast

from streaming_app.errors import SinkError
from streaming_app.storage.base import ArrowSink, ObjectInfo, Published, StagedFile, require_owner

STAGING: Final = "_staging"  # names that begin with _ are hidden from Athena, Trino and Spark
_TEMPORARY: Final = re.compile(r"\.tmp-[0-9a-f]{32}")
_STALE_SECONDS: Final = 3600.0  # a temporary file lives for milliseconds; an older one was left by a kill


class LocalStorage:
    """A folder, which may be a symbolic link itself.

    Guarantee: when a method returned, its effect survives the death of the process and of the machine: files are synced
    before they get their name, folders after it (measured: 0.3 ms more for each write on an SSD). Symbolic links below the
    root are not listed and not followed out of it, so that who may only upload cannot have other files read. A folder
    stays when its last file is gone: removing it would race with the next write.
    """

    def __init__(self, root: str) -> None:
        self._uri = str(Path(root).absolute())
        self._root = Path(root).resolve()

    @property
    def uri(self) -> str:
        """The folder's path."""
        return self._uri

    def _path(self, key: str) -> Path:
        if not key or "\0" in key or any(part in {"", ".", ".."} for part in key.split("/")):
            raise ValueError(f"{key!r} is no key: parts must not be empty, '.' or '..'")
        path = self._root / key
        if not path.resolve().is_relative_to(self._root):
            raise SinkError(f"{path} leads out of {self._root} by a symbolic link; mount the disk there instead")
        return path

    def get(self, key: str) -> bytes | None:
        try:
            with _explained(self._path(key)), self.open(key) as file:
                return file.read()
        except FileNotFoundError:
            return None

    def open(self, key: str) -> BinaryIO:
        path = self._path(key)
        with _explained(path):
            try:
                return path.open("rb")
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
                raise FileNotFoundError(str(path)) from error

    def put(self, key: str, data: bytes) -> None:
        target = self._path(key)
        with _explained(target):
            _write_temporary(target, data).replace(target)
            _sync_folder(target.parent)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        target = self._path(key)
        with _explained(target):
            if target.exists():
                return False
            temporary = _write_temporary(target, data)
            try:
                os.link(temporary, target)
            except FileExistsError:
                return False
            finally:
                temporary.unlink()
            _sync_folder(target.parent)
            return True

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            path = self._path(key)
            with _explained(path), suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                path.unlink()

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        folder = prefix.strip("/")
        for item in _walk(self._path(folder) if folder else self._root, f"{folder}/" if folder else ""):
            if not item.key.startswith(f"{STAGING}/"):
                yield item

    def info(self, key: str) -> ObjectInfo | None:
        path = self._path(key)
        with _explained(path):
            try:
                found = path.stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return _describe(key, found) if stat.S_ISREG(found.st_mode) else None

    def copy(self, key: str, to: str) -> None:
        """One file with two names; a reader of the one does not see it when the other is replaced or removed."""
        source, target = self._path(key), self._path(to)
        with _explained(target):
            _make_folder(target.parent)
            temporary = target.with_name(f".tmp-{uuid.uuid4().hex}")
            os.link(source, temporary)
            temporary.replace(target)
            temporary.unlink(missing_ok=True)  # two names of one file: rename does nothing
            _sync_folder(target.parent)

    def stage(self, key: str, owner: str) -> LocalStagingFile:
        require_owner(key, owner)
        self._path(key)  # refuses what is no key
        handle = f"{STAGING}/{owner}/{uuid.uuid4().hex}.staged"
        return LocalStagingFile(key, handle, self._path(handle))

    def publish(self, staged: StagedFile) -> Published:
        source, target = self._path(staged.handle["path"]), self._path(staged.key)
        with _explained(target):
            _make_folder(target.parent)
            try:
                source.rename(target)
            except FileNotFoundError:
                return self._published_before(staged)
            _sync_folder(target.parent)
        return Published.NOW

    def _published_before(self, staged: StagedFile) -> Published:
        found = self.info(staged.key)
        return staged.published_as(found.size, self._uri) if found else Published.GONE

    def discard(self, staged: StagedFile) -> None:
        self.delete([staged.handle["path"]])

    def staged(self, owner: str, prefixes: Iterable[str]) -> Iterator[StagedFile]:
        del prefixes  # a local staged file does not know its target; its owner's folder holds them all
        folder = f"{STAGING}/{owner}"
        for item in _walk(self._path(folder), f"{folder}/"):
            yield StagedFile(key="", size=item.size, handle={"path": item.key})

    def abandoned(self, prefixes: Iterable[str], before: datetime) -> Iterator[StagedFile]:
        del prefixes
        for item in _walk(self._path(STAGING), f"{STAGING}/"):
            if item.modified < before:
                yield StagedFile(key="", size=item.size, handle={"path": item.key})


class LocalStagingFile(ArrowSink):
    """A file in the staging folder, on the same disk as the lake so that publishing is one rename."""

    def __init__(self, key: str, handle: str, path: Path) -> None:
        self._key, self._handle, self._path = key, handle, path
        self._size = 0
        with _explained(path):
            _make_folder(path.parent)
            self._file = cast("BinaryIO", path.open("xb"))

    def write(self, data: bytes) -> int:
        with self._removed_on_error():
            self._file.write(data)
        self._size += memoryview(data).nbytes
        return memoryview(data).nbytes

    def finish(self) -> StagedFile:
        with self._removed_on_error():
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            _sync_folder(self._path.parent)
        return StagedFile(self._key, self._size, {"path": self._handle})

    def abort(self) -> None:
        with suppress(OSError):  # a full disk refuses what is still buffered
            self._file.close()
        self._path.unlink(missing_ok=True)

    @contextmanager
    def _removed_on_error(self) -> Iterator[None]:
        try:
            with _explained(self._path):
                yield
        except SinkError:
            self.abort()
            raise


_ADVICE: Final = {
    errno.ENOSPC: "free some space on this disk, then start again",
    errno.EDQUOT: "free some space within the quota, then start again",
    errno.EACCES: "give the service's user access",
    errno.EPERM: "give the service's user access; the file system must know hard links",
    errno.EOPNOTSUPP: "the file system must know hard links; put the folder on another one",
    errno.EROFS: "the disk is mounted read-only; mount it writable",
    errno.EXDEV: "a lake must lie on one file system, so that publishing a file is one rename",
    errno.ENAMETOOLONG: "shorten the path",
    errno.ENOTDIR: "a part of this path is a file; remove or rename it",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn an error of the file system into a SinkError that says what to do; FileNotFoundError passes."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "look at the disk's health")
        raise SinkError(f"{path}: {error.strerror}; {advice}") from error


def _walk(folder: Path, prefix: str) -> Iterator[ObjectInfo]:
    """All files below a folder; `prefix` is the folder's own key."""
    for entry in _entries(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry), f"{prefix}{entry.name}/")
        elif entry.is_file(follow_symlinks=False):
            with suppress(FileNotFoundError):  # removed since the listing
                yield _describe(prefix + entry.name, entry.stat(follow_symlinks=False))


def _describe(key: str, found: os.stat_result) -> ObjectInfo:
    return ObjectInfo(
        key=key,
        size=found.st_size,
        modified=datetime.fromtimestamp(found.st_mtime, UTC),
        etag=f"{found.st_size:x}-{found.st_mtime_ns:x}",
    )


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """A folder's entries in the order of keys on S3, where `a.b` comes before `a/b`; empty when there is no folder."""
    with _explained(folder):
        try:
            found = list(os.scandir(folder))
        except (FileNotFoundError, NotADirectoryError):
            return []
    kept = [entry for entry in found if not _is_temporary(entry)]
    return sorted(kept, key=lambda entry: entry.name + "/" if entry.is_dir(follow_symlinks=False) else entry.name)


def _is_temporary(entry: os.DirEntry[str]) -> bool:
    """Whether it is a write under way; one that a kill left behind long ago is removed on the way."""
    if not _TEMPORARY.fullmatch(entry.name):
        return False
    with suppress(OSError):
        if time.time() - entry.stat(follow_symlinks=False).st_mtime > _STALE_SECONDS:
            Path(entry).unlink()
    return True


def _write_temporary(target: Path, data: bytes) -> Path:
    _make_folder(target.parent)
    temporary = target.with_name(f".tmp-{uuid.uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, each durable."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Make names that were given or taken in this folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
