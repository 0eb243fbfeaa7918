"""Aggregated records of the Kinesis Producer Library (KPL): one Kinesis record that holds many, taken apart. Pure.

    F3 89 9A C2 | protobuf AggregatedRecord | MD5 of the protobuf, 16 bytes

    AggregatedRecord { repeated string partition_key_table = 1; repeated string explicit_hash_key_table = 2;
                       repeated Record records = 3; }
    Record           { required uint64 partition_key_index = 1; optional uint64 explicit_hash_key_index = 2;
                       required bytes data = 3; repeated Tag tags = 4; }

The format is the KPL's own document aggregation-format.md. What is not exactly that is no aggregate and stays one plain
record, as in the Kinesis Client Library (KCL): wrong MD5, broken protobuf, an index without an entry, no record at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import md5
from itertools import islice
from typing import Final, NamedTuple

from streaming_app.sources.kinesis.messages import HashRange, Record

MAGIC: Final = b"\xf3\x89\x9a\xc2"
MOST_ROWS: Final = 10_000  # of one piece: an aggregate of 1 MiB can hold 170,000 empty records
_DIGEST_BYTES: Final = 16
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_VARINT_BITS: Final = 64
_MORE: Final = 0x80  # the bit of a byte that says that the number goes on
_KEY_INDEX, _DATA = b"\x08", b"\x1a"  # the tags of fields 1 and 3 of a Record
_LONGEST_KEY: Final = 256  # characters of a partition key, by the API reference
_HASH_DIGITS: Final = 39  # of 2**128 - 1
_HASH_KEYS: Final = 1 << 128


class Part(NamedTuple):
    """One record of an aggregate; `hash_key` decides which shard it belongs to."""

    key: str
    explicit_hash_key: int | None
    data: bytes

    @property
    def hash_key(self) -> int:
        """The explicit hash key, else the partition key's own."""
        return hash_key_of(self.key) if self.explicit_hash_key is None else self.explicit_hash_key


class Rows(NamedTuple):
    """Records as they are delivered. `subs`: each one's number in its aggregate, None for a record of its own.

    No `subs` at all: none of these records came out of an aggregate.
    """

    records: Sequence[Record]
    subs: Sequence[int | None] | None = None


class Deaggregation:
    """Takes the aggregates of one read apart and counts what it found.

    Parts that belong to another shard's hash keys are left out: the KPL sends them again, to the right shard, when it
    finds that an aggregate went astray in a resharding (`Wrong Shard`). Without a range nothing is left out.
    """

    def __init__(self, hash_range: HashRange | None) -> None:
        self.hash_range = hash_range
        self.aggregates = 0
        self.dropped = 0

    def rows(self, records: list[Record]) -> Iterator[Rows]:
        """The records of one page in their order, in pieces of `MOST_ROWS` at most where there are aggregates."""
        if MAGIC not in [record.data[: len(MAGIC)] for record in records]:  # what plain records pay: 0.07 microseconds
            yield Rows(records)
            return
        pairs = self._pairs(records)
        while piece := list(islice(pairs, MOST_ROWS)):
            found, subs = zip(*piece, strict=True)
            yield Rows(found, subs)

    def _pairs(self, records: list[Record]) -> Iterator[tuple[Record, int | None]]:
        for record in records:
            parts = parts_of(record.data)
            if parts is None:
                yield record, None
                continue
            self.aggregates += 1
            for number, part in enumerate(parts):
                if self._belongs_here(part):
                    yield Record(part.data, part.key, record.sequence, record.arrival), number

    def _belongs_here(self, part: Part) -> bool:
        if self.hash_range is None or part.hash_key in self.hash_range:
            return True
        self.dropped += 1
        return False


def parts_of(data: bytes) -> list[Part] | None:
    """The records of an aggregate in their order; None for data that are no aggregate. Never raises."""
    if not data.startswith(MAGIC):
        return None
    message, digest = data[len(MAGIC) : -_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if md5(message, usedforsecurity=False).digest() != digest:
        return None
    try:
        return _parts(message) or None
    except (ValueError, IndexError):  # what _parts raises for anything that is no AggregatedRecord
        return None


@lru_cache(maxsize=10_000)
def hash_key_of(partition_key: str) -> int:
    """Where Kinesis puts a partition key: its MD5 as a number of 128 bits."""
    return int.from_bytes(md5(partition_key.encode(), usedforsecurity=False).digest(), "big")


def _parts(message: bytes) -> list[Part]:
    keys: list[str] = []
    hash_keys: list[int] = []
    bodies: list[bytes] = []
    for number, value in _fields(message):
        if number == 1:
            keys.append(_partition_key(_bytes(value)))
        elif number == 2:  # noqa: PLR2004 - field numbers of the format
            hash_keys.append(_hash_key(_bytes(value)))
        elif number == 3:  # noqa: PLR2004
            bodies.append(_bytes(value))
    return [_part(body, keys, hash_keys) for body in bodies]


def _part(body: bytes, keys: list[str], hash_keys: list[int]) -> Part:
    if body[:1] == _KEY_INDEX and body[2:3] == _DATA and body[1] < _MORE:  # what nearly all look like: half the time
        size, place = _varint(body, 3)
        if place + size == len(body):
            return Part(keys[body[1]], None, body[place:])
    fields = dict(_fields(body))  # the last one counts, as in every protobuf parser; tags (4) are not delivered
    key, explicit, data = fields.get(1), fields.get(2), fields.get(3)
    if key is None or data is None:
        raise ValueError("a required field is missing")
    return Part(keys[_number(key)], None if explicit is None else hash_keys[_number(explicit)], _bytes(data))


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and values. Raises ValueError or IndexError where the message is broken."""
    place, end = 0, len(message)
    while place < end:
        tag, place = _varint(message, place)
        kind, value = tag & 7, b""
        if kind == _VARINT:
            number, place = _varint(message, place)
            yield tag >> 3, number
            continue
        if kind == _LENGTH:
            size, place = _varint(message, place)
        elif kind in {_FIXED64, _FIXED32}:
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError("a group, or no wire type at all")
        value = message[place : place + size]
        place += size
        if place > end:
            raise ValueError("a length that leads beyond the end")
        yield tag >> 3, value


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """A number and the place after it; IndexError at the end of the message, ValueError beyond 64 bits."""
    byte = message[place]
    if byte < _MORE:
        return byte, place + 1
    value, shift = byte & 0x7F, 7
    while byte & _MORE:
        place += 1
        byte = message[place]
        value |= (byte & 0x7F) << shift
        shift += 7
        if shift > _VARINT_BITS + 6:
            raise ValueError("a number of more than ten bytes")
    return value, place + 1


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where bytes should be")  # noqa: TRY004 - data, not code
    return value


def _number(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise ValueError("bytes where a number should be")  # noqa: TRY004 - data, not code
    return value


def _partition_key(value: bytes) -> str:
    text = value.decode()
    if len(text) > _LONGEST_KEY:
        raise ValueError("longer than any partition key: repeated in each row it would fill the memory")
    return text


def _hash_key(value: bytes) -> int:
    if not (value.isdigit() and len(value) <= _HASH_DIGITS and int(value) < _HASH_KEYS):
        raise ValueError("no number of 128 bits")
    return int(value)
