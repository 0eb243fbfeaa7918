"""One shard, page by page: iterators are kept, renewed when they expire, and every call waits for the shard's limiter."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, NamedTuple

from streaming_app.errors import SourceError
from streaming_app.sources.kinesis.access import Endpoint
from streaming_app.sources.kinesis.client import KinesisApi
from streaming_app.sources.kinesis.clock import Clock
from streaming_app.sources.kinesis.failures import IteratorExpiredError
from streaming_app.sources.kinesis.limiter import ShardLimiter
from streaming_app.sources.kinesis.messages import ChildShard, Record
from streaming_app.sources.kinesis.positions import after
from streaming_app.sources.kinesis.retry import Calls, Retry

ITERATOR_LIFE: Final = 270.0  # Kinesis lets one live 300 s; a little is left for the call itself
_KEPT_ITERATORS: Final = 10_000
_RENEWALS_IN_A_ROW: Final = 10


class Place(NamedTuple):
    """A position in a shard of a stream."""

    endpoint: Endpoint
    shard: str
    position: str


class Iterators:
    """Iterators that this process may still use, so that the next epoch needs no GetShardIterator."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Place, tuple[str, float]] = OrderedDict()

    def keep(self, place: Place, iterator: str, now: float) -> None:
        """Remember an iterator that Kinesis made just now."""
        with self._lock:
            self._kept[place] = (iterator, now)
            self._kept.move_to_end(place)
            if len(self._kept) > _KEPT_ITERATORS:
                self._kept.popitem(last=False)

    def take(self, place: Place, now: float) -> str | None:
        """The iterator of a place, if there is one that still lives; it is no longer kept."""
        with self._lock:
            iterator, made = self._kept.pop(place, (None, 0.0))
        return iterator if now - made < ITERATOR_LIFE else None


@dataclass(frozen=True)
class Page:
    """One answer: records in shard order, and what it says about the shard's end; `at_bound`: or the run's."""

    records: list[Record]
    size: int
    at_tip: bool
    closed: bool
    children: list[ChildShard]
    millis_behind: int
    at_bound: bool = False


class ShardFeed:
    """Pages of one shard from a position on; `position` is always right after the last record handed out."""

    def __init__(
        self,
        api: KinesisApi,
        place: Place,
        *,
        limiter: ShardLimiter,
        retry: Retry,
        iterators: Iterators,
        clock: Clock,
    ) -> None:
        self._api, self._endpoint, self._shard = api, place.endpoint, place.shard
        self.limiter, self._retry, self._iterators, self._clock = limiter, retry, iterators, clock
        self.position = place.position
        self.iterator: str | None = None
        self._used: str | None = None
        self.last_call = 0.0  # seconds since 1970
        self.calls = Calls()

    def next_page(self, limit: int) -> Page:
        """The next answer, at most `limit` records, maybe none. Raises SourceError when the shard cannot be read."""
        for _ in range(_RENEWALS_IN_A_ROW):
            iterator = self._current_iterator()
            try:
                return self._fetch(iterator, limit)
            except IteratorExpiredError:
                self.iterator = None
                self.calls.renewals += 1
        raise SourceError(f"{self._shard}: Kinesis calls fresh iterators expired, {_RENEWALS_IN_A_ROW} times in a row")

    def peek(self) -> Page:
        """What `next_page` would find, one record at most; the feed stays where it is, so that a reader can begin there."""
        position = self.position
        page = self.next_page(1)
        if page.records or page.closed:
            self.position, self.iterator = position, self._used
        return page

    def is_listed(self) -> bool:
        """Whether the stream has this shard; raises NotFoundError when there is no such stream."""
        listed = self._retry.call(self._api.list_shards, self.calls)
        return any(item.shard == self._shard for item in listed)

    def resume(self, iterator: str | None, last_call: float) -> None:
        """Go on with what another process knows: an iterator of this position, and when it last called."""
        self.iterator = iterator
        self.limiter.called_at(last_call)

    def seek(self, position: str) -> None:
        """Go on from another position."""
        self.position, self.iterator = position, None

    def keep_iterator(self) -> None:
        """Leave the iterator to the next read of this shard in this process."""
        if self.iterator is not None:
            self._iterators.keep(self._place(), self.iterator, self._clock.monotonic())

    def _place(self) -> Place:
        return Place(self._endpoint, self._shard, self.position)

    def _current_iterator(self) -> str:
        if self.iterator is None:
            self.iterator = self._iterators.take(self._place(), self._clock.monotonic())
        if self.iterator is None:
            self.iterator = self._retry.call(lambda: self._api.shard_iterator(self._shard, self.position), self.calls)
        return self.iterator

    def _fetch(self, iterator: str, limit: int) -> Page:
        def attempt() -> Page:
            self.limiter.acquire()
            self.last_call = self._clock.now()
            answer = self._api.get_records(iterator, limit).answer
            self._used, self.iterator = iterator, answer.next_iterator
            behind = answer.millis_behind or 0
            size = sum([len(record.data) for record in answer.records])
            self.limiter.received(size)
            closed = answer.next_iterator is None
            return Page(
                records=answer.records,
                size=size,
                # An answer that was cut by the limit may leave records behind that arrived in the same millisecond.
                at_tip=not closed and behind == 0 and len(answer.records) < limit,
                closed=closed,
                children=answer.children or [],
                millis_behind=behind,
            )

        page = self._retry.call(attempt, self.calls)
        if page.records:
            self.position = after(page.records[-1].sequence)
        return page
