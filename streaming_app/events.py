"""What happens to a source, told by the service to whoever keeps books of it (metrics, readiness)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class EventKind(StrEnum):
    """In the order of a source's life; `failed` goes back to `started` or ends the service."""

    RECOVERED = "recovered"
    STARTED = "started"
    FAILED = "failed"
    DONE = "done"
    STOPPED = "stopped"


@dataclass(frozen=True)
class SourceEvent:
    """One thing that happened. `error` is the class of a failure, `suite` the fingerprint that a start runs under.

    `figures` of a recovery: batches `finished` and `voided`, staged files `discarded`.
    """

    kind: EventKind
    source: str
    error: str = ""
    suite: str = ""
    figures: Mapping[str, int] = field(default_factory=dict)
