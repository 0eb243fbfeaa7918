"""Whether the service is ready: everything recovered, and every source goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from streaming_app.events import EventKind, SourceEvent

_STATES = {
    EventKind.RECOVERED: "recovered",
    EventKind.STARTED: "running",
    EventKind.FAILED: "failed",
    EventKind.DONE: "done",
    EventKind.STOPPED: "stopped",
}
_GOOD = frozenset({"running", "done"})


@dataclass
class _Source:
    state: str = "starting"
    heard: float = 0.0
    looked: bool = False


@dataclass(frozen=True)
class Readiness:
    """Ready or not, and each source's state in a word or two.

    `looked` are the sources that have ended a micro-batch, or found nothing to read, since they were started last: of all
    others it is only known where they stood before.
    """

    ready: bool
    sources: dict[str, str]
    looked: frozenset[str] = frozenset()

    @property
    def over(self) -> bool:
        """Whether it was stopped, and nothing is expected of it any more."""
        return "stopped" in self.sources.values() and set(self.sources.values()) <= {"stopped", "done"}


class Health:
    """Follows the sources. A running one that was not heard of for `stalled_after` seconds counts as stalled."""

    def __init__(self, stalled_after: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._stalled_after, self._clock = stalled_after, clock
        self._sources: dict[str, _Source] | None = None
        self._lock = threading.Lock()

    def expect(self, sources: Iterable[str]) -> None:
        """The sources there are; before that nothing is ready."""
        with self._lock:
            self._sources = {name: _Source(heard=self._clock()) for name in sources}

    def on_event(self, event: SourceEvent) -> None:
        """A source changed its state."""
        with self._lock:
            source = (self._sources or {}).get(event.source)
            if source is not None and not (event.kind is EventKind.RECOVERED and source.state == "failed"):
                source.state, source.heard = _STATES[event.kind], self._clock()
                source.looked = source.looked and event.kind is not EventKind.STARTED

    def heard(self, source: str) -> None:
        """Spark told something of a source's query."""
        with self._lock:
            if self._sources and source in self._sources:
                self._sources[source].heard, self._sources[source].looked = self._clock(), True

    def look(self) -> Readiness:
        """The state of now."""
        with self._lock:
            sources = self._sources or {}
            states = {name: self._state(source) for name, source in sources.items()}
            looked = frozenset(name for name, source in sources.items() if source.looked)
        return Readiness(bool(states) and all(state in _GOOD for state in states.values()), states, looked)

    def _state(self, source: _Source) -> str:
        silent = self._clock() - source.heard
        if source.state == "running" and silent >= self._stalled_after:
            return f"stalled for {silent:.0f} s"
        return source.state
