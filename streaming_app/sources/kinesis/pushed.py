"""What SubscribeToShard pushes, event by event, read off its HTTP answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.client import HTTPException
from typing import Any, Final, Protocol

import msgspec
from urllib3.exceptions import HTTPError

from streaming_app.sources.kinesis.event_stream import BrokenStreamError, Message, decode, encode, split
from streaming_app.sources.kinesis.failures import InUseError, NotFoundError, TemporaryError
from streaming_app.sources.kinesis.messages import PUSHED, PushedEvent

_ENDED_BY: Final = {"ResourceInUseException": InUseError, "ResourceNotFoundException": NotFoundError}
_INITIAL: Final = encode(Message({":message-type": "event", ":event-type": "initial-response"}, b"{}"))
_UNREADABLE: Final = (HTTPError, HTTPException, OSError, BrokenStreamError, AttributeError)


class PushedEvents(Protocol):
    """An open subscription, read only as fast as somebody iterates over it."""

    def events(self) -> Iterator[PushedEvent]:
        """Events until Kinesis ends the subscription; raises InUseError (taken over), TemporaryError or NotFoundError."""
        ...

    def close(self) -> None:
        """End it; whoever waits for its next event gets none."""
        ...


class PushedBody:
    """The body of a SubscribeToShard answer; takes the place of the raw body in botocore's hands, too."""

    def __init__(self, raw: Any, decoding: threading.Lock) -> None:
        self._raw, self._decoding = raw, decoding
        self._messages = split(raw.stream())

    def stream(self) -> Iterator[bytes]:
        """What botocore reads before it answers; not every emulator sends it, so it is made here."""
        yield _INITIAL

    def close(self) -> None:
        shutdown = getattr(self._raw, "shutdown", None)  # urllib3 2.3: wakes a reader in another thread
        try:
            if shutdown:
                shutdown()
            self._raw.close()
        except (
            HTTPError,
            OSError,
            ValueError,
            RuntimeError,
        ):  # RuntimeError: it has ended, its connection is free again
            return

    def events(self) -> Iterator[PushedEvent]:
        while (message := self._next()) is not None:
            event = self._event(message)
            if event is not None:
                yield event

    def _next(self) -> bytes | None:
        try:
            return next(self._messages, None)
        except _UNREADABLE as error:  # AttributeError: urllib3 closed the connection while it was read
            raise TemporaryError(f"a subscription broke off: {error!r}") from error

    def _event(self, message: bytes) -> PushedEvent | None:
        try:
            return self._decoded(decode(message))
        except (BrokenStreamError, msgspec.MsgspecError) as error:
            raise TemporaryError(f"a subscription sent what cannot be read: {error}") from error

    def _decoded(self, message: Message) -> PushedEvent | None:
        headers = message.headers
        if headers.get(":message-type") != "event":
            code = headers.get(":exception-type") or headers.get(":error-code") or "unknown error"
            raise _ENDED_BY.get(code, TemporaryError)(f"a subscription was ended by {code}: {message.payload!r:.300}")
        if headers.get(":event-type") != "SubscribeToShardEvent":
            return None
        with self._decoding:
            event = PUSHED.decode(message.payload)
        if event.continuation is None and not event.children:
            raise TemporaryError("a subscription sent an event that is neither a shard's end nor says how to go on")
        return event
