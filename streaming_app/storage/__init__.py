"""Bytes in a local folder or an S3 prefix, behind one small protocol."""

from __future__ import annotations

import posixpath
from pathlib import Path
from urllib.parse import unquote, urlsplit

from streaming_app.errors import ConfigError
from streaming_app.storage.base import ObjectInfo, Published, StagedFile, StagingFile, Storage, StorageOptions
from streaming_app.storage.local import LocalStorage

__all__ = [
    "ObjectInfo",
    "Published",
    "StagedFile",
    "StagingFile",
    "Storage",
    "StorageOptions",
    "beside",
    "is_s3",
    "open_storage",
    "plain_path",
]


def is_s3(uri: str) -> bool:
    """Whether the place is on S3 (s3:// or s3a://, which mean the same here)."""
    return uri.startswith(("s3://", "s3a://"))


def beside(file: str, name: str) -> str:
    """Where `name` is that the file names: a whole place stays, any other is relative to the file, on S3 as well."""
    if is_s3(name) or not is_s3(file):
        return name if is_s3(name) else str(Path(file).parent / name)
    bucket, _, key = file.partition("://")[2].partition("/")
    path = posixpath.normpath(posixpath.join("/", posixpath.dirname(key), name))
    return f"s3://{bucket}{path}"


def open_storage(uri: str, options: StorageOptions | None = None) -> Storage:
    """The storage at `uri`: `s3://bucket/prefix`, `file:///folder` or a folder's path; raises ConfigError."""
    if is_s3(uri):
        from streaming_app.storage.s3 import S3Storage  # noqa: PLC0415 - boto3 takes 0.3 s to import

        return S3Storage(uri, options or StorageOptions())
    return LocalStorage(plain_path(uri))


def plain_path(uri: str) -> str:
    """The path of a local place: of a file:// address, or as it is; raises ConfigError for any other address."""
    if uri.startswith("file:"):
        return unquote(urlsplit(uri).path)
    if "://" in uri or not uri:
        raise ConfigError(f"{uri!r} is no place for data; write a folder's path or s3://bucket/prefix")
    return uri
