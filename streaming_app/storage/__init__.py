"""Bytes in a local folder or an S3 prefix, behind one small protocol."""

from __future__ import annotations

from streaming_app.storage.base import ObjectInfo, Published, StagedFile, StagingFile, Storage, StorageOptions
from streaming_app.storage.local import LocalStorage

__all__ = ["ObjectInfo", "Published", "StagedFile", "StagingFile", "Storage", "StorageOptions", "is_s3", "open_storage"]


def is_s3(uri: str) -> bool:
    """Whether the place is on S3 (s3:// or s3a://, which mean the same here)."""
    return uri.startswith(("s3://", "s3a://"))


def open_storage(uri: str, options: StorageOptions | None = None) -> Storage:
    """The storage at `uri`: `s3://bucket/prefix`, `file:///folder` or a folder's path."""
    if is_s3(uri):
        from streaming_app.storage.s3 import S3Storage  # noqa: PLC0415 - boto3 takes 0.3 s to import

        return S3Storage(uri, options or StorageOptions())
    return LocalStorage(uri.removeprefix("file://"))
