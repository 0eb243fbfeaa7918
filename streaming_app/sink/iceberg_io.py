"""Iceberg's metadata on S3 by the sink's own client, for what pyiceberg's FileIO on pyarrow lacks: a KMS key, a payer.

pyiceberg makes it by name (`py-io-impl`) from a catalog's properties, in which `StorageOptions.to_options` stands.

Needs pyiceberg, so import it only where it is used.
"""

from __future__ import annotations

import io
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, cast

from pyiceberg.io import FileIO, InputFile, InputStream, OutputFile, OutputStream
from pyiceberg.typedef import EMPTY_DICT, Properties

from streaming_app.storage import Storage, StorageOptions, open_storage
from streaming_app.storage.s3_client import client, explained

if TYPE_CHECKING:
    from streaming_app.storage import ObjectInfo

FILE_IO: Final = f"{__name__}.StorageFileIO"
_BUFFER: Final = 1 << 20


class StorageFileIO(FileIO):
    """Reads and writes whole objects, footers of data files in parts. Guarantee: a file that may not replace another one does not."""

    def __init__(self, properties: Properties = EMPTY_DICT) -> None:
        super().__init__(properties)
        self._options = StorageOptions.from_options(properties)

    def new_input(self, location: str) -> InputFile:
        """A file to read."""
        return _Input(location, self._options)

    def new_output(self, location: str) -> OutputFile:
        """A file to write."""
        return _Output(location, self._options)

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """Remove a file; one that is not there is fine."""
        storage, key = _place(location if isinstance(location, str) else location.location, self._options)
        storage.delete([key])


def _place(location: str, options: StorageOptions) -> tuple[Storage, str]:
    folder, _, key = location.rpartition("/")
    return open_storage(folder, options), key


class _Input(InputFile):
    def __init__(self, location: str, options: StorageOptions) -> None:
        super().__init__(location)
        self._options = options
        self._storage, self._key = _place(location, options)

    def __len__(self) -> int:
        return self._found().size

    def exists(self) -> bool:
        return self._storage.info(self._key) is not None

    def open(self, seekable: bool = True) -> InputStream:  # noqa: ARG002 - pyiceberg's own signature
        raw = _Parts(self.location, self._options, self._found())
        return cast("InputStream", io.BufferedReader(raw, _BUFFER))

    def _found(self) -> ObjectInfo:
        found = self._storage.info(self._key)
        if found is None:
            raise FileNotFoundError(self.location)
        return found


class _Parts(io.RawIOBase):
    """One object, in whatever order it is asked for, always the same version."""

    def __init__(self, location: str, options: StorageOptions, found: ObjectInfo) -> None:
        self._location, self._options, self._size, self._at = location, options, found.size, 0
        bucket, _, key = location.partition("://")[2].partition("/")
        payer = {"RequestPayer": "requester"} if options.requester_pays else {}
        self._object: dict[str, Any] = {"Bucket": bucket, "Key": key, "IfMatch": f'"{found.etag}"', **payer}

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        end = min(self._at + len(buffer), self._size)
        if self._at >= end:
            return 0
        with explained(self._location):
            answer = client(self._options).get_object(**self._object, Range=f"bytes={self._at}-{end - 1}")
            data = answer["Body"].read()
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class _Output(OutputFile):
    def __init__(self, location: str, options: StorageOptions) -> None:
        super().__init__(location)
        self._options = options
        self._storage, self._key = _place(location, options)

    def __len__(self) -> int:
        return len(self.to_input_file())

    def exists(self) -> bool:
        return self._storage.info(self._key) is not None

    def to_input_file(self) -> InputFile:
        return _Input(self.location, self._options)

    def create(self, overwrite: bool = False) -> OutputStream:
        if not overwrite and self.exists():
            raise FileExistsError(self.location)
        return cast("OutputStream", _Whole(self._storage, self._key, overwrite=overwrite))


class _Whole(io.BytesIO):
    """Becomes visible when it is closed, but not where an error ends its `with`. Memory: the file, some megabytes."""

    def __init__(self, storage: Storage, key: str, *, overwrite: bool) -> None:
        super().__init__()
        self._storage, self._key, self._overwrite = storage, key, overwrite

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            super().close()

    def close(self) -> None:
        if self.closed:
            return
        data = self.getvalue()
        super().close()
        if self._overwrite:
            self._storage.put(self._key, data)
        elif not self._storage.put_if_absent(self._key, data):
            raise FileExistsError(f"{self._storage.uri}/{self._key}")
