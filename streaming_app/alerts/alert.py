"""What an alert is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """`error`: the service does not go on by itself. `warning`: it does."""

    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Alert:
    """One thing to tell. Alerts of the same `key` and `source` are the same thing happening again."""

    key: str
    title: str
    text: str
    level: Level = Level.WARNING
    source: str = ""
