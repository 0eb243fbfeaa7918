"""The live producer: events at a steady rate to a Kinesis stream, and an honest count at the end."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from streaming_app.errors import ConfigError
from streaming_app.producer.events import DEAD_KINDS, Event, Mix, events
from streaming_app.producer.orders import Pace
from streaming_app.producer.sender import PutRecordsClient, Sender

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

MAX_WAIT: Final = 0.1  # seconds between two looks at `stop()`
MAX_BATCH: Final = 2000  # events between two looks at `stop()`
UNPACED: Final = Pace(0.001)  # order times of a run without a rate


@dataclass(frozen=True)
class ProduceOptions:
    """What to send and where. Raises ConfigError when made with values that cannot be used.

    `rate` is events a second, 0 sends as fast as Kinesis takes them; `count` None goes on until stopped; `seed` None
    takes a new one (the report says which); `start` None is now. `variant_ratio` is the share of good events in unusual
    dress (amounts as strings, unknown fields). With `daily_peaks` the rate is a day's mean: more comes at breakfast, lunch
    and after work, nearly nothing at night. An event is sent when its order_ts has come, counted from the start.
    """

    stream: str
    region: str = ""
    endpoint_url: str = ""
    rate: float = 2.0
    count: int | None = None
    bad_ratio: float = 0.05
    variant_ratio: float = 0.05
    bad_kinds: tuple[str, ...] = DEAD_KINDS
    seed: int | None = None
    start: datetime | None = None
    daily_peaks: bool = False
    retry_for: float = 60.0

    def __post_init__(self) -> None:
        if not self.stream:
            raise ConfigError("name the stream to send to")
        if self.rate < 0 or self.rate > 1_000_000:  # noqa: PLR2004 - also catches infinity
            raise ConfigError(f"the rate is {self.rate} events a second; give a number from 0 (no limit) to 1000000")
        if self.count is not None and self.count < 0:
            raise ConfigError(f"the count is {self.count}; give 0 or more, or leave it out")
        if self.start is not None and self.start.tzinfo is None:
            raise ConfigError(f"the start time {self.start.isoformat()} has no time zone; add Z for UTC")
        _ = self.mix

    @property
    def mix(self) -> Mix:
        """The shares of bad and unusual events."""
        return Mix(self.bad_ratio, self.variant_ratio, self.bad_kinds)


@dataclass(frozen=True)
class ProduceReport:
    """What was sent: `sent + failed` is every event that was made, nothing is dropped silently."""

    seed: int
    start: datetime
    sent: int
    failed: int
    sent_clean: int
    sent_dead: int
    sent_by_kind: dict[str, int]
    failed_by_kind: dict[str, int]
    retried: int
    seconds: float
    last_error: str

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self) | {"start": self.start.isoformat()}


def produce(
    options: ProduceOptions,
    stop: Callable[[], bool],
    *,
    client: PutRecordsClient | None = None,
    on_accepted: Callable[[Event, str], None] | None = None,
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> ProduceReport:
    """Send events until `count` of them are sent or `stop()` is true; see `sender` for guarantee and order.

    Args:
        options: What to send and where.
        stop: Looked at about ten times a second.
        client: A Kinesis client of the caller's; by default one is made from the options and boto3's usual chain.
        on_accepted: Called for each accepted event with its position, `shardId:sequenceNumber`.
        sleep: Another way to wait, with `now` the clock to it, in seconds.
        now: A clock that never goes back.

    Raises:
        ConfigError: The stream, region or credentials cannot be used.
    """
    seed = secrets.randbits(32) if options.seed is None else options.seed
    start = datetime.now(UTC) if options.start is None else options.start
    sender = Sender(
        client or _client(options),
        options.stream,
        retry_for=options.retry_for,
        sleep=sleep,
        now=now,
        on_accepted=on_accepted,
    )
    made = _events(options, seed, start)
    began = now()
    for batch in _paced(made, options, stop, sleep, now):
        sender.send(batch, stop)
    return _report(sender, seed, start, now() - began)


def _client(options: ProduceOptions) -> KinesisClient:
    """Retries are the sender's own: boto3's would repeat whole requests."""
    config = Config(connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 1})
    try:
        return boto3.client(
            "kinesis", region_name=options.region or None, endpoint_url=options.endpoint_url or None, config=config
        )
    except (BotoCoreError, ValueError) as error:
        raise ConfigError(f"no Kinesis client for stream {options.stream!r}: {error}") from error


def _events(options: ProduceOptions, seed: int, start: datetime) -> Iterator[Event]:
    pace = Pace(1 / options.rate, options.daily_peaks) if options.rate else UNPACED
    return events(seed, start=start, count=options.count, pace=pace, mix=options.mix)


def _paced(
    made: Iterator[Event],
    options: ProduceOptions,
    stop: Callable[[], bool],
    sleep: Callable[[float], None],
    now: Callable[[], float],
) -> Iterator[list[Event]]:
    """Batches of the events whose time has come; after a stall those that were missed come at once."""
    began = now()
    waiting = next(made, None)
    first = waiting.order.order_ts if waiting else None
    while waiting and first and not stop():
        elapsed = timedelta(seconds=now() - began) if options.rate else timedelta.max
        batch: list[Event] = []
        while waiting and len(batch) < MAX_BATCH and waiting.order.order_ts - first <= elapsed:
            batch.append(waiting)
            waiting = next(made, None)
        if batch:
            yield batch
        elif waiting:
            sleep(min(MAX_WAIT, (waiting.order.order_ts - first - elapsed).total_seconds()))


def _report(sender: Sender, seed: int, start: datetime, seconds: float) -> ProduceReport:
    sent = sender.sent
    dead = sum(count for kind, count in sent.accepted_by_kind.items() if kind in DEAD_KINDS)
    return ProduceReport(
        seed=seed,
        start=start,
        sent=sent.accepted,
        failed=sent.failed,
        sent_clean=sent.accepted - dead,
        sent_dead=dead,
        sent_by_kind=dict(sorted(sent.accepted_by_kind.items())),
        failed_by_kind=dict(sorted(sent.failed_by_kind.items())),
        retried=sent.retried,
        seconds=round(seconds, 3),
        last_error=sent.last_error,
    )
