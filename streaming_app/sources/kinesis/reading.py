"""Reads one shard in one epoch: the recorded range again where there is one, else up to a limit or the tip.

Guarantee: every read of a (epoch, shard) that ends, ends with exactly the same records, because the range is put into
the read log, if absent, before the read ends; a read that lost this race fails and is done again against the winner's.

Limits count Kinesis records: an aggregate is never divided between two epochs, so a position needs no number inside one.
Of a read that took aggregates apart the log says so, and by which hash keys, so that it is done again in the same way
whatever the options say by then.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from streaming_app.errors import DataLossError, SourceError
from streaming_app.journal.losses import Losses
from streaming_app.journal.read_log import ReadLog, UnitRead
from streaming_app.sources.kinesis.aggregates import Deaggregation, Rows
from streaming_app.sources.kinesis.bounded import Bound
from streaming_app.sources.kinesis.client import DECODING
from streaming_app.sources.kinesis.clock import Clock
from streaming_app.sources.kinesis.expiry import TIPS, known_until, moment_text, unread_since
from streaming_app.sources.kinesis.failures import InvalidPositionError, NotFoundError
from streaming_app.sources.kinesis.fan_out import FanOutFeed
from streaming_app.sources.kinesis.lineage import ShardEnd
from streaming_app.sources.kinesis.messages import ChildShard, HashRange, Record
from streaming_app.sources.kinesis.options import KinesisOptions
from streaming_app.sources.kinesis.positions import after, at
from streaming_app.sources.kinesis.shard import Page, ShardFeed

_LOG: Final = logging.getLogger(__name__)


@dataclass
class Tally:
    """What one read delivered so far, and how the shard looked at the last answer. Of an aggregate each record is a row."""

    pages: int = 0
    rows: int = 0
    records: int = 0
    size: int = 0
    first: str | None = None
    last: str | None = None
    last_arrival: float | None = None
    at_tip: bool = False
    at_bound: bool = False
    closed: bool = False
    lost: bool = False
    millis_behind: int = 0
    children: tuple[ChildShard, ...] = ()

    def add(self, page: Page) -> None:
        """Count a page in, but for its rows."""
        self.pages += 1
        self.records += len(page.records)
        self.size += page.size
        self.at_tip, self.closed, self.millis_behind = page.at_tip, page.closed, page.millis_behind
        self.at_bound = page.at_bound
        self.children = tuple(page.children)
        if page.records:
            self.first = self.first or page.records[0].sequence
            self.last, self.last_arrival = page.records[-1].sequence, page.records[-1].arrival


@dataclass(frozen=True)
class ShardRead:
    """One shard of one epoch, ready to be read."""

    epoch: int
    shard: str
    start: str
    feed: ShardFeed
    read_log: ReadLog
    options: KinesisOptions
    clock: Clock
    hash_range: HashRange | None = None
    bound: Bound | None = None

    def rows(self) -> Iterator[Rows]:
        """The rows, page by page, none of them empty. Raises DataLossError or SourceError."""
        recorded = self.read_log.unit(self.epoch, self.shard)
        yield from self._fresh() if recorded is None else self._again(recorded)

    def _fresh(self) -> Iterator[Rows]:
        tally = Tally()
        apart = Deaggregation(self.hash_range) if self.options.deaggregate else None
        deadline = self.clock.monotonic() + self.options.max_fetch_time
        try:
            while not self._enough(tally, deadline):
                page = self._next_page(self._limit(tally.records))
                tally.add(page)
                for rows in _rows(page.records, apart):
                    tally.rows += len(rows.records)
                    yield rows
        except NotFoundError as error:
            self._lost(tally, error)
        self._record(tally, apart)
        self.feed.keep_iterator()

    def _next_page(self, limit: int) -> Page:
        """The next answer up to the run's bound; the shard counts as read to its tip there, and as far behind as it is."""
        begin = self.feed.position
        page = self.feed.next_page(limit)
        kept = list(self.bound.cut(page.records)) if self.bound else page.records
        if len(kept) == len(page.records):
            return page
        self.feed.seek(after(kept[-1].sequence) if kept else begin)
        size = sum(len(record.data) for record in kept)
        behind = max(page.millis_behind, round((self.feed.last_call - page.records[len(kept)].arrival) * 1000))
        return replace(
            page,
            records=kept,
            size=size,
            at_tip=True,
            at_bound=True,
            closed=False,
            children=[],
            millis_behind=behind,
        )

    def _limit(self, records: int) -> int:
        return min(self.options.records_per_fetch, self.options.max_records_per_shard - records)

    def _enough(self, tally: Tally, deadline: float) -> bool:
        return (
            tally.closed
            or tally.at_tip
            or tally.records >= self.options.max_records_per_shard
            or tally.size >= self.options.max_bytes_per_shard
            or (tally.pages > 0 and self.clock.monotonic() >= deadline)
        )

    def _lost(self, tally: Tally, error: NotFoundError) -> None:
        """Kinesis does not know the shard: it expired before it was read to its end."""
        if self._still_listed():
            raise error
        message = (
            f"shard {self.shard}: Kinesis no longer knows it, though it was read only to {self.feed.position}"
            f"{self._read_until(tally)}; what it still held is lost"
        )
        if self.options.fail_on_data_loss:
            raise DataLossError(f"{message}. Set fail_on_data_loss=false to go on with its children.") from error
        Losses(self.read_log).note(f"{self.shard}-end", message)
        _LOG.error("%s; going on with its children", message)
        tally.lost = True

    def _read_until(self, tally: Tally) -> str:
        """How much time is lost at most, as far as that is known."""
        since = tally.last_arrival
        if since is None:
            before = self.read_log.unit(self.epoch - 1, self.shard)
            own = unread_since(self.read_log, {self.shard: self.start}).get(self.shard)
            since = own if before is None else known_until(before, self.read_log.noted(TIPS))
        if since is None:
            return ""
        hours = (self.clock.now() - since) / 3600
        return f" and to what arrived up to {moment_text(since)}, which is {hours:.1f} hours ago"

    def _still_listed(self) -> bool:
        try:
            return self.feed.is_listed()
        except NotFoundError as error:
            raise SourceError(f"stream {self.options.stream_name!r} does not exist (any more): {error}") from error

    def _record(self, tally: Tally, apart: Deaggregation | None) -> None:
        if not self.read_log.put_if_absent(self.epoch, self._unit(tally, apart)):
            raise SourceError(
                f"shard {self.shard}, epoch {self.epoch}: another attempt of this task recorded its range first; this"
                " one fails, and its retry reads that range"
            )

    def _unit(self, tally: Tally, apart: Deaggregation | None) -> UnitRead:
        calls = self.feed.calls
        detail: dict[str, Any] = {
            "start": self.start,
            "end": self.feed.position,
            "first_seq": tally.first,
            "last_seq": tally.last,
            "last_arrival_ms": None if tally.last_arrival is None else round(tally.last_arrival * 1000),
            "at_tip": tally.at_tip,
            "closed": tally.closed,
            "children": [self._child(child) for child in tally.children],
            "millis_behind": tally.millis_behind,
            "read_at_ms": round(self.feed.last_call * 1000),
            "open_until_ms": round(self._open_until(tally) * 1000),
            "calls": calls.made,
            "throttles": calls.throttles,
            "renewals": calls.renewals,
        }
        if tally.lost:
            detail["lost"] = True
        if tally.at_bound:
            detail["until"] = self.options.until  # which is where this shard ends for that run, whatever comes after it
        if not (tally.records or tally.at_tip or tally.closed):
            detail["iterator"] = self.feed.iterator  # in the middle of a gap: only the iterator says how far it was
        if isinstance(self.feed, FanOutFeed):
            detail["pushed"] = self.feed.pushed
        if apart and apart.aggregates:
            detail |= self._aggregated(tally, apart)
        return UnitRead(self.shard, tally.rows, tally.size, detail)

    def _open_until(self, tally: Tally) -> float:
        """Seconds since 1970 when the shard is known to have been open, so that its children began later.

        An answer without records that is not the end shows it, and one before whose tip there was more. The last record
        does not show more than its own arrival: it may have waited in a closed shard. And the end itself shows nothing.
        """
        now = self.feed.last_call - tally.millis_behind / 1000
        if tally.records and not tally.millis_behind:
            return now if tally.last_arrival is None else tally.last_arrival
        if tally.records or not tally.closed:
            return now
        known = [unread_since(self.read_log, {self.shard: self.start}).get(self.shard, 0.0)]
        if before := self.read_log.unit(self.epoch - 1, self.shard):
            known.append(before.detail.get("open_until_ms", 0.0) / 1000)
        return max(known) or now

    def _child(self, child: ChildShard) -> dict[str, Any]:
        named = {"id": child.shard, "parents": child.parents or [self.shard]}
        hash_range = child.hash_keys.numbers
        return named | ({"hash_range": list(hash_range)} if hash_range else {})

    def _aggregated(self, tally: Tally, apart: Deaggregation) -> dict[str, Any]:
        """What a read that took aggregates apart adds to its detail; without these keys rows are records."""
        if apart.dropped:
            _LOG.warning(
                "shard %s, epoch %d: left out %d records of aggregates whose hash keys belong to other shards; the"
                " producer library sends such records again",
                self.shard,
                self.epoch,
                apart.dropped,
            )
        return {
            "records": tally.records,
            "aggregates": apart.aggregates,
            "dropped": apart.dropped,
            "hash_range": None if apart.hash_range is None else list(apart.hash_range),
        }

    def _again(self, recorded: UnitRead) -> Iterator[Rows]:
        """Exactly the recorded rows; nothing is asked of Kinesis when there were none."""
        missing = recorded.detail.get("records", recorded.rows) if recorded.rows else 0
        apart = _as_recorded(recorded)
        if missing:
            self.feed.seek(at(recorded.detail["first_seq"]))
            last = int(recorded.detail["last_seq"])
        while missing:
            page = self._page_again(min(self.options.records_per_fetch, missing))
            records = [record for record in page.records if int(record.sequence) <= last]
            missing -= len(records)
            yield from _rows(records, apart)
            if missing and (len(records) < len(page.records) or (not page.records and (page.at_tip or page.closed))):
                self._gone(recorded, missing)
                return
        if recorded.rows and self.feed.position != recorded.detail["end"]:
            self._gone(recorded, 0)

    def _page_again(self, limit: int) -> Page:
        try:
            return self.feed.next_page(limit)
        except (NotFoundError, InvalidPositionError):  # the shard is gone, or of another stream
            return Page(records=[], size=0, at_tip=False, closed=True, children=[], millis_behind=0)

    def _gone(self, recorded: UnitRead, missing: int) -> None:
        detail = recorded.detail
        message = (
            f"shard {self.shard}, epoch {self.epoch}: the range {detail['first_seq']} to {detail['last_seq']} had"
            f" {detail.get('records', recorded.rows)} records that arrived up to {moment_text(detail['last_arrival_ms'] / 1000)}"
            f" and now lacks {missing or 'some'} of them (retention, or another stream of the same name)"
        )
        if self.options.fail_on_data_loss:
            raise DataLossError(f"{message}. Set fail_on_data_loss=false to go on without them.")
        Losses(self.read_log).note(f"{self.shard}-epoch-{self.epoch}", message)
        _LOG.error("%s; going on without them", message)


def _rows(records: list[Record], apart: Deaggregation | None) -> Iterator[Rows]:
    """The records as rows, where there are any. Taking aggregates apart is decoding, so threads take turns."""
    if not records:
        return
    if apart is None:
        yield Rows(records)
        return
    pieces = apart.rows(records)
    while True:
        with DECODING:
            piece = next(pieces, None)
        if piece is None:
            return
        yield piece


def _as_recorded(read: UnitRead) -> Deaggregation | None:
    """How the recorded read took aggregates apart; None where it found none or was told not to."""
    if "aggregates" not in read.detail:
        return None
    hash_range = read.detail["hash_range"]
    return Deaggregation(None if hash_range is None else HashRange(*hash_range))


def given_up(shard: str, position: str, now: float) -> UnitRead:
    """The read of a shard whose records cannot be had any more, at `now` (seconds since 1970): none, and none to come."""
    nothing: dict[str, Any] = dict.fromkeys(("first_seq", "last_seq", "last_arrival_ms"))
    nothing |= dict.fromkeys(("millis_behind", "calls", "throttles", "renewals"), 0)
    ended = {"start": position, "end": position, "read_at_ms": round(now * 1000), "at_tip": False, "closed": False}
    return UnitRead(shard, 0, 0, {**nothing, **ended, "children": [], "lost": True})


def end_of(read: UnitRead) -> ShardEnd:
    """What planning needs of a recorded read."""
    detail = read.detail
    return ShardEnd(
        position=detail["end"],
        closed=detail["closed"],
        lost=detail.get("lost", False),
        at_tip=detail["at_tip"],
        children={child["id"]: tuple(child["parents"]) for child in detail["children"]},
    )
