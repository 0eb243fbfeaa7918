"""Warns when a stream may have dropped records while nobody read it.

Kinesis does not tell: an iterator after an expired record silently begins at the oldest one that is left.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from streaming_app.journal.read_log import UnitRead
from streaming_app.sources.kinesis.client import NotFoundError
from streaming_app.sources.kinesis.context import Context
from streaming_app.sources.kinesis.positions import after, at

_LOG: Final = logging.getLogger(__name__)
_LEAST_RETENTION: Final = 24 * 3600.0  # seconds; no stream keeps less, so a younger read has lost nothing


def warn_of_expired(context: Context, reads: Mapping[str, UnitRead]) -> list[str]:
    """Shards whose last delivered record is gone, a day or more after it was read; each is logged.

    Whether others followed it and are gone too cannot be known, so this is no error: an idle shard looks the same.
    """
    suspects = [read for read in reads.values() if _unread_for(context, read) >= _LEAST_RETENTION]
    expired = [read for read in suspects if not _still_there(context, read)]
    for read in expired:
        hours = _unread_for(context, read) / 3600
        _LOG.warning(
            "shard %s was last read %.0f hours ago and the record it was read to has expired: records that came after"
            " it may have expired unread. Compare with the producer's counts, or replay from the stream's copy.",
            read.unit,
            hours,
        )
    return [read.unit for read in expired]


def _unread_for(context: Context, read: UnitRead) -> float:
    """Seconds since the youngest record that is known to have been read arrived, or since the tip was seen."""
    return float(context.clock.now() - (read.detail["read_at_ms"] - read.detail["millis_behind"]) / 1000)


def _still_there(context: Context, read: UnitRead) -> bool:
    end = str(read.detail["end"])
    sequence = end.rpartition(":")[2]
    if end != after(sequence):
        return True  # nothing was delivered yet
    try:
        records = context.feed(read.unit, at(sequence)).peek().records
    except NotFoundError:
        return True  # the task that reads it finds out, and says so
    return bool(records) and records[0].sequence == sequence
