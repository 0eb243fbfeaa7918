"""Notices what a stream lost while nobody read it: records that expired, and a stream deleted and made again.

Kinesis tells neither. An iterator after an expired record silently begins at the oldest that is left, and a new stream of
the old name answers as if it were the old one. So the source keeps, in its read log's notes, when the stream was created,
and until when each shard is known to have been read: the arrival of the last record read, or the last look that found the
shard at its tip. A time of idleness while the service runs is therefore no loss, only a time of downtime is.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from streaming_app.errors import DataLossError
from streaming_app.journal.losses import Losses
from streaming_app.journal.read_log import UnitRead
from streaming_app.sources.kinesis.context import Context
from streaming_app.sources.kinesis.expiry import (
    ACCEPT,
    LEAST_RETENTION,
    TIPS,
    check_unread,
    expired,
    known_until,
    moment_text,
    still_there,
    unread_since,
)
from streaming_app.sources.kinesis.lineage import Offset, start_at_roots
from streaming_app.sources.kinesis.messages import StreamSummary
from streaming_app.sources.kinesis.positions import TRIM_HORIZON, is_after
from streaming_app.sources.kinesis.reading import given_up
from streaming_app.sources.kinesis.stream import describe, list_shards

_LOG: Final = logging.getLogger(__name__)
_TIPS_EVERY: Final = 600.0  # seconds between two notes of idle shards
_STREAM: Final = "stream"


class Retention:
    """One driver's watch over one stream."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._tips: dict[str, Any] | None = None

    def begin_again(self, current: Offset) -> Offset | None:
        """The epoch that reads a stream made anew from its beginning, None while it is still the same stream.

        Raises DataLossError for another stream of the name, unless losses are accepted.
        """
        summary = describe(self._context)
        log = self._context.read_log
        known = log.noted(_STREAM)
        if known is None:
            log.note(_STREAM, _identity(summary, epoch=0))
            return None
        if known["created"] == summary.created and known["epoch"] <= current.epoch:
            return None
        if known["created"] != summary.created:
            self._another_stream(known, summary)
            log.note(_STREAM, _identity(summary, current.epoch + 1))
        return Offset(current.epoch + 1, start_at_roots(list_shards(self._context), TRIM_HORIZON).shards)

    def is_another_stream(self) -> bool:
        """The same question before a batch is done again. Raises DataLossError if so, unless losses are accepted."""
        summary, known = describe(self._context), self._context.read_log.noted(_STREAM)
        if known is None or known["created"] == summary.created:
            return False
        self._another_stream(known, summary)
        return True

    def give_up(self, epoch: int, shards: Mapping[str, str]) -> None:
        """Of a batch that was planned in the stream before this one: what was not read of these shards is lost."""
        if not shards:
            return
        log, now = self._context.read_log, self._context.clock.now()
        what = ", ".join(f"{shard} from {position}" for shard, position in sorted(shards.items()))
        message = f"epoch {epoch}: what was to be read of {what} is lost with the stream that was deleted"
        if Losses(log).note(f"epoch-{epoch}-unread", message):
            _LOG.error("%s", message)
        for shard, position in shards.items():
            log.put_if_absent(epoch, given_up(shard, position, now))

    def check(self, reads: Mapping[str, UnitRead]) -> None:
        """Raises DataLossError for shards whose next records have expired; where that is accepted each is noted once."""
        now = self._context.clock.now()
        suspects = [read for read in reads.values() if now - self._read_until(read) >= LEAST_RETENTION]
        kept_from = now - describe(self._context).retention_hours * 3600 if suspects else now
        for read in suspects:
            until = self._read_until(read)
            if until <= kept_from and not read.detail.get("lost") and not self._still_there(read):
                where = (
                    f"shard {read.unit}" if not read.detail["closed"] else f"shard {read.unit}, whose children follow,"
                )
                expired(self._context, where, f"{read.unit}-{read.detail['read_at_ms']}", until, kept_from)

    def check_start(self, shards: Mapping[str, str]) -> None:
        """As `check`, for shards of which nothing was read yet from these positions, as far as anything is known of them."""
        check_unread(self._context, shards, unread_since(self._context.read_log, shards))

    def saw_tip(self, shards: Mapping[str, str]) -> None:
        """A look found these shards with nothing after these positions; noted now and then, for the next start."""
        noted, now = self._noted_tips(), self._context.clock.now()
        if shards and (now - noted["at"] >= _TIPS_EVERY or not shards.items() <= noted["shards"].items()):
            self._tips = {"at": now, "shards": dict(shards)}
            self._context.read_log.note(TIPS, self._tips)

    def _noted_tips(self) -> dict[str, Any]:
        if self._tips is None:
            self._tips = self._context.read_log.noted(TIPS) or {"at": 0.0, "shards": {}}
        return self._tips

    def _read_until(self, read: UnitRead) -> float:
        return known_until(read, self._noted_tips())

    def _still_there(self, read: UnitRead) -> bool:
        """Whether the last record read is kept, and so everything after it.

        Where nothing was delivered there is no such record. Children's records are younger than their parents'.
        """
        end = str(read.detail["end"])
        return is_after(end) and still_there(self._context, read.unit, end, ended=read.detail["closed"])

    def _another_stream(self, known: Mapping[str, Any], summary: StreamSummary) -> None:
        message = (
            f"stream {self._context.options.stream_name!r} was created {moment_text(summary.created)}, and this checkpoint read"
            f" one created {moment_text(known['created'])}: it was deleted and made again, and the positions mean nothing in it"
        )
        if self._context.options.fail_on_data_loss:
            raise DataLossError(f"{message}. Start with a new checkpoint, or {ACCEPT} to read it from its beginning.")
        if Losses(self._context.read_log).note(f"stream-{summary.created}", message):
            _LOG.error("%s; reading the new stream from its beginning", message)


def _identity(summary: StreamSummary, epoch: int) -> dict[str, Any]:
    return {"arn": summary.arn, "created": summary.created, "epoch": epoch}
