"""What is shown at one moment: made by `show`, drawn by `view` and `plain`. All text in it may be hostile."""

from __future__ import annotations

from dataclasses import dataclass

from streaming_app.demo.watch import NewFile


@dataclass(frozen=True)
class SourceLine:
    """One source: rows sent and in the lake, rows/s, rows sent but not there yet and for how long, age of the last."""

    name: str
    sent: int = 0
    read: int = 0
    clean: int = 0
    dead: int = 0
    rate: float = 0.0
    oldest_waiting: float = 0.0
    age: float | None = None

    @property
    def waiting(self) -> int:
        """Rows that were sent and are not in the lake yet."""
        return max(0, self.sent - self.read)


@dataclass(frozen=True)
class Step:
    """One thing that has to happen before orders flow, and the seconds it has taken so far or, once done, altogether."""

    text: str
    seconds: float
    done: bool = False


@dataclass(frozen=True)
class State:
    """Everything on the screen.

    Times in seconds, `history` rows per second, oldest first; `median_age` and `slowest`
    are event to queryable over the last AGE_WINDOW seconds, `slowest_ever` is since the start.
    """

    phase: str
    elapsed: float
    total: float
    steps: tuple[Step, ...] = ()
    sources: tuple[SourceLine, ...] = ()
    reasons: tuple[tuple[str, int], ...] = ()
    files: tuple[NewFile, ...] = ()
    history: tuple[int, ...] = ()
    median_age: float | None = None
    slowest: float | None = None
    slowest_ever: float | None = None
    warning: str = ""

    @property
    def flowing(self) -> bool:
        """Whether there is something to count."""
        return bool(self.sources)

    def both(self) -> SourceLine:
        """The sum of the sources."""
        return SourceLine(
            "both",
            sent=sum(line.sent for line in self.sources),
            read=sum(line.read for line in self.sources),
            clean=sum(line.clean for line in self.sources),
            dead=sum(line.dead for line in self.sources),
            rate=sum(line.rate for line in self.sources),
            oldest_waiting=max((line.oldest_waiting for line in self.sources), default=0.0),
        )


def printable(text: str) -> str:
    """Text on one line without anything that a terminal would obey."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
