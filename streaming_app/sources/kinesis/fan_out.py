"""One shard, page by page, as a subscription pushes it (enhanced fan-out); with GetRecords where there is none just now.

Positions are the same for both ways, so a read may go from one to the other after any page, and what it recorded is read
again with GetRecords whichever way it was read first.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Final

from streaming_app.sources.kinesis.failures import NotFoundError, TemporaryError
from streaming_app.sources.kinesis.positions import after
from streaming_app.sources.kinesis.shard import Page, ShardFeed
from streaming_app.sources.kinesis.subscription import Subscription, Subscriptions, Taken

_LOG: Final = logging.getLogger(__name__)
_PATIENCE: Final = 2.0  # seconds that a read waits for an event before it asks with GetRecords


@dataclass(frozen=True)
class FanOut:
    """How a task subscribes: as which consumer (ARN), with which subscriptions of this process.

    `news`: the driver has seen records after the position. `exact_tip`: a tip counts only when it was heard of during the
    read, for bounded runs.
    """

    consumer: str
    subscriptions: Subscriptions
    news: bool = False
    exact_tip: bool = False
    patience: float = _PATIENCE


class FanOutFeed(ShardFeed):
    """As `ShardFeed`, but records come by subscription as long as one can be had."""

    def __init__(self, fan_out: FanOut, *place: Any, **parts: Any) -> None:
        super().__init__(*place, **parts)
        self._fan_out = fan_out
        self._key = (self._endpoint, fan_out.consumer, self._shard)
        self._begun = self._clock.monotonic()
        self._news = fan_out.news
        self._pushing = True
        self.pushed = 0  # records

    def next_page(self, limit: int) -> Page:
        page = self._pushed_page(limit) if self._pushing else None
        return super().next_page(limit) if page is None else page

    def seek(self, position: str) -> None:
        """To an exact place, for a recorded range: a subscription would have to begin anew for it."""
        super().seek(position)
        self._pushing = False

    def _pushed_page(self, limit: int) -> Page | None:
        subscription = self._subscription()
        if subscription is None:
            self._pushing = False  # for the rest of this read; the next one tries again
            return None
        taken = subscription.take(self.position, limit, self._fan_out.patience, news=self._news)
        if taken is None and subscription.over:
            return self._pushed_page(limit)  # it ended just now; a new one or none
        if taken is None or self._is_stale_tip(taken):
            return None
        return self._page(taken)

    def _is_stale_tip(self, taken: Taken) -> bool:
        exact = self._fan_out.exact_tip or self._news
        return exact and taken.at_tip and not taken.records and (self._news or taken.heard_at < self._begun)

    def _page(self, taken: Taken) -> Page:
        if taken.records:
            self.position, self.iterator, self._news = after(taken.records[-1].sequence), None, False
            self.pushed += len(taken.records)
        self.last_call = self._clock.now() - max(0.0, self._clock.monotonic() - taken.heard_at)
        size = sum([len(record.data) for record in taken.records])
        return Page(taken.records, size, taken.at_tip, taken.closed, taken.children, taken.millis_behind)

    def _subscription(self) -> Subscription | None:
        kept = self._fan_out.subscriptions.find(self._key)
        if kept is not None and kept.can_serve(self.position):
            return kept
        try:
            return self._fan_out.subscriptions.subscribe(self._key, self._open, self._clock)
        except TemporaryError as error:
            self.calls.throttles += 1
            _LOG.info("%s: no subscription now, reading with GetRecords: %s", self._shard, error)
        except NotFoundError as error:  # where it is the shard or the stream, GetRecords says so
            _LOG.warning("%s: cannot subscribe, reading with GetRecords: %s", self._shard, error)
        return None

    def _open(self) -> Subscription:
        self.calls.made += 1
        return Subscription(
            lambda position: self._api.subscribe(self._fan_out.consumer, self._shard, position),
            self.position,
            self._clock,
        )
