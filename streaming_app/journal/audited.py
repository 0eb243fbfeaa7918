"""The result of the last audit, kept beside the checkpoints, so that a service's metrics can tell of it after restarts, too."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final

from streaming_app.storage import Storage

_KEY: Final = "audit/last.json"
_FORMAT: Final = 1


@dataclass(frozen=True)
class Audited:
    """When an audit ended (seconds since 1970), how long it took, and how many differences and notices it found."""

    ended_at: float
    seconds: float
    differences: int
    notices: int = 0
    settled: bool = False  # no service was running: what was unfinished counted as a difference


class LastAudit:
    """The note in the folder of all checkpoints. The last audit to end wins; it takes part in no recovery."""

    def __init__(self, checkpoints: Storage) -> None:
        self._storage = checkpoints

    def put(self, audited: Audited) -> None:
        """Keep a result in place of the one before. Raises SinkError where the folder cannot be written."""
        self._storage.put(_KEY, json.dumps({"format": _FORMAT, **asdict(audited)}).encode())

    def get(self) -> Audited | None:
        """The result, None before the first audit, or where another version wrote it."""
        data = self._storage.get(_KEY)
        try:
            document = json.loads(data) if data else {}
            return Audited(**document) if document.pop("format", None) == _FORMAT else None
        except (AttributeError, TypeError, ValueError):
            return None
