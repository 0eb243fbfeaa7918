"""Where in a shard to read, as the one string that stands in offsets and in the read log.

    TRIM_HORIZON                           the oldest record that is still kept
    AT_TIMESTAMP:2026-03-01T00:00:00.000Z  the first record that arrived then or later
    AT:<sequence number>                   that record and what follows
    AFTER:<sequence number>                what follows that record

LATEST is no position: it would mean something else each time it is used. It is pinned to one of these.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from streaming_app.errors import SourceError

TRIM_HORIZON: Final = "TRIM_HORIZON"
_AT_TIMESTAMP: Final = "AT_TIMESTAMP:"
_AT: Final = "AT:"
_AFTER: Final = "AFTER:"


def at(sequence: str) -> str:
    """The record with this sequence number and what follows."""
    return _AT + sequence


def after(sequence: str) -> str:
    """What follows the record with this sequence number."""
    return _AFTER + sequence


def at_timestamp(moment: datetime) -> str:
    """The first record that arrived at `moment` or later; Kinesis knows milliseconds."""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return _AT_TIMESTAMP + text.replace("+00:00", "Z")


def is_timestamp(position: str) -> bool:
    """Whether nothing was delivered since the source began at a moment of time."""
    return position.startswith(_AT_TIMESTAMP)


def moment_of(position: str) -> float:
    """Seconds since 1970 of a position that `is_timestamp`."""
    return datetime.fromisoformat(position.removeprefix(_AT_TIMESTAMP)).timestamp()


def is_sequence(position: str) -> bool:
    """Whether it names a record's sequence number."""
    return position.startswith((_AT, _AFTER))


def is_at(position: str) -> bool:
    """Whether it names a record that is still to be read."""
    return position.startswith(_AT)


def is_after(position: str) -> bool:
    """Whether the record that it names was read."""
    return position.startswith(_AFTER)


def sequence_of(position: str) -> str:
    """The sequence number that a position of `at` or `after` names."""
    return position.partition(":")[2]


def iterator_arguments(position: str) -> dict[str, Any]:
    """Arguments of GetShardIterator. Raises SourceError for a position that this version does not know."""
    if position == TRIM_HORIZON:
        return {"ShardIteratorType": "TRIM_HORIZON"}
    if position.startswith(_AT_TIMESTAMP):
        moment = datetime.fromisoformat(position.removeprefix(_AT_TIMESTAMP))
        return {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": moment}
    if position.startswith(_AFTER):
        sequence = position.removeprefix(_AFTER)
        return {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": sequence}
    if position.startswith(_AT):
        return {"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": position.removeprefix(_AT)}
    raise SourceError(f"{position!r} is no position in a shard; was this checkpoint written by a newer version?")


def starting_position(position: str) -> dict[str, Any]:
    """StartingPosition of SubscribeToShard. Raises as `iterator_arguments`."""
    names = {"ShardIteratorType": "Type", "StartingSequenceNumber": "SequenceNumber", "Timestamp": "Timestamp"}
    return {names[name]: value for name, value in iterator_arguments(position).items()}


def sequence_after(position: str) -> int | None:
    """The sequence number that the position follows; None for a position of another kind."""
    return int(position.removeprefix(_AFTER)) if position.startswith(_AFTER) else None
