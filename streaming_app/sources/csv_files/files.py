"""What the parts of this source say to each other about a file; all of it survives JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from streaming_app.storage import ObjectInfo

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970, exactly."""
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """The inverse of `to_micros`."""
    return _EPOCH + micros * _MICROSECOND


@dataclass(frozen=True)
class Version:
    """One content of a path, as it was read: `content` is the beginning of its SHA-256 (0: it was never read)."""

    tag: int
    content: int
    size: int
    modified: int  # microseconds since 1970
    epoch: int


@dataclass(frozen=True)
class PlannedFile:
    """One file of an epoch's plan. `previous` is the version that was read of the same path before, if any.

    `problem` names why the file cannot be read at all; its key is then only a description of its name.
    """

    key: str
    size: int
    modified: str
    etag: str
    previous: Version | None = None
    problem: str | None = None

    @classmethod
    def of(cls, info: ObjectInfo, previous: Version | None = None) -> PlannedFile:
        """The plan for a listed file. A name that is not UTF-8 can stand in no position: that is its problem."""
        key = info.key.encode("utf-8", "backslashreplace").decode()
        problem = None if key == info.key else "bad_file_name"
        return cls(key, info.size, info.modified.isoformat(), info.etag, previous, problem)

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` reads back."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> PlannedFile:
        """The inverse of `to_json`."""
        previous = value.get("previous")
        return cls(**{**value, "previous": Version(**previous) if previous else None})
