"""Positions per shard as one JSON document: what `positions` prints, and what a new checkpoint can begin with.

    {"stream": "pos-orders",
     "shards": {"shardId-000000000002": "AFTER:4957..."},
     "finished": {"shardId-000000000001": "AFTER:4955..."},
     "as_of": "2026-03-01T00:00:00.000Z",
     "default": "TRIM_HORIZON"}

`shards` is where to go on in each shard: AFTER:<sequence number> (what follows that record), AT:<sequence number> (that
record and what follows), TRIM_HORIZON, LATEST, or AT_TIMESTAMP:<ISO 8601 time>. `finished` are shards that were read to
their end: their children begin at once. `stream` and `default` may be left out; `default` is for shards of the stream
that are neither named nor related to a named one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

_KEYS: Final = ("stream", "shards", "finished", "as_of", "default")
_SHARD: Final = re.compile(r"[a-zA-Z0-9_.-]{1,128}")  # GetShardIterator's ShardId
_SEQUENCE: Final = re.compile(r"(?:AT|AFTER):(?:0|[1-9]\d{0,128})")
_KINDS: Final = {"TRIM_HORIZON": "TRIM_HORIZON", "EARLIEST": "TRIM_HORIZON", "LATEST": "LATEST"}
_FORMS: Final = "AFTER:<sequence number>, AT:<sequence number>, TRIM_HORIZON, LATEST or AT_TIMESTAMP:<ISO 8601 time>"


@dataclass(frozen=True)
class StartPositions:
    """The document, checked. Positions and `as_of` (UTC) are in their canonical form."""

    shards: Mapping[str, str]
    finished: Mapping[str, str] = field(default_factory=dict)
    stream: str = ""
    default: str = ""
    as_of: str = ""

    @classmethod
    def from_json(cls, value: Any) -> StartPositions:
        """Raises ValueError that says what is wrong, for anything that is not such a document."""
        if not isinstance(value, Mapping):
            raise ValueError("positions are one JSON object with `shards`; `positions --config FILE` prints one")  # noqa: TRY004 - pydantic collects ValueErrors
        unknown = [str(key) for key in value if key not in _KEYS]
        if unknown:
            raise ValueError(f"unknown key {', '.join(unknown)}; known are {', '.join(_KEYS)}")
        made = cls(
            shards=_positions(value, "shards"),
            finished=_positions(value, "finished"),
            stream=_text(value, "stream"),
            default=_default(value),
            as_of=_as_of(value),
        )
        both = sorted(made.shards.keys() & made.finished.keys())
        if both:
            raise ValueError(f"{', '.join(both)}: a shard is either in `shards` or in `finished`")
        if not (made.shards or made.finished or made.default):
            raise ValueError("names no shard and no default")
        return made

    @classmethod
    def from_text(cls, text: str) -> StartPositions:
        """The inverse of `to_text`; raises ValueError."""
        try:
            value = json.loads(text)
        except ValueError as error:
            raise ValueError(f"is no JSON: {error}") from None
        return cls.from_json(value)

    def to_json(self) -> dict[str, Any]:
        """The document; what is empty and may be left out is left out."""
        document: dict[str, Any] = {"stream": self.stream} if self.stream else {}
        document |= {"shards": dict(sorted(self.shards.items())), "finished": dict(sorted(self.finished.items()))}
        document |= {"as_of": self.as_of} if self.as_of else {}
        return document | ({"default": self.default} if self.default else {})

    def to_text(self) -> str:
        """One line of JSON, the same for the same positions."""
        return json.dumps(self.to_json())


def stream_name(stream: str) -> str:
    """The name of a stream that is given by name or ARN."""
    return stream.rpartition("/")[2]


def parse_position(value: Any) -> str:
    """One position in its canonical form. Raises ValueError."""
    text = value.strip() if isinstance(value, str) else ""
    if _SEQUENCE.fullmatch(text):
        return text
    kind, separator, moment = text.replace(" ", ":", 1).partition(":")
    if kind.upper() in _KINDS and not separator:
        return _KINDS[kind.upper()]
    if kind.upper() == "AT_TIMESTAMP" and moment:
        begin = _moment(moment.strip())
        refuse_future(datetime.fromisoformat(begin))
        return f"AT_TIMESTAMP:{begin}"
    raise ValueError(f"{value!r} is no position; write {_FORMS}")


def refuse_future(moment: datetime, now: datetime | None = None) -> None:
    """Raises ValueError for a moment that has not been: Kinesis refuses it at each read, and a start counts once."""
    if moment > (now or datetime.now(UTC)):
        raise ValueError(
            f"AT_TIMESTAMP {moment.isoformat()} lies in the future: Kinesis begins at no moment that has not been; use LATEST,"
            " or start then"
        )


def _moment(text: str) -> str:
    """As `sources.kinesis.positions.at_timestamp` writes it: UTC, milliseconds, which is what Kinesis knows."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no ISO 8601 time; write for example 2026-03-01T00:00:00Z") from None
    aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _positions(value: Mapping[str, Any], key: str) -> dict[str, str]:
    given = value.get(key)
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ValueError(f"{key}: should be an object of shard ids and positions")  # noqa: TRY004 - see from_json
    found = {}
    for shard, position in given.items():
        if not isinstance(shard, str) or not _SHARD.fullmatch(shard):
            raise ValueError(f"{key}: {shard!r} is no shard id")
        try:
            found[shard] = parse_position(position)
        except ValueError as error:
            raise ValueError(f"{key}: {shard}: {error}") from None
    return found


def _text(value: Mapping[str, Any], key: str) -> str:
    text = value.get(key)
    if text is not None and not isinstance(text, str):
        raise ValueError(f"{key}: should be a text")
    return text or ""


def _as_of(value: Mapping[str, Any]) -> str:
    text = _text(value, "as_of")
    try:
        return _moment(text) if text else ""
    except ValueError as error:
        raise ValueError(f"as_of: {error}") from None


def _default(value: Mapping[str, Any]) -> str:
    default = value.get("default")
    if default is None:
        return ""
    position = parse_position(default)
    if _SEQUENCE.fullmatch(position):
        raise ValueError("default: a sequence number is one shard's; use TRIM_HORIZON, LATEST or AT_TIMESTAMP:<time>")
    return position
