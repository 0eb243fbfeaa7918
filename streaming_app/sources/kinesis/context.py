"""What every process that reads the stream shares with itself: client, limiters, iterators, subscriptions, read log.

Spark's Python workers serve many tasks, so these live as long as the process does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from streaming_app.journal.read_log import ReadLog
from streaming_app.sources.kinesis.client import KinesisApi, shared_client
from streaming_app.sources.kinesis.clock import Clock, SystemClock
from streaming_app.sources.kinesis.fan_out import FanOut, FanOutFeed
from streaming_app.sources.kinesis.limiter import Limiters
from streaming_app.sources.kinesis.options import KinesisOptions
from streaming_app.sources.kinesis.retry import Retry
from streaming_app.sources.kinesis.shard import Iterators, Place, ShardFeed
from streaming_app.sources.kinesis.subscription import Subscriptions
from streaming_app.storage import StorageOptions, open_storage

_LIMITERS: Final = Limiters()
_ITERATORS: Final = Iterators()
_SUBSCRIPTIONS: Final = Subscriptions()


@dataclass(frozen=True)
class Context:
    """The parts that readers are built from; tests bring their own."""

    options: KinesisOptions
    api: KinesisApi
    read_log: ReadLog
    clock: Clock = field(default_factory=SystemClock)
    limiters: Limiters = _LIMITERS
    iterators: Iterators = _ITERATORS
    subscriptions: Subscriptions = _SUBSCRIPTIONS

    @property
    def retry(self) -> Retry:
        """As patient as the options say."""
        return Retry(self.options.throttle_timeout, self.clock)

    def feed(self, shard: str, position: str, consumer: str = "", *, news: bool = False) -> ShardFeed:
        """A feed of one shard, under the one limiter that this process has for it.

        With a `consumer` (ARN) by subscription; `news` says that there are records after the position.
        """
        options = self.options
        limiter = self.limiters.of(
            (options.endpoint, shard), options.fetch_interval, options.bytes_per_second, self.clock
        )
        place = Place(options.endpoint, shard, position)
        if consumer:
            fan_out = FanOut(consumer, self.subscriptions, news=news, exact_tip=options.ends_by_itself)
            return FanOutFeed(
                fan_out, self.api, place, limiter=limiter, retry=self.retry, iterators=self.iterators, clock=self.clock
            )
        return ShardFeed(self.api, place, limiter=limiter, retry=self.retry, iterators=self.iterators, clock=self.clock)


def context_of(options: KinesisOptions) -> Context:
    """This process's context for these options. Raises SourceError when no client can be made."""
    return Context(options, shared_client(options.endpoint), _read_log(options.read_log_path, options.storage))


def closed_shards(options: KinesisOptions) -> frozenset[str]:
    """Shards that are listed and closed, by one call that is not made again. Raises SourceError."""
    return frozenset(item.shard for item in shared_client(options.endpoint).list_shards() if item.closed)


def retention_seconds(options: KinesisOptions) -> float:
    """Seconds that the stream keeps a record, by one call that is not made again. Raises SourceError."""
    return shared_client(options.endpoint).describe().retention_hours * 3600.0


@lru_cache(maxsize=16)
def _read_log(path: str, storage: StorageOptions) -> ReadLog:
    return ReadLog(open_storage(path, storage))
