"""Whether records expired before they were read: until when a shard is known to have been read, and what is kept since.

Kinesis does not say so. An iterator after an expired record silently begins at the oldest that is left, and TRIM_HORIZON
and AT_TIMESTAMP always did. What is known of the time stands in the read log: in each read, and in two notes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from streaming_app.errors import DataLossError
from streaming_app.journal.losses import Losses
from streaming_app.journal.read_log import ReadLog, UnitRead
from streaming_app.sources.kinesis.context import Context
from streaming_app.sources.kinesis.failures import NotFoundError
from streaming_app.sources.kinesis.positions import at, is_sequence, is_timestamp, moment_of, sequence_of
from streaming_app.sources.kinesis.stream import describe

_LOG: Final = logging.getLogger(__name__)
LEAST_RETENTION: Final = 24 * 3600.0  # seconds; no stream keeps less (API reference, RetentionPeriodHours)
TIPS: Final = "tips"  # the note of the last looks that found shards with nothing after their positions
_MOVED: Final = "moved"  # the same for the positions that a checkpoint began with: what another one had read (`as_of`)
ACCEPT: Final = "set fail_on_data_loss=false"


def known_until(read: UnitRead, tips: Mapping[str, Any] | None) -> float:
    """Seconds since 1970: everything that arrived before in the read's shard was read; `tips` is the note of `TIPS`.

    Of a shard that was read to its end its children are what follows: see `open_until`.
    """
    if read.detail["closed"]:
        return open_until(read, tips)
    seen = _noted_for(tips, read.unit, read.detail["end"]) or 0.0
    return max(seen, _answered(read))


def open_until(read: UnitRead, tips: Mapping[str, Any] | None) -> float:
    """As `known_until`, for the shard and whatever descends from it: no child of it began before.

    A shard can be closed long before its last record is read, and its children have records since then.
    """
    seen = _noted_for(tips, read.unit, read.detail["end"]) or 0.0
    known = read.detail.get("open_until_ms")
    return max(seen, _answered(read) if known is None else known / 1000)


def _answered(read: UnitRead) -> float:
    return float(read.detail["read_at_ms"] - read.detail["millis_behind"]) / 1000


def unread_since(read_log: ReadLog, positions: Mapping[str, str]) -> dict[str, float]:
    """As `known_until` for positions after which nothing was read yet; shards of which nothing is known are left out."""
    notes = [read_log.noted(name) for name in (TIPS, _MOVED)]
    known = {}
    for shard, position in positions.items():
        moments = [_noted_for(note, shard, position) for note in notes]
        moments.append(moment_of(position) if is_timestamp(position) else None)
        if told := [moment for moment in moments if moment is not None]:
            known[shard] = max(told)
    return known


def note_moved(read_log: ReadLog, positions: Mapping[str, str], as_of: float) -> None:
    """Remember that everything before these positions was read by `as_of` (seconds since 1970), by another checkpoint."""
    read_log.note(_MOVED, {"at": as_of, "shards": dict(positions)})


def _noted_for(note: Mapping[str, Any] | None, shard: str, position: str) -> float | None:
    return float(note["at"]) if note and note["shards"].get(shard) == position else None


def check_unread(context: Context, positions: Mapping[str, str], since: Mapping[str, float]) -> None:
    """Before something is read from these positions, of which `since` says until when what came before them was read.

    Raises DataLossError where what came next has expired, or may have; where that is accepted it is noted once.
    """
    now = context.clock.now()
    if all(now - moment < LEAST_RETENTION for moment in since.values()):
        return
    summary = describe(context)
    kept_from = now - summary.retention_hours * 3600
    for shard, moment in since.items():
        position = positions[shard]
        whole = still_there(context, shard, position) if is_sequence(position) else summary.created > kept_from
        if moment <= kept_from and not whole:
            expired(context, f"shard {shard}", f"{shard}-start", moment, kept_from)


def still_there(context: Context, shard: str, position: str, *, ended: bool = False) -> bool:
    """Whether the record that a position names is kept, and so everything after it, in `ended` shards' children as well.

    Raises SourceError.
    """
    sequence = sequence_of(position)
    feed = context.feed(shard, at(sequence))
    try:
        page = feed.peek()
        while not (page.records or page.at_tip or page.closed):  # answers may be empty before the first record
            page = feed.peek()
    except NotFoundError:
        return not ended  # the task that reads the shard finds out, and says so
    return bool(page.records) and page.records[0].sequence == sequence


def expired(context: Context, where: str, name: str, since: float, kept_from: float) -> None:
    """Records that arrived from `since` to `kept_from` are gone: DataLossError, or noted once where that is accepted."""
    message = (
        f"{where} was read up to {moment_text(since)} and the stream keeps records since {moment_text(kept_from)}: whatever"
        f" arrived in those {(kept_from - since) / 3600:.1f} hours has expired unread, and Kinesis does not tell whether"
        " anything did"
    )
    gone(context, message, name, where=where, since=since, until=kept_from)


def gone(context: Context, message: str, name: str, **detail: Any) -> None:
    """Records are gone, as `message` says: DataLossError, or noted once where that is accepted."""
    if context.options.fail_on_data_loss:
        raise DataLossError(
            f"{message}. To go on from the oldest record that is left, {ACCEPT}; to get the lost ones, backfill from the"
            " stream's copy."
        )
    if Losses(context.read_log).note(name, message, **detail):
        _LOG.error("%s; going on from the oldest record that is left", message)


def moment_text(seconds: float) -> str:
    """ISO 8601, UTC, whole seconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
