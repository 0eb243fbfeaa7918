"""Enhanced fan-out for `strict_kinesis.py`: consumers and SubscribeToShard by the API reference's rules, with faults.

One subscription to a shard and consumer: within 5 s of the last successful call another is refused, after that it takes
over and the old one ends with ResourceInUseException. It lives 5 minutes. A closed shard's last event has no
ContinuationSequenceNumber, but ChildShards.
"""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32


def header(name: str, value: str) -> bytes:
    return struct.pack(">B", len(name)) + name.encode() + struct.pack(">BH", 7, len(value)) + value.encode()


def framed(headers: bytes, payload: bytes) -> bytes:
    """One message of application/vnd.amazon.eventstream."""
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    whole = prelude + struct.pack(">I", crc32(prelude)) + headers + payload
    return whole + struct.pack(">I", crc32(whole))


def event(kind: str, body: dict[str, Any]) -> bytes:
    headers = header(":event-type", kind) + header(":content-type", "application/json")
    return framed(headers + header(":message-type", "event"), json.dumps(body).encode())


def exception(code: str) -> bytes:
    headers = header(":exception-type", code) + header(":content-type", "application/json")
    return framed(headers + header(":message-type", "exception"), json.dumps({"message": "injected"}).encode())


@dataclass
class Consumer:
    arn: str
    active_at: float
    gone_at: float | None = None


@dataclass
class Subscribers:
    """Who subscribes to what; `wait` lets time pass in the thread of a connection."""

    consumers: dict[str, Consumer] = field(default_factory=dict)
    begun: dict[tuple[str, str], float] = field(default_factory=dict)
    holder: dict[tuple[str, str], object] = field(default_factory=dict)
    stopping: threading.Event = field(default_factory=threading.Event)
    silent: bool = False  # nothing is pushed

    def wait(self) -> bool:
        """Whether all is over."""
        while not (over := self.stopping.wait(0.01)) and self.silent:
            pass
        return over


def pushed(
    subscribers: Subscribers,
    key: tuple[str, str],
    me: object,
    next_event: Callable[[], tuple[dict[str, Any] | None, str]],
) -> Iterator[bytes]:
    """Messages of one subscription. `next_event`: an event if one is due, and how the subscription goes on."""
    yield event("initial-response", {})
    while not subscribers.wait():
        if subscribers.holder.get(key) is not me:
            yield exception("ResourceInUseException")
            return
        body, after = next_event()
        if body is not None:
            yield event("SubscribeToShardEvent", body)
        if after.endswith("Exception"):
            yield exception(after)
        if after:
            return
