"""Moving an object to another place of the same kind of storage, without ever overwriting what is there."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from streaming_app.storage import ObjectInfo, Storage, StorageOptions, is_s3


class Mover:
    """Moves objects from `source` to `target`. Each move may be cut off at any point and done again."""

    def __init__(self, source: Storage, target: Storage, options: StorageOptions) -> None:
        self._source = source
        self._target = target
        self._copy: Callable[[str, str], None] = self._copy_file
        if is_s3(source.uri):
            from streaming_app.storage.s3_client import client  # noqa: PLC0415 - boto3 takes 0.3 s to import

            self._client: Any = client(options)
            self._options = options
            self._copy = self._copy_object

    def move(self, info: ObjectInfo) -> str:
        """Move one object as it was described; returns its new key, `<key>` or `<key>~<etag>` when that is taken."""
        key = info.key
        if not self._is_copy(info, key):
            if self._target.info(key) is not None:
                key = f"{key}~{info.etag}"
            if self._target.info(key) is None:
                self._copy(info.key, key)
        self._source.delete([info.key])
        return key

    def _is_copy(self, info: ObjectInfo, key: str) -> bool:
        """Whether an earlier try got as far as the copy: a copied file keeps its time, a copied object its tag."""
        there = self._target.info(key)
        return there is not None and (there.size, there.etag) == (info.size, info.etag)

    def _copy_file(self, key: str, target_key: str) -> None:
        source, target = Path(self._source.uri, key), Path(self._target.uri, target_key)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except FileExistsError:
            return
        except OSError:  # another file system, or one without links
            self._copy_across(source, target)

    @staticmethod
    def _copy_across(source: Path, target: Path) -> None:
        temporary = target.with_name(f".tmp-{uuid.uuid4().hex}")
        shutil.copy2(source, temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        try:
            with suppress(FileExistsError):
                os.link(temporary, target)
        finally:
            temporary.unlink()

    def _copy_object(self, key: str, target_key: str) -> None:
        source = dict(zip(("Bucket", "Key"), _place(self._source.uri, key), strict=True))
        bucket, place = _place(self._target.uri, target_key)
        # Tags stay behind: copying them takes two more permissions, and S3 does not for a copy in parts.
        extra = {"TaggingDirective": "REPLACE"}
        extra |= {"RequestPayer": "requester"} if self._options.requester_pays else {}
        if self._options.sse_kms_key_id:
            extra |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self._options.sse_kms_key_id}
        self._client.copy(source, bucket, place, ExtraArgs=extra)  # in parts above 8 MiB, inside S3


def _place(uri: str, key: str) -> tuple[str, str]:
    parts = urlsplit(uri)
    return parts.netloc, f"{parts.path.strip('/')}/{key}".lstrip("/")
