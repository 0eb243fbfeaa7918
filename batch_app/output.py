"""Tables and texts for people: rich on a terminal, plain and unbroken in a pipe; nothing that a row holds can act on it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, TypeVar

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

_WIDE: Final = 10_000  # characters: lines in a pipe are for programs, which do not wrap
_WIDEST: Final = 60  # characters of a column other than the last
_LEAST: Final = 12  # of the last one
_TIMES: Final = 10  # from here on a change is said in times and not in percent
_GAP: Final = 3  # between two columns
Item = TypeVar("Item")


def console() -> Console:
    """Standard output."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE, emoji=False)


def table(*headers: str, numbers: tuple[int, ...] = ()) -> Table:
    """A table with few lines; columns `numbers` are to the right. Print it with `print_fitting`."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, header in enumerate(headers):
        made.add_column(header, justify="right" if place in numbers else "left", no_wrap=True, overflow="ellipsis")
    return made


def print_fitting(out: Console, made: Table, *, first: int = 0) -> None:
    """Print a table whose last column is cut to what the terminal leaves it; the others are shown whole, up to a limit.

    `first`: the least width of the first column, so that tables below one another line up.
    """
    *others, last = made.columns
    used = 0
    for place, column in enumerate(others):
        least = 0 if place else first
        column.width = min(_WIDEST, max(least, *(cell_len(str(value)) for value in (column.header, *column.cells))))
        used += column.width + _GAP
    last.width = max(
        _LEAST, min(out.width - used - _GAP, max(cell_len(str(value)) for value in (last.header, *last.cells)))
    )
    out.print(made)


@contextmanager
def status(first: str = "") -> Iterator[Callable[[str], None]]:
    """Says on a terminal what is being done, for work whose end is not known; nothing in a pipe."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with Console(file=sys.stderr).status(first) as shown:
        yield shown.update


class Working:
    """What is being done: a line that turns, and a bar for work whose end is known. Nothing in a pipe."""

    def __init__(self, bar: Progress | None = None) -> None:
        self._bar = bar

    def say(self, what: str) -> None:
        """Another line, for work whose end is not known."""
        self._begin(what, None)

    def each(self, items: Sequence[Item], what: str) -> Iterator[Item]:
        """The items, each counted when the next one is asked for."""
        self._begin(what, len(items))
        for item in items:
            yield item
            if self._bar:
                self._bar.advance(self._bar.task_ids[-1])

    def _begin(self, what: str, total: int | None) -> None:
        if self._bar:
            for task in self._bar.task_ids:
                self._bar.remove_task(task)
            self._bar.add_task(what, total=total)


@contextmanager
def working(first: str) -> Iterator[Working]:
    """As `status`, for work that has parts whose end is known."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        _Known(),
        _KnownCount(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(file=sys.stderr), transient=True, disable=not sys.stderr.isatty()) as bar:
        shown = Working(bar)
        shown.say(first)
        yield shown


class _Known(BarColumn):
    """No bar where there is no end."""

    def render(self, task: Task) -> Any:
        return super().render(task) if task.total else Text()


class _KnownCount(MofNCompleteColumn):
    def render(self, task: Task) -> Text:
        return super().render(task) if task.total else Text()


def visible(value: Any) -> str:
    """A value as one line: control characters, which could move the cursor or colour the screen, are written out."""
    text = value if isinstance(value, str) else "" if value is None else str(value)
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def _escaped(character: str) -> str:
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character, f"\\u{ord(character):04x}")


def cell(value: Any, style: str = "") -> Text:
    """A table's cell, without any markup that a value may hold."""
    return Text(visible(value), style=style)


def moment(value: datetime | None) -> str:
    """A time in UTC to the second."""
    return f"{value:%Y-%m-%d %H:%M:%S}" if value else "-"


def trend(latest: int, before: int) -> Text:
    """How a count changed from one day to the next."""
    if latest == before:
        return Text("=", style="dim")
    arrow, style = ("▲", "red") if latest > before else ("▼", "green")
    return Text(f"{arrow} {abs(latest - before):,} ({_ratio(latest, before)})", style=style)


def _ratio(latest: int, before: int) -> str:
    if not before:
        return "from 0"
    return f"x{latest / before:,.0f}" if latest >= _TIMES * before else f"{(latest - before) / before:+.0%}"
