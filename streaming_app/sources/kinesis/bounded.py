"""Runs that end by themselves: up to what there was at their start (`available_now`), or up to a moment (`until`).

`until` ends by position: at the run's start Kinesis itself is asked, with an AT_TIMESTAMP iterator, for each shard's first
record that arrived at that moment or later. The answer is noted beside the read log, so that every restart of the run ends at
the same records, and is logged.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

from streaming_app.sources.kinesis.context import Context
from streaming_app.sources.kinesis.lineage import Parents, leaves
from streaming_app.sources.kinesis.messages import Record
from streaming_app.sources.kinesis.positions import at_timestamp
from streaming_app.sources.kinesis.stream import list_shards

_LOG: Final = logging.getLogger(__name__)
_THREADS: Final = 16


class Bound(NamedTuple):
    """Where a shard's read ends for good: before sequence number `before`, or before the first arrival at `moment_ms`."""

    before: int | None = None
    moment_ms: int | None = None

    def cut(self, records: Sequence[Record]) -> Sequence[Record]:
        """The records that are still to be read."""
        for index, record in enumerate(records):
            if self._reached(record):
                return records[:index]
        return records

    def _reached(self, record: Record) -> bool:
        if self.before is not None:
            return int(record.sequence) >= self.before
        return self.moment_ms is not None and record.arrival * 1000 >= self.moment_ms


NOTHING: Final = Bound(before=0)


@dataclass
class BoundedRun:
    """Which shards there were at its start, and which of them are done: seen at their tip since, or read to their bound."""

    first_epoch: int
    scope: Parents
    done: set[str] = field(default_factory=set)

    def saw_tip(self, shards: set[str] | frozenset[str]) -> None:
        """A shard that has children is not done at its tip: it is closed, and they come after it."""
        self.done |= shards & set(leaves(self.scope))

    def saw_bound(self, shards: set[str]) -> None:
        """A shard is done at its bound, whatever children it has: they are younger than the bound."""
        self.done |= shards

    def finished(self, shards: Mapping[str, str]) -> bool:
        """Whether nothing is left of what there was at the start; younger shards do not count."""
        return all(shard in self.done or shard not in self.scope for shard in shards)


def bounds_of(context: Context) -> Mapping[str, Bound]:
    """Each shard's bound for the option `until`, decided once; a shard that is not named is younger, and gives nothing."""
    until = datetime.fromisoformat(context.options.until)
    name = f"until-{until:%Y%m%dT%H%M%S.%f}"
    noted = context.read_log.noted(name)
    if noted is None:
        shards = list(list_shards(context))
        with ThreadPoolExecutor(_THREADS) as pool:
            found = dict(zip(shards, pool.map(lambda shard: _first_after(context, shard, until), shards), strict=True))
        noted = {"shards": found}
        context.read_log.note(name, noted)
        _LOG.info("reading up to %s: %s", context.options.until, _in_words(found))
    moment_ms = round(until.timestamp() * 1000)
    # A shard without such a record at that time: none that came before has a later arrival, so what has came after.
    return {
        shard: Bound(int(first)) if first else Bound(moment_ms=moment_ms) for shard, first in noted["shards"].items()
    }


def _first_after(context: Context, shard: str, until: datetime) -> str | None:
    """The sequence number of the first record that arrived then or later, None when there is none yet."""
    feed = context.feed(shard, at_timestamp(until))
    while True:
        page = feed.peek()
        if page.records:
            return page.records[0].sequence
        if page.at_tip or page.closed:
            return None


def _in_words(found: Mapping[str, str | None]) -> str:
    return ", ".join(f"{shard} before {first}" if first else f"{shard} to its tip" for shard, first in found.items())
