"""Storage in a dictionary, which keeps the same contract; and storage that fails at its k-th change."""

from __future__ import annotations

import io
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, BinaryIO

from streaming_app.storage import ObjectInfo, Published, StagedFile, Storage
from streaming_app.storage.base import ArrowSink, require_owner


class MemoryStorage:
    """Objects in sorted order of key; a staged file is in a dictionary of its own."""

    def __init__(self) -> None:
        self._objects: dict[str, tuple[bytes, ObjectInfo]] = {}
        self._staged: dict[str, tuple[str, StagedFile, bytes, datetime]] = {}
        self._lock = threading.Lock()

    @property
    def uri(self) -> str:
        return "memory:"

    def _info(self, key: str, data: bytes) -> ObjectInfo:
        return ObjectInfo(key, len(data), datetime.now(UTC), uuid.uuid4().hex)

    def get(self, key: str) -> bytes | None:
        found = self._objects.get(key)
        return found[0] if found else None

    def put(self, key: str, data: bytes) -> None:
        self._objects[key] = (bytes(data), self._info(key, data))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        with self._lock:
            if key in self._objects:
                return False
            self.put(key, data)
            return True

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._objects.pop(key, None)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        folder = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        yield from (self._objects[key][1] for key in sorted(self._objects) if key.startswith(folder))

    def info(self, key: str) -> ObjectInfo | None:
        found = self._objects.get(key)
        return found[1] if found else None

    def open(self, key: str) -> BinaryIO:
        data = self.get(key)
        if data is None:
            raise FileNotFoundError(key)
        return io.BytesIO(data)

    def copy(self, key: str, to: str) -> None:
        data = self.get(key)
        if data is None:
            raise FileNotFoundError(key)
        self.put(to, data)

    def stage(self, key: str, owner: str) -> MemoryStagingFile:
        require_owner(key, owner)
        return MemoryStagingFile(self._staged, key, owner)

    def publish(self, staged: StagedFile) -> Published:
        held = self._staged.pop(staged.handle["id"], None)
        if held is not None:
            self.put(staged.key, held[2])
            return Published.NOW
        found = self.info(staged.key)
        return staged.published_as(found.size, self.uri) if found else Published.GONE

    def discard(self, staged: StagedFile) -> None:
        self._staged.pop(staged.handle["id"], None)

    def staged(self, owner: str, prefixes: Iterable[str]) -> Iterator[StagedFile]:
        folders = tuple(f"{prefix}/" if prefix else "" for prefix in prefixes)
        yield from (
            held[1] for held in list(self._staged.values()) if held[0] == owner and held[1].key.startswith(folders)
        )

    def abandoned(self, prefixes: Iterable[str], before: datetime) -> Iterator[StagedFile]:
        folders = tuple(f"{prefix}/" if prefix else "" for prefix in prefixes)
        for _, staged, _, begun in list(self._staged.values()):
            if staged.key.startswith(folders) and begun < before:
                yield staged


class MemoryStagingFile(ArrowSink):
    def __init__(self, place: dict[str, tuple[str, StagedFile, bytes, datetime]], key: str, owner: str) -> None:
        self._place, self._key, self._owner = place, key, owner
        self._id, self._data = uuid.uuid4().hex, bytearray()

    def write(self, data: bytes) -> int:
        self._data += data
        return memoryview(data).nbytes

    def finish(self) -> StagedFile:
        staged = StagedFile(self._key, len(self._data), {"id": self._id})
        self._place[self._id] = (self._owner, staged, bytes(self._data), datetime.now(UTC))
        return staged

    def abort(self) -> None:
        self._place.pop(self._id, None)


class Cut(Exception):
    """The process died here."""


class Changes:
    """So many changes are made, then the process dies with `died`; `lost_answer`: the one at which it dies is still carried out.

    Of one storage or of several together (`of`).
    """

    def __init__(self, left: int, *, lost_answer: bool = False, died: type[BaseException] = Cut) -> None:
        self.left, self._lost, self._died = left, lost_answer, died

    def of(self, inner: Any) -> CutOffStorage:
        return CutOffStorage(inner, self)

    def make(self, do: Callable[[], Any]) -> Any:
        self.left -= 1
        if self.left >= 0:
            return do()
        if self.left == -1 and self._lost:
            do()
        raise self._died


class CutOffStorage:
    """Passes everything on, until the `changes` were made; the next one dies and so does all after it.

    A deletion of many keys counts key by key.
    """

    def __init__(self, inner: Storage, changes: int | Changes, *, lost_answer: bool = False) -> None:
        self._inner = inner
        self._changes = changes if isinstance(changes, Changes) else Changes(changes, lost_answer=lost_answer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _change(self, do: Callable[[], Any]) -> Any:
        return self._changes.make(do)

    def put(self, key: str, data: bytes) -> None:
        self._change(lambda: self._inner.put(key, data))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        return bool(self._change(lambda: self._inner.put_if_absent(key, data)))

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._change(lambda key=key: self._inner.delete([key]))

    def copy(self, key: str, to: str) -> None:
        self._change(lambda: self._inner.copy(key, to))

    def publish(self, staged: StagedFile) -> Published:
        return Published(self._change(lambda: self._inner.publish(staged)))

    def discard(self, staged: StagedFile) -> None:
        self._change(lambda: self._inner.discard(staged))
