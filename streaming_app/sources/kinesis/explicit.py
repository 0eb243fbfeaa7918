"""A new checkpoint that begins at positions somebody gave, shard by shard: another checkpoint's, another tool's.

Every shard of the stream must be accounted for, or nothing begins: a shard that nobody named would be read from a place
nobody chose. A shard is accounted for when it is named, or descends from one that is (it follows when its parents were
read to their end), or is an ancestor of one (it was read before). `default` takes what is left.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Final

from streaming_app.config.positions import StartPositions, stream_name
from streaming_app.errors import SourceError
from streaming_app.sources.kinesis.context import Context
from streaming_app.sources.kinesis.expiry import check_unread, gone, moment_text, note_moved, still_there, unread_since
from streaming_app.sources.kinesis.lineage import Offset, Parents, ShardEnd, leaves, plan, relatives, start_at_roots
from streaming_app.sources.kinesis.positions import is_at, is_sequence
from streaming_app.sources.kinesis.stream import describe

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
    stream = context.options.stream_name
    _same_stream(stream, given)
    _all_exist(stream, given, listing)
    by_default = _by_default(stream, given, listing)
    shards = {**given.shards, **by_default}
    with ThreadPoolExecutor(_THREADS) as pool:
        named = [shard for shard, position in given.shards.items() if is_sequence(position)]
        kept = dict(zip(named, pool.map(lambda shard: _is_kept(context, shard, shards[shard]), named), strict=True))
        found = pool.map(lambda shard: _decided(context, shard, shards[shard], pin), shards)
        decided = dict(zip(shards, found, strict=True))
    ends = {shard: ShardEnd(position) for shard, position in decided.items()}
    begun = plan(Offset(-1, decided, given.finished), ends, listing)
    expired = {shard: given.shards[shard] for shard in named if not kept[shard]}
    _check_records(context, expired)
    moved = {shard: place for shard, place in begun.shards.items() if shard not in by_default and not is_at(place)}
    _check_moment(context, given, moved, expired)
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


def _is_kept(context: Context, shard: str, position: str) -> bool:
    """Whether the position still is where it was. Raises SourceError for what is no position."""
    try:
        return still_there(context, shard, position)
    except SourceError as error:
        raise SourceError(
            f"shard {shard} cannot be read from the given position {position}: {error}. Is it this stream's?"
        ) from error


def _check_records(context: Context, expired: Mapping[str, str]) -> None:
    """Records that were to be read and are gone are a loss whenever that was."""
    kept_since = context.clock.now() - describe(context).retention_hours * 3600 if expired else 0.0
    for shard, position in expired.items():
        if is_at(position):
            message = f"{_has_expired(shard, position)}; the stream keeps records since {moment_text(kept_since)}"
            gone(context, message, f"{shard}-start", where=f"shard {shard}", until=kept_since)


def _check_moment(
    context: Context, given: StartPositions, moved: Mapping[str, str], expired: Mapping[str, str]
) -> None:
    """Whether all that arrived after `as_of` is kept; it is remembered for as long as nothing was read from here.

    `moved` are positions before which everything was read by then, `expired` those whose records are gone.
    """
    if given.as_of:
        note_moved(context.read_log, moved, datetime.fromisoformat(given.as_of).timestamp())
        check_unread(context, moved, unread_since(context.read_log, moved))
        return
    for shard, position in expired.items():
        if not is_at(position):
            _LOG.warning(
                "%s; records after it may have, too: without `as_of` nobody can tell", _has_expired(shard, position)
            )
    if given.finished:
        _LOG.warning("what follows the finished shards may have expired in part: without `as_of` nobody can tell")


def _has_expired(shard: str, position: str) -> str:
    return f"shard {shard}: the record of the given position {position} has expired"


def _some(shards: list[str]) -> str:
    more = len(shards) - _SHOWN
    return ", ".join(shards[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
