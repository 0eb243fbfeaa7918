"""Storage in an S3 prefix: conditional writes make `put_if_absent` atomic, completing a multipart upload publishes.

Every promise of storage/base.py rests on something S3 documents: strong read-after-write consistency, `If-None-Match: *`
on PutObject, and multipart uploads that are invisible until they are completed.
"""

from __future__ import annotations

import io
import random
import re
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from botocore.exceptions import BotoCoreError, ClientError

from streaming_app.errors import ConfigError, SinkError
from streaming_app.storage.base import ObjectInfo, Published, StagedFile, StorageOptions, require_owner
from streaming_app.storage.s3_client import ATTEMPTS, client, code, explained, explanation, in_words, status
from streaming_app.storage.s3_files import READ_BUFFER, S3Reader, S3StagingFile

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_URI: Final = re.compile(r"s3a?://([^/]+)(?:/(.*))?")
_DELETE_BATCH: Final = 1000  # DeleteObjects takes no more
_WRITER: Final = "writer"  # user metadata: which call of put_if_absent wrote an object
_ABSENT: Final = frozenset({"404", "NoSuchKey"})
_AGAIN: Final = frozenset({"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "OperationAborted"})
_PASSING: Final = frozenset({"NoSuchUpload", "RequestTimeout", "SlowDown", "OperationAborted"})


class S3Storage:
    """A prefix of a bucket. Cheap to make and to pickle; the client belongs to the process and is shared by threads."""

    def __init__(self, uri: str, options: StorageOptions) -> None:
        match = _URI.fullmatch(uri)
        if not match:
            raise ConfigError(f"{uri!r} names no bucket; write s3://bucket/prefix")
        self._uri, self._options = uri.rstrip("/"), options
        self._bucket = match[1]
        folder = (match[2] or "").strip("/")
        self._prefix = f"{folder}/" if folder else ""
        self._payer: dict[str, Any] = {"RequestPayer": "requester"} if options.requester_pays else {}
        kms = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": options.sse_kms_key_id}
        self._encryption: dict[str, Any] = kms if options.sse_kms_key_id else {}

    @property
    def uri(self) -> str:
        """Where the root is, as configured."""
        return self._uri

    @property
    def _s3(self) -> S3Client:
        return client(self._options)

    def _place(self, key: str) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": self._prefix + key, **self._payer}

    def _name(self, key: str) -> str:
        return f"{self._uri}/{key}"

    def _folder(self, prefix: str) -> str:
        return f"{self._prefix}{prefix.strip('/')}/" if prefix.strip("/") else self._prefix

    def get(self, key: str) -> bytes | None:
        try:
            with S3Reader(self._s3, self._name(key), self._place(key)) as reader:
                return reader.readall()
        except FileNotFoundError:
            return None

    def open(self, key: str) -> BinaryIO:
        reader = S3Reader(self._s3, self._name(key), self._place(key))
        return cast("BinaryIO", io.BufferedReader(reader, READ_BUFFER))

    def put(self, key: str, data: bytes) -> None:
        with explained(self._name(key)):
            self._s3.put_object(**self._place(key), **self._encryption, Body=data)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write unless the key exists.

        A write whose answer was lost is repeated by botocore and then refused because of itself. Every call therefore
        marks what it writes with a token of its own, and a refused call looks whose token is there: never a guess.
        """
        token = uuid.uuid4().hex
        error: ClientError | None = None
        for wait in _waits():
            try:
                self._put_new(key, data, token)
            except ClientError as refused:
                error = refused
            else:
                return True
            if code(error) == "PreconditionFailed":
                return self._written_by(key) == token
            if code(error) != "ConditionalRequestConflict":  # that is: another write is under way, try again
                break
            time.sleep(wait)
        raise explanation(cast("ClientError", error), self._name(key)) from error

    def _put_new(self, key: str, data: bytes, token: str) -> None:
        try:
            self._s3.put_object(
                **self._place(key), **self._encryption, Body=data, IfNoneMatch="*", Metadata={_WRITER: token}
            )
        except BotoCoreError as error:
            raise explanation(error, self._name(key)) from error

    def _written_by(self, key: str) -> str:
        found = self._head(key)
        return str(found["Metadata"].get(_WRITER, "")) if found else ""

    def delete(self, keys: Iterable[str]) -> None:
        """DeleteObjects answers key by key: what S3 could not do just then is asked for again, those keys alone."""
        remaining = iter(keys)
        while batch := [self._prefix + key for key in islice(remaining, _DELETE_BATCH)]:
            self._delete_all(batch)

    def _delete_all(self, full_keys: Sequence[str]) -> None:
        failed: list[Any] = []
        for wait in _waits():
            failed = self._delete(full_keys)
            if any(error.get("Code") not in _AGAIN for error in failed):
                break
            if not failed:
                return
            full_keys = [error["Key"] for error in failed]
            time.sleep(wait)
        raise self._undeleted(failed)

    def _delete(self, full_keys: Sequence[str]) -> list[Any]:
        """The errors, by key."""
        objects: Any = {"Objects": [{"Key": key} for key in full_keys], "Quiet": True}
        with explained(self._uri):
            return list(self._s3.delete_objects(Bucket=self._bucket, Delete=objects, **self._payer).get("Errors", []))

    def _undeleted(self, errors: Sequence[Any]) -> SinkError:
        error = next((error for error in errors if error.get("Code") not in _AGAIN), errors[0])
        name = str(error.get("Code"))
        why = in_words(name) if name in _AGAIN else str(error.get("Message"))
        advice = "; the role needs s3:DeleteObject" if name == "AccessDenied" else ""
        return SinkError(f"s3://{self._bucket}/{error.get('Key')} cannot be deleted: {why} ({name}){advice}")

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        pages = self._s3.get_paginator("list_objects_v2")
        with explained(self._name(prefix)):
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._folder(prefix), **self._payer):
                for item in page.get("Contents", []):
                    if not item["Key"].endswith("/"):  # the console marks folders so
                        yield self._describe(item["Key"], item["Size"], item)

    def _describe(self, full_key: str, size: int, answer: Any) -> ObjectInfo:
        return ObjectInfo(full_key.removeprefix(self._prefix), size, answer["LastModified"], answer["ETag"].strip('"'))

    def _head(self, key: str) -> Any:
        try:
            return self._s3.head_object(**self._place(key))
        except (ClientError, BotoCoreError) as error:
            if code(error) in _ABSENT:
                return None
            raise explanation(error, self._name(key)) from error

    def info(self, key: str) -> ObjectInfo | None:
        found = self._head(key)
        return self._describe(self._prefix + key, found["ContentLength"], found) if found else None

    def copy(self, key: str, to: str) -> None:
        """Inside S3, by one CopyObject request, which takes 5 GiB at most."""
        source: Any = {"Bucket": self._bucket, "Key": self._prefix + key}
        try:
            self._s3.copy_object(**self._place(to), **self._encryption, CopySource=source)
        except (ClientError, BotoCoreError) as error:
            if code(error) in _ABSENT:
                raise FileNotFoundError(self._name(key)) from error
            raise explanation(error, self._name(to)) from error

    def stage(self, key: str, owner: str) -> S3StagingFile:
        require_owner(key, owner)
        return S3StagingFile(self._s3, self._uri, key, self._place(key), self._encryption)

    def publish(self, staged: StagedFile) -> Published:
        """Complete the upload.

        Whatever the answer, or none, S3 is then asked what is there: a completion whose answer was lost counts as done,
        and only an upload that is still open is tried again.
        """
        error: ClientError | BotoCoreError | None = None
        for wait in _waits():
            try:
                self._complete(staged)
            except (ClientError, BotoCoreError) as failed:
                error = failed
            else:
                return Published.NOW
            if not _may_pass(error):
                break
            if not self._upload_is_open(staged):
                return self._published_before(staged)
            time.sleep(wait)
        raise explanation(cast("ClientError", error), self._name(staged.key)) from error

    def _complete(self, staged: StagedFile) -> None:
        parts: Any = {"Parts": staged.handle["parts"]}
        once = client(self._options, attempts=1)  # `publish` looks before it repeats
        once.complete_multipart_upload(
            **self._place(staged.key), UploadId=staged.handle["upload"], MultipartUpload=parts
        )

    def _upload_is_open(self, staged: StagedFile) -> bool:
        try:
            self._s3.list_parts(**self._place(staged.key), UploadId=staged.handle["upload"], MaxParts=1)
        except (ClientError, BotoCoreError) as error:
            if code(error) == "NoSuchUpload":
                return False
            raise explanation(error, self._name(staged.key)) from error
        return True

    def _published_before(self, staged: StagedFile) -> Published:
        found = self.info(staged.key)
        return staged.published_as(found.size, self._uri) if found else Published.GONE

    def discard(self, staged: StagedFile) -> None:
        try:
            self._s3.abort_multipart_upload(**self._place(staged.key), UploadId=staged.handle["upload"])
        except (ClientError, BotoCoreError) as error:
            if code(error) not in {"NoSuchUpload", "404"}:
                raise explanation(error, self._name(staged.key)) from error

    def staged(self, owner: str, prefixes: Iterable[str]) -> Iterator[StagedFile]:
        for upload in self._uploads(prefixes):
            if f"-{owner}-" in upload["Key"].rsplit("/", 1)[-1]:
                yield self._unfinished(upload)

    def abandoned(self, prefixes: Iterable[str], before: datetime) -> Iterator[StagedFile]:
        for upload in self._uploads(prefixes):
            if upload["Initiated"] < before:
                yield self._unfinished(upload)

    def _uploads(self, prefixes: Iterable[str]) -> Iterator[Any]:
        pages = self._s3.get_paginator("list_multipart_uploads")
        for prefix in prefixes:
            with explained(self._name(prefix)):
                for page in pages.paginate(Bucket=self._bucket, Prefix=self._folder(prefix), **self._payer):
                    yield from page.get("Uploads", [])

    def _unfinished(self, upload: Any) -> StagedFile:
        return StagedFile(upload["Key"].removeprefix(self._prefix), 0, {"upload": upload["UploadId"], "parts": []})


def _waits() -> Iterator[float]:
    """Seconds between our own repetitions: full jitter, doubling, as botocore waits for its own."""
    yield from (random.uniform(0, min(20.0, 0.25 * 2**attempt)) for attempt in range(ATTEMPTS))


def _may_pass(error: ClientError | BotoCoreError) -> bool:
    """Whether a completion that failed may be done, gone, or succeed later; all other answers are final."""
    if isinstance(error, ClientError):
        return status(error) >= 500 or code(error) in _PASSING  # noqa: PLR2004
    return isinstance(explanation(error, ""), SinkError)
