"""Files on S3: one that is written as an uncompleted multipart upload, one that is read and survives a lost connection."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from streaming_app.errors import IngestError, SinkError
from streaming_app.storage.base import ArrowSink, StagedFile
from streaming_app.storage.s3_client import ATTEMPTS, code, explained, explanation

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client

PART_BYTES: Final = 8 << 20  # S3 takes 5 MiB to 5 GiB; a file being written holds this much in memory
_MAX_PARTS: Final = 10_000  # S3's limit
READ_BUFFER: Final = 1 << 20


class S3StagingFile(ArrowSink):
    """A multipart upload. Nothing is visible or paid for as an object before `publish` completes it.

    Guarantee: after an error the upload is aborted; only a killed process leaves one, which `staged` finds.
    """

    def __init__(
        self, s3: S3Client, uri: str, key: str, place: Mapping[str, Any], encryption: Mapping[str, Any]
    ) -> None:
        self._s3, self._uri, self._key = s3, uri, key
        self._place, self._encryption = dict(place), dict(encryption)
        self._upload = ""
        self._parts: list[dict[str, Any]] = []
        self._buffer = bytearray()
        self._size = 0

    def write(self, data: bytes) -> int:
        size = memoryview(data).nbytes
        self._buffer += data
        self._size += size
        while len(self._buffer) >= PART_BYTES:
            self._send(bytes(self._buffer[:PART_BYTES]))
            del self._buffer[:PART_BYTES]
        return size

    def finish(self) -> StagedFile:
        if self._buffer or not self._parts:
            self._send(bytes(self._buffer))  # the last part may be short, and an empty file is one empty part
            self._buffer.clear()
        return StagedFile(self._key, self._size, {"upload": self._upload, "parts": self._parts})

    def _send(self, part: bytes) -> None:
        try:
            with explained(f"{self._uri}/{self._key}"):
                self._upload_part(part)
        except IngestError:
            self.abort()
            raise

    def _upload_part(self, part: bytes) -> None:
        number = len(self._parts) + 1
        if number > _MAX_PARTS:
            raise SinkError(
                f"{self._uri}/{self._key} has grown to S3's limit of {_MAX_PARTS} parts; lower sink.target_file_bytes"
            )
        if not self._upload:
            self._upload = self._s3.create_multipart_upload(**self._place, **self._encryption)["UploadId"]
        answer = self._s3.upload_part(**self._place, UploadId=self._upload, PartNumber=number, Body=part)
        checksums = {
            name: value for name, value in answer.items() if name.startswith("Checksum") and name != "ChecksumType"
        }
        self._parts.append({"PartNumber": number, "ETag": answer["ETag"], **checksums})

    def abort(self) -> None:
        self._buffer.clear()
        if self._upload:
            with suppress(ClientError, BotoCoreError):  # `staged` finds what could not be aborted now
                self._s3.abort_multipart_upload(**self._place, UploadId=self._upload)


class S3Reader(io.RawIOBase):
    """One object from its beginning to its end; after a lost connection it goes on where it was, in the same version.

    Raises FileNotFoundError when there is no object, SinkError when it is replaced while it is read.
    """

    def __init__(self, s3: S3Client, uri: str, place: Mapping[str, Any]) -> None:
        self._s3, self._uri, self._place = s3, uri, dict(place)
        self._at = 0
        answer = self._get()
        self._size: int = answer["ContentLength"]
        self._place["IfMatch"] = answer["ETag"]
        self._body: StreamingBody = answer["Body"]

    def _get(self, **more: Any) -> Any:
        try:
            return self._s3.get_object(**self._place, **more)
        except (ClientError, BotoCoreError) as error:
            if code(error) in {"NoSuchKey", "404"}:
                raise FileNotFoundError(self._uri) from error
            if code(error) == "PreconditionFailed":
                raise SinkError(f"{self._uri} was replaced while it was read; upload files under new names") from error
            raise explanation(error, self._uri) from error

    def readable(self) -> bool:
        return True

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self._read(self._size), b""))

    def readinto(self, buffer: Any) -> int:
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _read(self, wanted: int) -> bytes:
        wanted = min(wanted, self._size - self._at)
        data = self._try_read(wanted) if wanted else b""
        self._at += len(data)
        return data

    def _try_read(self, wanted: int) -> bytes:
        lost: BotoCoreError | None = None
        for _ in range(ATTEMPTS):
            try:
                data = self._body.read(wanted)
            except BotoCoreError as error:
                lost = error
            else:
                if data:
                    return data
            self._reopen()
        raise SinkError(f"{self._uri}: the connection was lost {ATTEMPTS} times at byte {self._at} ({lost})")

    def _reopen(self) -> None:
        self._body.close()
        self._body = self._get(Range=f"bytes={self._at}-")["Body"]

    def close(self) -> None:
        if not self.closed:
            self._body.close()
        super().close()
