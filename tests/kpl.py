"""Aggregated records as the Kinesis Producer Library writes them (its aggregation-format.md), for tests to send."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import md5

MAGIC = b"\xf3\x89\x9a\xc2"


@dataclass(frozen=True)
class UserRecord:
    key: str
    data: bytes
    hash_key: str | None = None
    tags: tuple[tuple[str, str], ...] = ()


@dataclass
class Table:
    """Texts, each once, and their places."""

    places: dict[str, int] = field(default_factory=dict)

    def place(self, text: str) -> int:
        return self.places.setdefault(text, len(self.places))


def varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def number(field_number: int, value: int) -> bytes:
    return varint(field_number << 3) + varint(value)


def text(field_number: int, value: bytes) -> bytes:
    return varint(field_number << 3 | 2) + varint(len(value)) + value


def signed(message: bytes) -> bytes:
    """A message with everything around it that makes it an aggregate."""
    return MAGIC + message + md5(message).digest()  # noqa: S324 - the format's own


def message(records: Iterable[UserRecord]) -> bytes:
    keys, hash_keys, bodies = Table(), Table(), []
    for record in records:
        body = number(1, keys.place(record.key))
        if record.hash_key is not None:
            body += number(2, hash_keys.place(record.hash_key))
        body += text(3, record.data)
        for name, value in record.tags:
            body += text(4, text(1, name.encode()) + text(2, value.encode()))
        bodies.append(text(3, body))
    tables = [text(1, key.encode()) for key in keys.places] + [text(2, key.encode()) for key in hash_keys.places]
    return b"".join([*tables, *bodies])


def aggregate(records: Iterable[UserRecord]) -> bytes:
    """One Kinesis record's data."""
    return signed(message(records))


def of(*events: bytes, key: str = "k") -> bytes:
    """An aggregate of events that all have the same partition key."""
    return aggregate(UserRecord(key, event) for event in events)
