"""What the product needs of a place that keeps bytes: a local folder or an S3 prefix.

Both kinds hold the same promises, and one contract test suite runs over both (tests/integration/test_storage.py):

- `put_if_absent` is atomic: of any number of callers exactly one gets True, and a reader sees all of the bytes or none.
- A file begun with `stage` is invisible until `publish`, which is idempotent; `discard` is too.
- Keys are relative to the root, separated by `/`. The name of a staged file holds `-<owner>-`, for example
  `part-kinesis-<uuid>.parquet`: by it S3 tells whose upload an orphan is.
- What is wrong with the place raises ConfigError (no such bucket, no credentials) or SinkError, which say what to do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, BinaryIO, Final, Protocol

from streaming_app.errors import SinkError

_OPTION_PREFIX: Final = "storage."
_OWNER: Final = re.compile(r"[A-Za-z0-9_]+(-[A-Za-z0-9_]+)*")


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
        return {
            f"{_OPTION_PREFIX}{name}": str(value).lower() if isinstance(value, bool) else value
            for name, value in asdict(self).items()
            if value
        }

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

    def published_as(self, size: int, uri: str) -> Published:
        """ALREADY, if the published file has our size; raises SinkError when somebody put another one in its place."""
        if size != self.size:
            raise SinkError(
                f"{uri}/{self.key} has {size} bytes where {self.size} were written; somebody replaced it:"
                " restore it, or remove it and its rows are written again"
            )
        return Published.ALREADY


def require_owner(key: str, owner: str) -> None:
    """Raises ValueError unless the file's name holds `-<owner>-`, by which its upload is found again."""
    if not _OWNER.fullmatch(owner):
        raise ValueError(f"{owner!r} is no owner: use letters, digits, _ and single -")
    if f"-{owner}-" not in key.rsplit("/", 1)[-1]:
        raise ValueError(f"{key!r}: the name of a file that is staged must hold -{owner}-")


class Published(StrEnum):
    """What `publish` found."""

    NOW = "now"
    ALREADY = "already"
    GONE = "gone"  # neither the staged nor the published file exists


class ArrowSink:
    """What pyarrow asks of a Python file that it writes to, besides `write`. Only `finish` and `abort` end the file."""

    closed = False

    def flush(self) -> None:
        """Nothing: `finish` makes the file durable."""

    def close(self) -> None:
        """Nothing: whoever began the file finishes or aborts it."""


class StagingFile(Protocol):
    """A file being staged; a plain binary sink for pyarrow (`pyarrow.PythonFile(file, mode="w")`)."""

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
        """A sequential stream of the object's bytes (it may not seek); raises FileNotFoundError."""
        ...

    def copy(self, key: str, to: str) -> None:
        """Make the object visible under another key too, whole, replacing what was there; raises FileNotFoundError."""
        ...

    def stage(self, key: str, owner: str) -> StagingFile:
        """Begin an invisible file that will be published as `key`, whose name holds `-<owner>-`.

        `owner` names the source that writes it; raises ValueError when the name does not hold it.
        """
        ...

    def publish(self, staged: StagedFile) -> Published:
        """Make a staged file visible under its key, whole; idempotent.

        Raises SinkError when the key holds a file of another size, which is never ours.
        """
        ...

    def discard(self, staged: StagedFile) -> None:
        """Throw a staged file away; idempotent; never touches a published one."""
        ...

    def staged(self, owner: str, prefixes: Iterable[str]) -> Iterator[StagedFile]:
        """Every staged file of `owner` below the prefixes that was neither published nor discarded.

        For `discard` only: key, size and parts may be missing.
        """
        ...

    def abandoned(self, prefixes: Iterable[str], before: datetime) -> Iterator[StagedFile]:
        """Staged files of any owner, begun before a moment and neither published nor discarded. For `discard` only.

        On S3 those below the prefixes; a local staged file does not know its target, so that all are found.
        """
        ...
