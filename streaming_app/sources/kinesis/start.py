"""Where a new checkpoint begins. LATEST is pinned to a real position at once, so that a restart begins at the same place."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from streaming_app.config.positions import StartPositions, refuse_future
from streaming_app.errors import DataLossError, SourceError
from streaming_app.sources.kinesis import positions
from streaming_app.sources.kinesis.context import Context
from streaming_app.sources.kinesis.explicit import explicit_offset
from streaming_app.sources.kinesis.lineage import Offset, Parents, leaves, start_at_roots
from streaming_app.sources.kinesis.retry import Calls
from streaming_app.sources.kinesis.stream import describe, list_shards

LATEST: Final = "LATEST"
_THREADS: Final = 16
_CLOCK_TOLERANCE: Final = timedelta(seconds=2)
_DATE_RESOLUTION: Final = timedelta(seconds=1)


def first_offset(context: Context) -> Offset:
    """Epoch 0: nothing is read in it, its shards and positions are where epoch 1 begins. Raises SourceError."""
    begun = _decided(context)
    moments = [positions.moment_of(place) for place in begun.shards.values() if positions.is_timestamp(place)]
    try:
        for moment in moments:
            refuse_future(datetime.fromtimestamp(moment, UTC), datetime.fromtimestamp(context.clock.now(), UTC))
    except ValueError as error:
        raise SourceError(str(error)) from None
    return begun


def _decided(context: Context) -> Offset:
    listing = list_shards(context)
    if not listing:
        raise SourceError(f"stream {context.options.stream_name!r} has no shards yet; start when it is ACTIVE")
    start = context.options.starting_position
    if start.startswith("{"):
        return explicit_offset(context, listing, StartPositions.from_text(start), _pin)
    if start == LATEST:
        return Offset(0, _pinned(context, listing))
    kind, _, moment = start.partition(" ")
    position = _moment(context, datetime.fromisoformat(moment)) if moment else kind
    return start_at_roots(listing, position)


def _moment(context: Context, moment: datetime) -> str:
    """A moment as a position; one that lies before everything the stream keeps is a loss, unless that is accepted."""
    summary = describe(context)
    kept_from = context.clock.now() - summary.retention_hours * 3600
    if summary.created < kept_from and moment.timestamp() < kept_from and context.options.fail_on_data_loss:
        raise DataLossError(
            f"stream {context.options.stream_name!r} keeps {summary.retention_hours} hours and cannot be read from"
            f" {moment.isoformat()} on. Start at TRIM_HORIZON, or set fail_on_data_loss=false, and backfill what is missing."
        )
    return positions.at_timestamp(moment)


def _pinned(context: Context, listing: Parents) -> Mapping[str, str]:
    shards = leaves(listing)
    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(zip(shards, pool.map(lambda shard: _pin(context, shard), shards), strict=True))


def _pin(context: Context, shard: str) -> str:
    """The next record's own position where one comes at once, else the moment before LATEST was asked for."""
    calls, retry = Calls(), context.retry
    limiter = context.feed(shard, LATEST).limiter
    moment = datetime.fromtimestamp(context.clock.now(), UTC)
    iterator = retry.call(lambda: context.api.shard_iterator(shard, LATEST), calls)
    limiter.acquire()
    fetched = retry.call(lambda: context.api.get_records(iterator, 1), calls)
    if fetched.answer.records:
        return positions.at(fetched.answer.records[0].sequence)
    return positions.at_timestamp(by_server_clock(moment, fetched.server_date))


def by_server_clock(moment: datetime, server_date: str | None) -> datetime:
    """`moment` of our clock, unless the server's (whole seconds) says that ours is wrong.

    Arrival times are the server's. A clock that is ahead would skip records, so it is given no more than the second
    that the header leaves open; one that is behind would repeat some, and is given two.
    """
    if not server_date:
        return moment
    server = parsedate_to_datetime(server_date).astimezone(UTC)
    right = server - _CLOCK_TOLERANCE <= moment < server + _DATE_RESOLUTION
    return moment if right else server
