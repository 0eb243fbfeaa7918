"""Where a checkpoint stands: the positions at which the next batch that counts will begin. Asks only the checkpoint.

A batch counts when it is in the sink's ledger or, for a query without our sink, when Spark has committed it. A batch that
is only logged is read again, so the next one begins where it began.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from streaming_app.config.positions import StartPositions, stream_name
from streaming_app.errors import ConfigError, SinkError, SourceError
from streaming_app.journal.ledger import Ledger
from streaming_app.journal.read_log import ReadLog
from streaming_app.journal.spark_log import offset_of_batch, read_spark_log
from streaming_app.sources.kinesis.expiry import TIPS, open_until, unread_since
from streaming_app.sources.kinesis.lineage import Offset
from streaming_app.sources.kinesis.positions import at_timestamp
from streaming_app.sources.kinesis.reading import end_of
from streaming_app.storage import Storage


@dataclass(frozen=True)
class Standing:
    """`offset`: the next epoch, its shards' positions, shards that were read to their end.

    `counted` is the last batch that counts, `again` the one that was logged and will be read again (-1: none), and
    `unpublished` batches are in the ledger and not all of their files are visible yet. Everything that arrived before
    `read_until` (seconds since 1970) was read; None where that is not known.
    """

    offset: Offset
    counted: int = -1
    again: int = -1
    unpublished: tuple[int, ...] = ()
    read_until: float | None = None


def standing_of(checkpoint: Storage) -> Standing:
    """Raises ConfigError when nothing was begun here; SourceError or SinkError when the logs disagree or are damaged."""
    spark = read_spark_log(checkpoint)
    read_log, ledger = ReadLog(checkpoint), Ledger(checkpoint)
    batch = spark.last_logged
    if batch < 0:
        begun = _begun(checkpoint, read_log)
        return Standing(begun, read_until=_read_until(read_log, begun))
    unpublished = tuple(entry.batch_id for entry in ledger.unpublished())
    newest = ledger.newest()
    if newest > batch:
        raise SinkError(
            f"the ledger in {checkpoint.uri} knows batch {newest}, Spark's log ends with {batch}: they do not belong"
            " together. `python -m streaming_app doctor` tells more"
        )
    if batch <= spark.last_committed or ledger.get(batch) is not None:
        following = _after(checkpoint, read_log, batch)
        until = _read_until(read_log, following)
        return Standing(following, batch, unpublished=unpublished, read_until=until)
    again = Offset.from_json(offset_of_batch(checkpoint, batch))
    return Standing(again, batch - 1, batch, unpublished, _read_until(read_log, again))


def _begun(checkpoint: Storage, read_log: ReadLog) -> Offset:
    """Before the first batch: as the start was decided."""
    decided = read_log.plan(0)
    if decided is None:
        raise ConfigError(f"{checkpoint.uri} holds no positions yet: no query has begun there")
    first = Offset.from_json(decided)
    return Offset(1, first.shards, first.finished)


def _after(checkpoint: Storage, read_log: ReadLog, batch: int) -> Offset:
    """After a batch: where its reads ended. Children of finished shards are left to whoever sees the stream's listing."""
    current = Offset.from_json(offset_of_batch(checkpoint, batch))
    if current.epoch == 0:
        return Offset(1, current.shards, current.finished)
    reads = read_log.units(current.epoch)
    missing = sorted(current.shards.keys() - reads.keys())
    if missing:
        raise SourceError(
            f"the read log in {checkpoint.uri} has no read of {', '.join(missing)} in epoch {current.epoch}, which Spark's"
            f" batch {batch} has read; they do not belong together: restore the checkpoint from a backup, whole"
        )
    ends = {shard: end_of(reads[shard]) for shard in current.shards}
    active = {shard: end.position for shard, end in ends.items() if not end.over}
    finished = {shard: end.position for shard, end in ends.items() if end.over}
    return Offset(current.epoch + 1, active, {**current.finished, **finished})


def _read_until(read_log: ReadLog, following: Offset) -> float | None:
    """Everything that arrived before this moment was read by the epoch before, as far as anything is known.

    Shards that ended in that epoch count, for their children's sake, as do those whose end was not seen yet. Before the
    first read it is as the start was decided.
    """
    tips = read_log.noted(TIPS)
    known = [open_until(read, tips) for read in read_log.units(following.epoch - 1).values()]
    return min(known or unread_since(read_log, following.shards).values(), default=None)


def exported(stream: str, standing: Standing) -> StartPositions:
    """The document that another checkpoint of the same stream can begin with."""
    until = standing.read_until
    as_of = "" if until is None else at_timestamp(datetime.fromtimestamp(until, UTC)).partition(":")[2]
    return StartPositions(
        dict(standing.offset.shards), dict(standing.offset.finished), stream_name(stream), as_of=as_of
    )
