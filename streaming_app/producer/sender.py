"""Events to Kinesis with PutRecords, the failed ones again until they are accepted.

Guarantee: every event is either accepted by Kinesis or counted as failed, with the last error. An event whose answer was
lost on the way is sent again and can be there twice, as with every Kinesis producer. Order: events of one partition key
are put one request after another, the next only once the one before was accepted (or given up), because a request that
holds two of a key could have its first refused and its second accepted (AWS: "PutRecords doesn't guarantee the ordering
of records").
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Protocol

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ParamValidationError

from streaming_app.errors import ConfigError
from streaming_app.producer.events import Event

MAX_RECORDS: Final = 500  # per PutRecords request (AWS API reference)
MAX_BYTES: Final = 5 << 20  # per PutRecords request, partition keys included (AWS API reference)
FIRST_BACKOFF: Final = 0.1  # seconds
MAX_BACKOFF: Final = 5.0  # seconds
_FATAL: Final = {
    "ResourceNotFoundException": "create the stream, or name another with --stream",
    "AccessDeniedException": "give this identity kinesis:PutRecords on the stream",
    "UnrecognizedClientException": "check the credentials and the region",
    "InvalidSignatureException": "check the credentials and the machine's clock",
    "ExpiredTokenException": "renew the credentials",
    "ValidationException": "check the stream's name",
    "InvalidArgumentException": "check the stream's name and the events' size",
}


class PutRecordsClient(Protocol):
    """The part of boto3's Kinesis client that is needed here."""

    def put_records(self, *, StreamName: str, Records: Any) -> Any:  # noqa: N803 - boto3's names
        """One PutRecords call."""


@dataclass
class Sent:
    """What became of the events so far."""

    accepted: int = 0
    failed: int = 0
    retried: int = 0
    requests: int = 0
    accepted_by_kind: Counter[str] = field(default_factory=Counter)
    failed_by_kind: Counter[str] = field(default_factory=Counter)
    last_error: str = ""


class Sender:
    """Sends batches of events; `sent` counts what became of each."""

    def __init__(
        self,
        client: PutRecordsClient,
        stream: str,
        *,
        retry_for: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
        on_accepted: Callable[[Event, str], None] | None = None,
    ) -> None:
        """`retry_for` is how many seconds one request's events are tried; `on_accepted` gets `shardId:sequenceNumber`."""
        self.sent = Sent()
        self._client = client
        self._stream = stream
        self._retry_for = retry_for
        self._sleep = sleep
        self._now = now
        self._on_accepted = on_accepted
        self._jitter = Random()

    def send(self, batch: Sequence[Event], stop: Callable[[], bool] = lambda: False) -> None:
        """Send all of it, in order per partition key; returns once each event was accepted or counted as failed.

        When `stop()` becomes true what was refused is not tried again, and what was not yet tried is tried once.
        Raises ConfigError for what no retry can heal (no such stream, no permission, no credentials).
        """
        for request in requests(batch):
            self._send_request(request, stop)

    def _send_request(self, pending: list[Event], stop: Callable[[], bool]) -> None:
        deadline = self._now() + self._retry_for
        backoff = FIRST_BACKOFF
        while pending := self._put(pending):
            if stop() or self._now() >= deadline:
                return self._give_up(pending)
            self._sleep(self._jitter.uniform(backoff / 2, backoff))
            backoff = min(backoff * 2, MAX_BACKOFF)
            self.sent.retried += len(pending)
        return None

    def _put(self, pending: list[Event]) -> list[Event]:
        """One call; the events it did not accept, in their order."""
        records = [{"Data": event.payload, "PartitionKey": event.partition_key} for event in pending]
        self.sent.requests += 1
        try:
            answers = self._client.put_records(StreamName=self._stream, Records=records)["Records"]
        except (ClientError, BotoCoreError) as error:
            self.sent.last_error = _explain_or_raise(error, self._stream)
            return pending
        return [event for event, answer in zip(pending, answers, strict=True) if not self._accepted(event, answer)]

    def _accepted(self, event: Event, answer: dict[str, Any]) -> bool:
        if answer.get("ErrorCode"):
            self.sent.last_error = f"{answer['ErrorCode']}: {answer.get('ErrorMessage', '')}".rstrip(": ")
            return False
        self.sent.accepted += 1
        self.sent.accepted_by_kind[event.kind] += 1
        if self._on_accepted:
            self._on_accepted(event, f"{answer['ShardId']}:{answer['SequenceNumber']}")
        return True

    def _give_up(self, pending: list[Event]) -> None:
        self.sent.failed += len(pending)
        self.sent.failed_by_kind.update(event.kind for event in pending)


def _explain_or_raise(error: ClientError | BotoCoreError, stream: str) -> str:
    """One line about a failed call that may be tried again; ConfigError when trying again cannot help."""
    if isinstance(error, ClientError):
        code = error.response.get("Error", {}).get("Code", "")
        if code in _FATAL:
            raise ConfigError(f"stream {stream!r}: {error}; {_FATAL[code]}") from error
    if isinstance(error, (NoCredentialsError, ParamValidationError)):
        raise ConfigError(f"stream {stream!r}: {error}") from error
    return str(error)


def requests(batch: Iterable[Event]) -> Iterator[list[Event]]:
    """The batch as requests within Kinesis's limits, no partition key twice in one, order kept per key."""
    for round_ in _rounds(batch):
        yield from _within_limits(round_)


def _rounds(batch: Iterable[Event]) -> list[list[Event]]:
    """The n-th event of every key, for n = 1, 2, ..."""
    seen: Counter[str] = Counter()
    rounds: defaultdict[int, list[Event]] = defaultdict(list)
    for event in batch:
        rounds[seen[event.partition_key]].append(event)
        seen[event.partition_key] += 1
    return [rounds[number] for number in sorted(rounds)]


def _within_limits(batch: Iterable[Event]) -> Iterator[list[Event]]:
    request: list[Event] = []
    size = 0
    for event in batch:
        weight = len(event.payload) + len(event.partition_key.encode())
        if request and (len(request) == MAX_RECORDS or size + weight > MAX_BYTES):
            yield request
            request, size = [], 0
        request.append(event)
        size += weight
    if request:
        yield request
