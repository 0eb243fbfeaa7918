"""A new checkpoint that begins at positions somebody gave, shard by shard: another checkpoint's, another tool's.

Every shard of the stream must be accounted for, or nothing begins: a shard that nobody named would be read from a place
nobody chose. A shard is accounted for when it is named, or descends from one that is (it follows when its parents were
read to their end), or is an ancestor of one (it was read before). `default` takes what is left.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Final

from streaming_app.config.positions import StartPositions, stream_name
from streaming_app.errors import DataLossError, SourceError
from streaming_app.sources.kinesis.context import Context
from streaming_app.sources.kinesis.lineage import Offset, Parents, ShardEnd, leaves, plan, relatives, start_at_roots
from streaming_app.sources.kinesis.positions import at, is_sequence, sequence_of
from streaming_app.sources.kinesis.retry import Calls
from streaming_app.sources.kinesis.shard import ShardFeed

_LOG: Final = logging.getLogger(__name__)
_LATEST: Final = "LATEST"
_THREADS: Final = 16
_SHOWN: Final = 20  # shards that a message names
Pin = Callable[[Context, str], str]


def explicit_offset(context: Context, listing: Parents, given: StartPositions, pin: Pin) -> Offset:
    """Epoch 0 as `given` says; `pin` finds the position that LATEST means now.

    Raises SourceError for another stream's positions, shards that do not exist or are not accounted for, and sequence
    numbers that Kinesis refuses; DataLossError when records expired that were not read, unless that is accepted.
    """
    _same_stream(context.options.stream_name, given)
    _all_exist(context.options.stream_name, given, listing)
    shards = {**given.shards, **_by_default(context.options.stream_name, given, listing)}
    with ThreadPoolExecutor(_THREADS) as pool:
        named = [shard for shard, position in shards.items() if is_sequence(position)]
        list(pool.map(lambda shard: _nothing_expired(context, shard, shards[shard], given.as_of), named))
        found = pool.map(lambda shard: _decided(context, shard, shards[shard], pin), shards)
        decided = dict(zip(shards, found, strict=True))
    ends = {shard: ShardEnd(position) for shard, position in decided.items()}
    begun = plan(Offset(-1, decided, given.finished), ends, listing)
    _LOG.info("begins at given positions: %d shards named, %d read", len(given.shards), len(begun.shards))
    return begun


def _same_stream(stream: str, given: StartPositions) -> None:
    if given.stream and stream_name(given.stream) != stream_name(stream):
        raise SourceError(
            f"the given positions are those of stream {given.stream!r}, and this is {stream!r}: sequence numbers mean"
            " nothing in another stream. To move to a new stream, let the old one be read to its end, then begin the new"
            " one with start: TRIM_HORIZON, or with start: AT_TIMESTAMP and the time at which the producers moved"
        )


def _all_exist(stream: str, given: StartPositions, listing: Parents) -> None:
    missing = sorted(given.shards.keys() - listing.keys())
    if missing:
        raise SourceError(
            f"stream {stream!r} has no shard {_some(missing)}, for which a position is given. If it expired, what it still"
            " held is lost: take it out of `shards`, and give a `default` for what descends from it"
        )


def _by_default(stream: str, given: StartPositions, listing: Parents) -> dict[str, str]:
    """Positions of shards that are not related to a named one. Raises SourceError when there are some and no default."""
    named = {*given.shards, *given.finished}
    left = {shard: parents for shard, parents in listing.items() if shard not in relatives(named, listing)}
    if not left:
        return {}
    if not given.default:
        raise SourceError(
            f"stream {stream!r} has shards whose position is not given: {_some(sorted(left))}. Name them in `shards`, or"
            ' give a "default" for them, such as TRIM_HORIZON'
        )
    begin: Iterable[str] = leaves(left) if given.default == _LATEST else start_at_roots(left, "").shards
    return dict.fromkeys(begin, given.default)


def _decided(context: Context, shard: str, position: str, pin: Pin) -> str:
    """The position; a moment for LATEST."""
    return pin(context, shard) if position == _LATEST else position


def _nothing_expired(context: Context, shard: str, position: str, as_of: str) -> None:
    """Whether the position still is where it was. Raises DataLossError for a loss, SourceError for what is no position.

    Kinesis silently begins an iterator of an expired record at the oldest that is left.
    """
    sequence = sequence_of(position)
    try:
        found = _first_record(context.feed(shard, at(sequence)))
    except SourceError as error:
        raise SourceError(
            f"shard {shard} cannot be read from the given position {position}: {error}. Is it this stream's?"
        ) from error
    if found == sequence or (as_of and position != at(sequence) and _is_kept(context, as_of)):
        return
    message = f"shard {shard}: the record of the given position {position} has expired"
    if position != at(sequence) and not as_of:
        _LOG.warning("%s; records after it may have expired, too: without `as_of` nobody can tell", message)
    elif context.options.fail_on_data_loss:
        raise DataLossError(
            f"{message}, and so have records that were not read. Set fail_on_data_loss=false to go on from the oldest that"
            " is left, and get the lost ones from the stream's copy."
        )
    else:
        _LOG.error("%s, and so have records that were not read; going on from the oldest that is left", message)


def _first_record(feed: ShardFeed) -> str | None:
    """The sequence number of the first record, None when there is none; answers may be empty before it."""
    page = feed.next_page(1)
    while not (page.records or page.at_tip or page.closed):
        page = feed.next_page(1)
    return page.records[0].sequence if page.records else None


def _is_kept(context: Context, as_of: str) -> bool:
    """Whether the stream still keeps everything that arrived at this moment or later."""
    kept_from = context.clock.now() - context.retry.call(context.api.describe, Calls()).retention_hours * 3600
    return datetime.fromisoformat(as_of).timestamp() > kept_from


def _some(shards: list[str]) -> str:
    more = len(shards) - _SHOWN
    return ", ".join(shards[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
