"""Where states are shown: a live screen on a terminal, lines anywhere else."""

from __future__ import annotations

import io
import re
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from streaming_app.demo.plain import PlainLines
from streaming_app.demo.state import State
from streaming_app.demo.view import View

RESTORE: Final = b"\x1b[?1049l\x1b[?25h"  # back from the alternate screen, cursor visible
_PICTURE: Final = (100, 30)  # columns and lines
_WEB_FONT: Final = re.compile(r"@font-face\s*\{[^}]*\}")


class Display(Protocol):
    """Shows states from `__enter__` to `__exit__`; the last one stays to be read."""

    def update(self, state: State) -> None:
        """Show this from now on."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def make_display(console: Console) -> Display:
    """The display that fits where the output goes."""
    return LiveScreen(console) if console.is_terminal and not console.is_dumb_terminal else Lines()


class LiveScreen:
    """Redraws four times a second on the terminal's alternate screen; leaves the last picture in the scrollback."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._state: State | None = None
        self._live = Live(console=console, screen=True, refresh_per_second=4, get_renderable=self._drawn)

    def update(self, state: State) -> None:
        self._state = state

    def _drawn(self) -> View | Text:
        return View(self._state) if self._state else Text()

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        if self._state and self._state.flowing:
            self._console.print(View(self._state))


class Lines:
    """Plain lines on standard output."""

    def __init__(self) -> None:
        self._lines = PlainLines(sys.stdout)

    def update(self, state: State) -> None:
        self._lines.update(state, time.monotonic())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to restore."""


def save_picture(state: State, path: Path) -> None:
    """Write the live view as an SVG picture that needs nothing from elsewhere."""
    width, height = _PICTURE
    console = Console(
        record=True, width=width, height=height, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print(View(state))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_WEB_FONT.sub("", console.export_svg(title="python -m streaming_app demo")), encoding="utf-8")
