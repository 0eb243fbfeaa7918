"""A new checkpoint that begins at positions somebody gave, shard by shard: another checkpoint's, another tool's.

Every shard of the stream must be accounted for, or nothing begins: a shard that nobody named would be read from a place
nobody chose. A shard is accounted for when it is named, or descends from one that is (it follows when its parents were
read to their end), or is an ancestor of one (it was read before). `default` takes what is left.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from streaming_app.config.positions import StartPositions
from streaming_app.errors import SourceError
from streaming_app.sources.kinesis.context import Context
from streaming_app.sources.kinesis.lineage import Offset, Parents, ShardEnd, leaves, plan, relatives, start_at_roots
from streaming_app.sources.kinesis.positions import is_sequence
from streaming_app.sources.kinesis.retry import Calls

_LOG: Final = logging.getLogger(__name__)
_LATEST: Final = "LATEST"
_THREADS: Final = 16
_SHOWN: Final = 20  # shards that a message names
Pin = Callable[[Context, str], str]


def explicit_offset(context: Context, listing: Parents, given: StartPositions, pin: Pin) -> Offset:
    """Epoch 0 as `given` says; `pin` finds the position that LATEST means now.

    Raises SourceError for another stream's positions, shards that do not exist or are not accounted for, and sequence
    numbers that Kinesis refuses.
    """
    _same_stream(context.options.stream_name, given)
    _all_exist(context.options.stream_name, given, listing)
    shards = {**given.shards, **_by_default(context.options.stream_name, given, listing)}
    with ThreadPoolExecutor(_THREADS) as pool:
        found = pool.map(lambda shard: _decided(context, shard, shards[shard], pin), shards)
        decided = dict(zip(shards, found, strict=True))
    ends = {shard: ShardEnd(position) for shard, position in decided.items()}
    begun = plan(Offset(-1, decided, given.finished), ends, listing)
    _LOG.info("begins at given positions: %d shards named, %d read", len(given.shards), len(begun.shards))
    return begun


def _same_stream(stream: str, given: StartPositions) -> None:
    if given.stream and _name(given.stream) != _name(stream):
        raise SourceError(
            f"the given positions are those of stream {given.stream!r}, and this is {stream!r}: sequence numbers mean"
            " nothing in another stream. To move to a new stream, let the old one be read to its end, then begin the new"
            " one with start: TRIM_HORIZON, or with start: AT_TIMESTAMP and the time at which the producers moved"
        )


def _name(stream: str) -> str:
    """The name of a stream given by name or ARN."""
    return stream.rpartition("/")[2]


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
    """The position, once Kinesis has accepted it; a refused one would stop every batch of the new checkpoint."""
    if position == _LATEST:
        return pin(context, shard)
    if is_sequence(position):
        try:
            context.retry.call(lambda: context.api.shard_iterator(shard, position), Calls())
        except SourceError as error:
            raise SourceError(
                f"shard {shard} cannot be read from the given position {position}: {error}. Is it this stream's?"
            ) from error
    return position


def _some(shards: list[str]) -> str:
    more = len(shards) - _SHOWN
    return ", ".join(shards[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def exported(stream: str, shards: Mapping[str, str], finished: Mapping[str, str]) -> StartPositions:
    """The document that another checkpoint of the same stream can begin with."""
    return StartPositions(dict(shards), dict(finished), _name(stream))
