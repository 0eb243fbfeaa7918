"""What the driver asks about the stream as a whole: its shards, and which stream it is."""

from __future__ import annotations

from collections.abc import Iterable

from streaming_app.errors import SourceError
from streaming_app.sources.kinesis.context import Context
from streaming_app.sources.kinesis.failures import NotFoundError
from streaming_app.sources.kinesis.messages import ShardListed, StreamSummary
from streaming_app.sources.kinesis.retry import Calls


def listed_shards(context: Context) -> list[ShardListed]:
    """Every shard that is listed. Raises SourceError when there is no such stream."""
    try:
        return context.retry.call(context.api.list_shards, Calls())
    except NotFoundError as error:
        raise SourceError(f"stream {context.options.stream_name!r} does not exist: {error}") from error


def list_shards(context: Context) -> dict[str, tuple[str, ...]]:
    """Every shard that is listed, with its parents. Raises SourceError when there is no such stream."""
    return parents_of(listed_shards(context))


def parents_of(listed: Iterable[ShardListed]) -> dict[str, tuple[str, ...]]:
    """A listing as planning takes it."""
    return {item.shard: item.parents for item in listed}


def describe(context: Context) -> StreamSummary:
    """Which stream this is. Raises SourceError when there is none."""
    try:
        return context.retry.call(context.api.describe, Calls())
    except NotFoundError as error:
        raise SourceError(f"stream {context.options.stream_name!r} does not exist: {error}") from error
