"""Looks whether idle shards have news, so that no batch is begun for nothing.

One GetRecords call a shard, of one record at most, with an iterator that is kept from look to look; it waits for the
shard's limiter and is made at most every `probe_interval`. Throttled calls go on in the background.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Final, NamedTuple

from streaming_app.sources.kinesis.context import Context
from streaming_app.sources.kinesis.failures import NotFoundError
from streaming_app.sources.kinesis.shard import ITERATOR_LIFE, ShardFeed

_THREADS: Final = 32
_LONGEST_LOOK: Final = 1.0  # seconds that one call of latestOffset may take
_MARGIN: Final = 30.0  # seconds that a task may take to begin


class Findings(NamedTuple):
    """Whether any shard has news, and the shards that were seen at their tip, with nothing to read."""

    news: bool
    at_tip: frozenset[str]


class Hint(NamedTuple):
    """What saves the reading task a call: an iterator of its position, and when this process last called the shard.

    `news`: records were seen after the position.
    """

    iterator: str | None
    last_call: float
    news: bool = False


@dataclass
class _Watch:
    """One shard that is being watched from one position."""

    feed: ShardFeed
    position: str
    due: float
    look: Future[bool] | None = None


class Prober:
    """Watches shards from their positions; a context of its own for each driver."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="kinesis-probe")
        self._watches: dict[str, _Watch] = {}
        self._stopped = False

    def look(self, shards: Mapping[str, str], last_calls: Mapping[str, float]) -> Findings:
        """One look at every shard; returns at the first news, at the latest after a second. Raises SourceError."""
        self._follow(shards, last_calls)
        self._wait_until_due()
        looks = {shard: self._begin(watch) for shard, watch in self._watches.items()}
        end = self._context.clock.monotonic() + _LONGEST_LOOK
        news = False
        pending: set[Future[bool]] = set(looks.values())
        while pending and not news and (left := end - self._context.clock.monotonic()) > 0:
            done, pending = wait(pending, timeout=left, return_when=FIRST_COMPLETED)
            news = any(look.result() for look in done)
        return Findings(news, self._collect())

    def hint(self, shard: str, position: str) -> Hint | None:
        """What the last look at this position left, if it is fresh."""
        watch = self._watches.get(shard)
        if watch is None or watch.position != position or (watch.look and not watch.look.done()):
            return None
        age = self._context.clock.now() - watch.feed.last_call
        news = watch.look is not None and watch.look.exception() is None and watch.look.result()
        return Hint(watch.feed.iterator if age < ITERATOR_LIFE - _MARGIN else None, watch.feed.last_call, news)

    def stop(self) -> None:
        """End without waiting for calls under way."""
        self._stopped = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _follow(self, shards: Mapping[str, str], last_calls: Mapping[str, float]) -> None:
        kept = {shard: watch for shard, watch in self._watches.items() if shards.get(shard) == watch.position}
        for shard, position in shards.items():
            if shard not in kept:
                feed = self._context.feed(shard, position)
                feed.resume(None, last_calls.get(shard, 0.0))
                kept[shard] = _Watch(feed, position, due=0.0)
        self._watches = kept

    def _wait_until_due(self) -> None:
        due = min((watch.due for watch in self._watches.values() if watch.look is None), default=0.0)
        self._context.clock.sleep(max(0.0, due - self._context.clock.monotonic()))

    def _begin(self, watch: _Watch) -> Future[bool]:
        if watch.look is None:
            watch.due = self._context.clock.monotonic() + self._context.options.probe_interval
            watch.look = self._pool.submit(self._has_news, watch.feed)
        return watch.look

    def _collect(self) -> frozenset[str]:
        """Shards whose look ended at the tip; they may be looked at again. News stay until the position moves on."""
        at_tip = set()
        for shard, watch in self._watches.items():
            if watch.look is not None and watch.look.done() and not watch.look.result():
                at_tip.add(shard)
                watch.look = None
        return frozenset(at_tip)

    def _has_news(self, feed: ShardFeed) -> bool:
        """Whether a read would find something: records, the shard's end, or that it is gone. Skips gaps on the way."""
        while not self._stopped:
            try:
                page = feed.peek()
            except NotFoundError:
                return True  # the task that reads it finds out what that means
            if page.records or page.closed:
                return True
            if page.at_tip:
                return False
        return False
