"""One shard's subscription in this process, and all of them: kept open between micro-batches, as iterators are.

A thread reads events into a bounded buffer; while that is full it reads nothing, and so Kinesis sends no more. What a
micro-batch does not take stays for the next one. Nothing here is remembered by anybody but this process: a position is
asked for with every take, and a subscription that cannot serve it gives nothing.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final

from streaming_app.errors import SourceError
from streaming_app.sources.kinesis.clock import Clock
from streaming_app.sources.kinesis.failures import InUseError
from streaming_app.sources.kinesis.messages import ChildShard, PushedEvent, Record
from streaming_app.sources.kinesis.positions import TRIM_HORIZON, after, sequence_after
from streaming_app.sources.kinesis.pushed import PushedEvents

RENEW_AFTER: Final = 285.0  # seconds; Kinesis ends a subscription after 300 (API reference, SubscribeToShard)
SUBSCRIBE_AGAIN_AFTER: Final = 5.0  # seconds that Kinesis wants between two subscriptions to a shard
MOST_BUFFERED: Final = 8 << 20  # bytes of a shard's records that wait here: 4 s at what a shard gives
IDLE_LIFE: Final = 120.0  # seconds without a take, after which a subscription ends itself
_LOOK: Final = 1.0  # seconds between two looks whether a full buffer is still wanted


@dataclass
class Taken:
    """Records in shard order, and how the shard looked when the last of them was sent."""

    records: list[Record] = field(default_factory=list)
    at_tip: bool = False
    closed: bool = False
    children: list[ChildShard] = field(default_factory=list)
    millis_behind: int = 0
    heard_at: float = 0.0  # monotonic


class Subscription:
    """An open subscription and what it has sent. Raises what `subscribe` raises when it cannot be opened."""

    def __init__(self, subscribe: Callable[[str], PushedEvents], position: str, clock: Clock) -> None:
        self._subscribe, self._clock = subscribe, clock
        self.position = position  # after what was handed out
        self._received = position  # after what has come, where it goes on
        self._events: deque[tuple[PushedEvent, float]] = deque()
        self._buffered = 0
        self._state = Taken()
        self._changed = threading.Condition()
        self._used = self._opened = clock.monotonic()
        self._over = False
        self._pushed = subscribe(position)
        threading.Thread(target=self._pump, name="kinesis-subscription", daemon=True).start()

    @property
    def over(self) -> bool:
        """Nothing more will come."""
        return self._over and not self._events

    def can_serve(self, position: str) -> bool:
        """Whether what follows `position` will come, or is here."""
        with self._changed:
            return not self.over and self._serves(position)

    def take(self, position: str, limit: int, patience: float, *, news: bool) -> Taken | None:
        """Up to `limit` records after `position`, waiting `patience` seconds at most for the first event.

        Where the shard was at its tip when last heard of, that is the answer at once, unless there are `news`. None when
        nothing came, or when this subscription cannot give what follows `position`.
        """
        with self._changed:
            self._used = self._clock.monotonic()
            if not self._serves(position):
                return None
            known_tip = self._state.at_tip and not news
            if not self._events and not known_tip:
                self._changed.wait_for(lambda: self._worth_taking(news) or self._over, patience)
            return self._take(limit)

    def close(self) -> None:
        """End it, and let its thread go."""
        with self._changed:
            self._over = True
            self._events.clear()
            self._changed.notify_all()
        self._pushed.close()

    def _worth_taking(self, news: bool) -> bool:
        return bool(self._events) and (not news or any(event.records or _is_end(event) for event, _ in self._events))

    def _serves(self, position: str) -> bool:
        """Also what lies ahead of what was handed out: another process read the shard meanwhile, its records are skipped."""
        if position == self.position:
            return True
        wanted, given = sequence_after(position), sequence_after(self.position)
        if (
            wanted is None
            or (given is None and self.position != TRIM_HORIZON)
            or (given is not None and given > wanted)
        ):
            return False
        self.position = position
        return True

    def _take(self, limit: int) -> Taken | None:
        if not self._events:
            return None if self._over or not self._state.at_tip else Taken(at_tip=True, heard_at=self._state.heard_at)
        taken = Taken()
        while self._events and len(taken.records) < limit and not taken.closed:
            self._take_event(taken, limit - len(taken.records))
        heard_all = not self._events and not self._over  # the tip of a subscription that has ended is out of date
        taken.at_tip = heard_all and not taken.closed and taken.millis_behind == 0
        if taken.records:
            self.position = after(taken.records[-1].sequence)
        self._state = Taken(at_tip=taken.at_tip, heard_at=taken.heard_at)
        self._changed.notify_all()
        return taken if taken.records or taken.at_tip or taken.closed or not self._over else None

    def _take_event(self, taken: Taken, room: int) -> None:
        """The first event, or so many records of it as there is room for."""
        event, taken.heard_at = self._events[0]
        wanted = self._not_read_yet(event.records)
        taken.records += wanted[:room]
        taken.millis_behind = event.millis_behind or 0
        left = wanted[room:]
        self._buffered -= _size(event.records) - _size(left)
        event.records = left
        if not left:
            self._events.popleft()
            taken.closed, taken.children = _is_end(event), event.children or []

    def _not_read_yet(self, records: list[Record]) -> list[Record]:
        read = sequence_after(self.position)
        if read is None or not records or int(records[0].sequence) > read:
            return records
        return [record for record in records if int(record.sequence) > read]

    def _pump(self) -> None:
        try:
            while self._events_until_renewal():
                self._pushed.close()
                self._opened = self._clock.monotonic()
                self._pushed = self._subscribe(self._received)
        except SourceError:
            pass  # whoever reads the shard next subscribes again, and hears what is wrong
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()
            self._pushed.close()

    def _events_until_renewal(self) -> bool:
        """Put events into the buffer; whether the subscription is old enough to be renewed and still wanted."""
        for event in self._pushed.events():
            if not self._put(event) or _is_end(event):
                return False
            self._received = after(str(event.continuation))
            if self._age() > RENEW_AFTER:
                return True
        return self._age() > RENEW_AFTER - SUBSCRIBE_AGAIN_AFTER and not self._over

    def _age(self) -> float:
        return self._clock.monotonic() - self._opened

    def _put(self, event: PushedEvent) -> bool:
        """Wait for room; False where nobody wants events any more."""
        with self._changed:
            while self._buffered >= MOST_BUFFERED and self._wanted():
                self._changed.wait(_LOOK)
            if not self._wanted():
                return False
            if self._events and not self._events[-1][0].records:
                self._events.pop()  # what it said of the shard is out of date
            self._events.append((event, self._clock.monotonic()))
            self._buffered += _size(event.records)
            self._changed.notify_all()
        return True

    def _wanted(self) -> bool:
        return not self._over and self._clock.monotonic() - self._used < IDLE_LIFE


def _is_end(event: PushedEvent) -> bool:
    return event.continuation is None


def _size(records: list[Record]) -> int:
    return sum([len(record.data) for record in records])


class Subscriptions:
    """The subscriptions of a process, by shard; one that was refused is not asked for again within 5 s."""

    def __init__(self, again_after: float = SUBSCRIBE_AGAIN_AFTER) -> None:
        self._again_after = again_after
        self._lock = threading.Lock()
        self._open: dict[Hashable, Subscription] = {}
        self._not_before: dict[Hashable, float] = {}

    def find(self, shard: Hashable) -> Subscription | None:
        """The one that is kept for a shard, if it still has something to give."""
        with self._lock:
            kept = self._open.get(shard)
            if kept is not None and kept.over:
                del self._open[shard]
                return None
            return kept

    def subscribe(self, shard: Hashable, open_one: Callable[[], Subscription], clock: Clock) -> Subscription | None:
        """A new one in the place of the kept one; None where Kinesis does not want one now. Raises SourceError."""
        if clock.monotonic() < self._not_before.get(shard, 0.0):
            return None
        try:
            made = open_one()
        except SourceError as error:
            self._not_before[shard] = clock.monotonic() + random.uniform(0.5, 1.0) * self._again_after
            if isinstance(error, InUseError):
                return None
            raise
        with self._lock:
            replaced, self._open[shard] = self._open.get(shard), made
        self._not_before[shard] = clock.monotonic() + self._again_after
        if replaced is not None:
            replaced.close()
        return made

    def close(self) -> None:
        """End all of them."""
        with self._lock:
            kept, self._open = list(self._open.values()), {}
        for subscription in kept:
            subscription.close()
