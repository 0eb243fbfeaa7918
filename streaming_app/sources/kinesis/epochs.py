"""The driver's side: hands out epochs one after the other, each beginning where the read log says the last one ended.

Resume rule: on a restart Spark names the offset it stands at (`partitions(c, c)`, or `partitions(start, end)` for a batch
that has to be done again) before it asks for the latest one. Everything else is in that offset and in the read log.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from pyspark.sql.datasource import InputPartition

from streaming_app.errors import SourceError
from streaming_app.journal.read_log import UnitRead
from streaming_app.sources.kinesis.bounded import NOTHING, Bound, BoundedRun, bounds_of
from streaming_app.sources.kinesis.consumer import ensure_consumer, remove_consumer
from streaming_app.sources.kinesis.context import Context
from streaming_app.sources.kinesis.hash_ranges import HashRanges
from streaming_app.sources.kinesis.lineage import Offset, Parents, needs_listing, plan
from streaming_app.sources.kinesis.messages import HashRange
from streaming_app.sources.kinesis.options import EFO
from streaming_app.sources.kinesis.probe import Findings, Hint, Prober
from streaming_app.sources.kinesis.reading import end_of
from streaming_app.sources.kinesis.retention import Retention
from streaming_app.sources.kinesis.start import first_offset
from streaming_app.sources.kinesis.stream import list_shards, listed_shards, parents_of

_LOG: Final = logging.getLogger(__name__)
_RELIST_AFTER: Final = 10.0  # seconds; children of a closed shard can take a moment to be listed


@dataclass(frozen=True)
class ShardTask:
    """One shard of a partition; `iterator` and `last_call` (seconds since 1970) only save calls.

    `hash_range`: which records of an aggregate belong to the shard; None where that is not known. `news`: the driver has
    seen records after the position.
    """

    shard: str
    position: str
    iterator: str | None = None
    last_call: float = 0.0
    hash_range: HashRange | None = None
    bound: Bound | None = None
    news: bool = False


@dataclass(frozen=True)
class EpochPartition(InputPartition):
    """The shards that one Spark task reads in an epoch, of `all_shards` that the epoch has.

    As `consumer` (ARN) by subscription, where there is one.
    """

    epoch: int
    shards: tuple[ShardTask, ...]
    all_shards: int = 1
    consumer: str = ""


@dataclass(frozen=True)
class _Next:
    """The epoch after the current one, and what the reads of the current one said."""

    offset: Offset
    reads: Mapping[str, UnitRead]
    planned_at: float


class Epochs:
    """Plans epochs for one query. Not safe for several threads, as Spark needs none."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._prober = Prober(context)
        self._known: Parents = {}
        self._hash_ranges = HashRanges(lambda: listed_shards(context))
        self._current: Offset | None = None
        self._next: _Next | None = None
        self._handed_out: Offset | None = None
        self._run: BoundedRun | None = None
        self._bounds: Mapping[str, Bound] | None = None
        self._retention = Retention(context)
        self._fresh_start = True
        self._consumer = ""  # its ARN, once it is registered

    def initial(self) -> Offset:
        """Where this checkpoint begins: decided once, durably."""
        log = self._context.read_log
        decided = log.plan(0) or log.put_plan_if_absent(0, first_offset(self._context).to_json())
        return Offset.from_json(decided)

    def latest(self) -> Offset:
        """The next epoch if there is something to read, else the current one. Raises SourceError."""
        if self._handed_out is not None:
            return self._handed_out
        current = self._current = self._current or self.initial()
        if self._draining():
            self._release_consumer()
            return current
        following = self._following(current)
        if self._nothing_to_read(current, following):
            return current
        self._handed_out = following.offset
        return following.offset

    def partitions(self, start: Offset, end: Offset) -> list[EpochPartition]:
        """The tasks of epoch `end.epoch`; from here on that is the current epoch."""
        hints = self._next.reads if self._next and self._next.offset == end else {}
        if end != self._current:
            self._next = None
        self._current, self._handed_out = end, None
        if end.epoch in {0, start.epoch}:
            return []
        if self._fresh_start:
            self._check_before_rerun(end)
        if self._context.options.deaggregate:
            self._hash_ranges.need(end.shards)
        tasks = [self._task(shard, position, hints.get(shard)) for shard, position in sorted(end.shards.items())]
        count = min(len(tasks), self._context.options.max_tasks, self._context.options.parallelism or len(tasks))
        consumer = self._registered_consumer()
        groups = spread(tasks, {shard: read.bytes for shard, read in hints.items()}, count)
        return [EpochPartition(end.epoch, group, len(tasks), consumer) for group in groups]

    def _check_before_rerun(self, end: Offset) -> None:
        """An epoch that has to be done again: shards that were not read in it may have lost what came since.

        Raises DataLossError; where losses are accepted the epoch is done with what there is.
        """
        done = self._context.read_log.units(end.epoch)
        left = {shard: position for shard, position in end.shards.items() if shard not in done}
        if self._retention.is_another_stream():
            self._retention.give_up(end.epoch, left)
            return
        before = self._context.read_log.units(end.epoch - 1)
        self._retention.check({shard: read for shard, read in before.items() if shard not in done})
        self._retention.check_start({shard: position for shard, position in left.items() if shard not in before})

    def commit(self, end: Offset) -> None:
        """Spark committed everything up to this epoch: fold its reads away."""
        self._context.read_log.seal(end.epoch)

    def stop(self) -> None:
        """Free threads."""
        self._prober.stop()

    def _registered_consumer(self) -> str:
        if self._context.options.consumer_type == EFO and not self._consumer:
            self._consumer = ensure_consumer(self._context)
        return self._consumer

    def _release_consumer(self) -> None:
        """At a clean end, where that is wanted: no batch is under way when Spark asks for the next one.

        Not in `stop`: Spark kills this process before it would come to that (measured on 4.1.1).
        """
        if self._consumer and self._context.options.deregister_consumer:
            remove_consumer(self._context)
            self._consumer = ""

    def _draining(self) -> bool:
        path = self._context.options.drain_path
        return bool(path) and Path(path).exists()

    def _nothing_to_read(self, current: Offset, following: _Next) -> bool:
        run = self._bounded_run(current)
        if run:
            self._note_ends(run, current, following.reads)
        if run and run.finished(following.offset.shards):
            self._release_consumer()
            return True
        if any(_left_behind(read) for read in following.reads.values()):
            return False
        findings = self._look(following)
        self._retention.saw_tip({shard: following.offset.shards[shard] for shard in findings.at_tip})
        if run:
            run.saw_tip(findings.at_tip)
        return not findings.news

    def _note_ends(self, run: BoundedRun, current: Offset, reads: Mapping[str, UnitRead]) -> None:
        """What the current epoch's reads ended at; a bound is decided once, so a read before a restart counts, too."""
        until = self._context.options.until
        run.saw_bound({shard for shard, read in reads.items() if until and read.detail.get("until") == until})
        if current.epoch > run.first_epoch:
            run.saw_tip({shard for shard, read in reads.items() if read.detail["at_tip"]})

    def _look(self, following: _Next) -> Findings:
        last_calls = {shard: read.detail["read_at_ms"] / 1000 for shard, read in following.reads.items()}
        return self._prober.look(following.offset.shards, last_calls)

    def _bounded_run(self, current: Offset) -> BoundedRun | None:
        if self._context.options.ends_by_itself and self._run is None:
            self._run = BoundedRun(current.epoch, list_shards(self._context))
        return self._run

    def _following(self, current: Offset) -> _Next:
        """The planned next epoch; planned anew after a while if children of a finished shard are still unknown."""
        now = self._context.clock.monotonic()
        if self._next is None or (self._unsettled(self._next.offset) and now > self._next.planned_at + _RELIST_AFTER):
            self._next = self._begin_again(current, now) or self._go_on(current, now)
            self._fresh_start = False
        return self._next

    def _begin_again(self, current: Offset, now: float) -> _Next | None:
        """At a start only: the epoch that reads a stream which was deleted and made again, where losses are accepted."""
        offset = self._retention.begin_again(current) if self._fresh_start else None
        return None if offset is None else _Next(offset, {}, now)

    def _go_on(self, current: Offset, now: float) -> _Next:
        reads = self._reads(current) if current.epoch else {}
        if self._fresh_start and not current.epoch:
            self._retention.check_start(current.shards)
        self._retention.check(reads)
        return _Next(replace(self._plan(current, reads), lag=lag_of(reads)), reads, now)

    def _unsettled(self, offset: Offset) -> bool:
        return needs_listing(offset, {}, self._known)

    def _plan(self, current: Offset, reads: Mapping[str, UnitRead]) -> Offset:
        if current.epoch == 0:
            return Offset(1, current.shards, current.finished)
        ends = {shard: end_of(read) for shard, read in reads.items()}
        self._hash_ranges.learn_children(reads.values())
        if needs_listing(current, ends, self._known):
            listed = listed_shards(self._context)
            self._known = parents_of(listed)
            self._hash_ranges.learn(listed)
        following = plan(current, ends, self._known)
        for shard in sorted(following.shards.keys() - current.shards.keys()):
            _LOG.info("shard %s starts at %s in epoch %d", shard, following.shards[shard], following.epoch)
        return following

    def _reads(self, current: Offset) -> dict[str, UnitRead]:
        """What the tasks of the current epoch recorded, of every shard."""
        found = self._context.read_log.units(current.epoch)
        missing = sorted(current.shards.keys() - found.keys())
        if missing:
            raise SourceError(
                f"epoch {current.epoch}: the read log {self._context.options.read_log_path} has no read of"
                f" {', '.join(missing)}. Either the query did not consume the whole batch (limit, take or an early end in"
                " foreachBatch), or the read log is not the one of this checkpoint: restore it, both belong together"
            )
        return {shard: found[shard] for shard in current.shards}

    def _task(self, shard: str, position: str, read: UnitRead | None) -> ShardTask:
        hint = self._prober.hint(shard, position)
        if hint is None and read is not None:
            hint = Hint(read.detail.get("iterator"), read.detail["read_at_ms"] / 1000)
        iterator, last_call, news = hint or Hint(None, 0.0)
        hash_range = self._hash_ranges.of(shard)
        return ShardTask(shard, position, iterator, last_call, hash_range, self._bound(shard), news)

    def _bound(self, shard: str) -> Bound | None:
        if not self._context.options.until:
            return None
        if self._bounds is None:
            self._bounds = bounds_of(self._context)
        return self._bounds.get(shard, NOTHING)


def spread(tasks: Sequence[ShardTask], load: Mapping[str, int], count: int) -> list[tuple[ShardTask, ...]]:
    """Shards in `count` groups of like load (bytes of the last read): each, the heaviest first, goes to the lightest group."""
    groups: list[list[ShardTask]] = [[] for _ in range(count)]
    weights = [(0, 0)] * count  # bytes, shards: those of unknown load are dealt out evenly
    for task in sorted(tasks, key=lambda task: -load.get(task.shard, 0)):
        lightest = weights.index(min(weights))
        groups[lightest].append(task)
        size, shards = weights[lightest]
        weights[lightest] = (size + load.get(task.shard, 0), shards + 1)
    return [tuple(group) for group in groups]


def lag_of(reads: Mapping[str, UnitRead]) -> dict[str, Any] | None:
    """Milliseconds behind the tip where these reads ended: the greatest, and of each shard that has any; None without reads.

    `idle`: all shards were read to their tips.
    """
    if not reads:
        return None
    behind = {shard: int(read.detail["millis_behind"]) for shard, read in sorted(reads.items())}
    return {
        "max_ms": max(behind.values()),
        "idle": all(read.detail["at_tip"] for read in reads.values()),
        "shards_ms": {shard: millis for shard, millis in behind.items() if millis},
    }


def _left_behind(read: UnitRead) -> bool:
    """The read ended at a limit, so there is more."""
    detail: dict[str, Any] = read.detail
    return not (detail["at_tip"] or detail["closed"] or detail.get("lost", False))
