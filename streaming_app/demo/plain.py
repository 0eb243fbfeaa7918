"""Progress lines where there is no terminal: one every two seconds while figures change, and one for each new phase."""

from __future__ import annotations

from typing import Final, TextIO

from streaming_app.demo.state import State, printable
from streaming_app.demo.view import clock, seconds_text

EVERY: Final = 2.0  # seconds between two lines
QUIET: Final = 10.0  # the same while nothing changes


class PlainLines:
    """Prints a state when it is time for a line or something new began."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._told: set[str] = set()
        self._figures: tuple[int, int] = (0, 0)
        self._at = -QUIET

    def update(self, state: State, now: float) -> None:
        """Print what is new; `now` is a monotonic clock."""
        for step in state.steps:
            self._once(f"{step.text}: {seconds_text(step.seconds)}" if step.done else f"{step.text} ...")
        if state.warning:
            self._once(f"warning from the service: {state.warning}")
        if not state.flowing:
            return
        figures = state.both().sent, state.both().read
        pause = EVERY if figures != self._figures else QUIET
        if self._once(state.phase) or now >= self._at + pause:
            self._at, self._figures = now, figures
            self._say(progress(state))

    def _once(self, text: str) -> bool:
        if text in self._told:
            return False
        self._told.add(text)
        self._say(text)
        return True

    def _say(self, text: str) -> None:
        self._out.write(printable(text) + "\n")
        self._out.flush()


def progress(state: State) -> str:
    """The figures on one line."""
    both = state.both()
    by_source = ", ".join(f"{line.name} {line.read}" for line in state.sources)
    return (
        f"{clock(state.elapsed)}  sent {both.sent}  in the lake {both.read} ({by_source})  clean {both.clean}"
        f"  dead {both.dead}  {both.rate:.1f} rows/s  waiting {both.waiting}"
        f"  queryable in {seconds_text(state.median_age)} (median)"
    )
