"""What the product needs of a place that keeps bytes: a local folder or an S3 prefix.

Both kinds hold the same promises, and one contract test suite runs over both (tests/integration/test_storage.py):

- `put_if_absent` is atomic: of any number of callers exactly one gets True, and a reader sees all of the bytes or none.
- A file begun with `stage` is invisible until `publish`, which is idempotent; `discard` is too.
- Keys are relative to the root, separated by `/`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, BinaryIO, Final, Protocol

_OPTION_PREFIX: Final = "storage."


@dataclass(frozen=True)
class StorageOptions:
    """How to reach S3; a local folder ignores it. Credentials come from boto3's default chain, never from here."""

    endpoint_url: str = ""
    region: str = ""
    path_style: bool = False
    sse_kms_key_id: str = ""
    requester_pays: bool = False

    def to_options(self) -> dict[str, str]:
        """As options of a Spark data source, all strings."""
        return {f"{_OPTION_PREFIX}{name}": str(value).lower() if isinstance(value, bool) else value
                for name, value in asdict(self).items() if value}

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> StorageOptions:
        """The inverse of `to_options`; unknown keys are not ours."""
        def text(name: str) -> str:
            return options.get(_OPTION_PREFIX + name, "")

        return cls(
            endpoint_url=text("endpoint_url"),
            region=text("region"),
            path_style=text("path_style") == "true",
            sse_kms_key_id=text("sse_kms_key_id"),
            requester_pays=text("requester_pays") == "true",
        )


@dataclass(frozen=True)
class ObjectInfo:
    """One stored object: key below the root, bytes, time of last change (UTC), and a tag that changes with the content."""

    key: str
    size: int
    modified: datetime
    etag: str


@dataclass(frozen=True)
class StagedFile:
    """A finished but invisible file. `handle` is what `publish` and `discard` need; it survives JSON."""

    key: str
    size: int
    handle: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` reads back."""
        return {"key": self.key, "size": self.size, "handle": self.handle}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> StagedFile:
        """The inverse of `to_json`."""
        return cls(value["key"], value["size"], dict(value["handle"]))


class Published(StrEnum):
    """What `publish` found."""

    NOW = "now"
    ALREADY = "already"
    GONE = "gone"  # neither the staged nor the published file exists


class StagingFile(Protocol):
    """A file being staged; a plain binary sink for pyarrow."""

    def write(self, data: bytes) -> int:
        """Append bytes."""
        ...

    def finish(self) -> StagedFile:
        """End the file: durable, still invisible."""
        ...

    def abort(self) -> None:
        """Throw it away."""
        ...


class Storage(Protocol):
    """A folder or an S3 prefix."""

    @property
    def uri(self) -> str:
        """Where the root is, as configured."""
        ...

    def get(self, key: str) -> bytes | None:
        """The object's bytes, or None when there is none."""
        ...

    def put(self, key: str, data: bytes) -> None:
        """Write or replace atomically."""
        ...

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write unless the key exists; True when this call wrote it."""
        ...

    def delete(self, keys: Iterable[str]) -> None:
        """Remove; keys that do not exist are fine."""
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects below the folder `prefix` ("" is the root), at any depth, in order of key."""
        ...

    def info(self, key: str) -> ObjectInfo | None:
        """Size, time and tag of one object, or None."""
        ...

    def open(self, key: str) -> BinaryIO:
        """A sequential stream of the object's bytes; raises FileNotFoundError."""
        ...

    def stage(self, key: str, owner: str) -> StagingFile:
        """Begin an invisible file that will be published as `key`; `owner` names the source that writes it."""
        ...

    def publish(self, staged: StagedFile) -> Published:
        """Make a staged file visible under its key, whole; idempotent."""
        ...

    def discard(self, staged: StagedFile) -> None:
        """Throw a staged file away; idempotent; never touches a published one."""
        ...

    def staged(self, owner: str, prefixes: Iterable[str]) -> Iterator[StagedFile]:
        """Every staged file of `owner` below the prefixes that was neither published nor discarded."""
        ...
