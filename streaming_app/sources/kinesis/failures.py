"""The kinds of failure that a call of Kinesis can end with, as far as readers treat them differently."""

from __future__ import annotations

from streaming_app.errors import SourceError


class TemporaryError(SourceError):
    """Throttled, unreachable or an internal error of Kinesis: worth another call a little later."""


class LimitError(TemporaryError):
    """LimitExceededException: too many calls, or more of something than there may be; Kinesis has one name for both."""


class IteratorExpiredError(SourceError):
    """A shard iterator is older than its 5 minutes."""


class NotFoundError(SourceError):
    """Kinesis knows no such shard, stream or consumer."""


class InvalidPositionError(SourceError):
    """Kinesis does not take a sequence number: it is none of this stream's."""


class InUseError(SourceError):
    """A consumer of this name exists; or its last subscription to this shard is less than 5 s old, or took this one over."""
