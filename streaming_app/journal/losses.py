"""What a source lost upstream and was allowed to go on without (`fail_on_data_loss: false`), beside its read log."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from streaming_app.journal.read_log import ReadLog

_LOST: Final = "lost-"
_TOLD: Final = "told-of-losses"


@dataclass(frozen=True)
class Loss:
    """One loss: its name, what was lost in words, when it was noticed (seconds since 1970), and what else is known."""

    name: str
    what: str
    noticed_at: float
    detail: dict[str, Any]


class Losses:
    """The losses of a checkpoint. Each is there once, whoever notices it and however often."""

    def __init__(self, log: ReadLog) -> None:
        self._log = log

    def note(self, name: str, what: str, **detail: Any) -> bool:
        """Remember a loss; False where it is remembered already."""
        if self._log.noted(_LOST + name) is not None:
            return False
        self._log.note(_LOST + name, {"name": name, "what": what, "noticed_at": time.time(), **detail})
        return True

    def all(self) -> list[Loss]:
        """Every loss, in the order of their names."""
        return [_loss(dict(note)) for note in self._log.notes(_LOST)]

    def tell(self, tell: Callable[[Loss], None]) -> list[Loss]:
        """Every loss; `tell` is called for those that nobody was told of yet."""
        losses = self.all()
        told = set((self._log.noted(_TOLD) or {}).get("names", []))
        new = [loss for loss in losses if loss.name not in told]
        for loss in new:
            tell(loss)
        if new:
            self._log.note(_TOLD, {"names": sorted(loss.name for loss in losses)})
        return losses


def _loss(note: dict[str, Any]) -> Loss:
    return Loss(note.pop("name", ""), note.pop("what"), note.pop("noticed_at", 0.0), note)
