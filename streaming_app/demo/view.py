"""The live view, drawn with rich: fits 80 x 24 and uses what is wider or higher; the terminal's own colours only.

Text from the ledger or the log never goes through rich's markup: `[red]` in a rule's id is shown as it stands.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.constrain import Constrain
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from streaming_app.demo.state import SourceLine, State, Step, printable
from streaming_app.demo.watch import AGE_WINDOW, NewFile
from streaming_app.schema import CLEAN

_WIDEST: Final = 120
_OTHER_LINES: Final = 16  # lines that everything but reasons and files takes, a warning too
_MOST_ROWS: Final = 16
# Columns of the sources' table with their least widths; with the source's name they are as wide as the smallest terminal.
_COLUMNS: Final = {
    "sent": 8,
    "in lake": 9,
    "clean": 8,
    "dead": 8,
    "rows/s": 9,
    "waiting": 14,
    "queryable in": 14,
}
_NARROWEST: Final = 78
_WITH_SIZES: Final = 52  # columns for the newest files from which on their sizes have room
_SPINNER: Final = "⠋⠙⠸⠴⠦⠇"
_BARS: Final = "▁▂▃▄▅▆▇█"
_GOOD, _BAD, _QUIET, _HEAD = "green", "red", "dim", "bold"


@dataclass(frozen=True)
class View:
    """A state as something that rich prints."""

    state: State

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(_WIDEST, options.max_width) - 2  # a blank on each side
        height = options.height or console.size.height
        body = self._flowing(width, height) if self.state.flowing else _steps(self.state.steps, width)
        yield Constrain(Padding(Group(_header(self.state), Rule(style=_QUIET), body), (0, 1)), width + 2)

    def _flowing(self, width: int, height: int) -> RenderableType:
        rows = min(_MOST_ROWS, max(1, height - _OTHER_LINES))
        return Group(
            _sources(self.state, width),
            Text(),
            _pace(self.state, width),
            Text(),
            _lower(self.state, width, rows),
            *_warning(self.state, width),
        )


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def seconds_text(value: float | None) -> str:
    """Seconds for people: `0.9 s`, and a dash for none."""
    return "-" if value is None else f"{value:.1f} s"


def _header(state: State) -> RenderableType:
    grid = Table.grid(expand=True)
    grid.add_column(no_wrap=True, overflow="ellipsis")
    grid.add_column(justify="right", no_wrap=True)
    title = Text.assemble(("qsr-ingest demo", _HEAD), ("  Kinesis + CSV -> checked -> Parquet", _QUIET))
    time_left = f"{clock(min(state.elapsed, state.total))} of {clock(state.total)}" if state.flowing else ""
    grid.add_row(title, Text(time_left))
    grid.add_row(Text(printable(state.phase), "cyan"), Text("Ctrl-C stops gracefully", _QUIET))
    return grid


def _steps(steps: Sequence[Step], width: int) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_column()
    grid.add_column(no_wrap=True, overflow="ellipsis", max_width=width - 12)
    grid.add_column(justify="right", min_width=7, no_wrap=True)
    for step in steps:
        turning = _SPINNER[int(time.monotonic() * 4) % len(_SPINNER)]
        mark = Text("✓", _GOOD) if step.done else Text(turning, "cyan")
        grid.add_row(mark, Text(printable(step.text)), Text(seconds_text(step.seconds), _QUIET))
    return grid


def _sources(state: State, width: int) -> RenderableType:
    table = Table(box=None, padding=0, pad_edge=False, header_style=_QUIET)
    table.add_column("source", no_wrap=True, width=8)
    spare, left_over = divmod(max(0, width - _NARROWEST), len(_COLUMNS))
    for place, (name, least) in enumerate(_COLUMNS.items(), 1):
        wider = spare + (left_over if place == len(_COLUMNS) else 0)
        table.add_column(name, justify="right", width=least + wider, no_wrap=True)
    for line in (*state.sources, state.both()):
        table.add_row(*_cells(line), style=_HEAD if line.name == "both" else "")
    return table


def _cells(line: SourceLine) -> tuple[Text, ...]:
    waiting = f"{line.waiting:,}" if line.oldest_waiting < 1 else f"{line.waiting:,} ({line.oldest_waiting:.0f} s)"
    return (
        Text(printable(line.name)),
        Text(f"{line.sent:,}"),
        Text(f"{line.read:,}"),
        Text(f"{line.clean:,}", _GOOD),
        Text(f"{line.dead:,}", _BAD if line.dead else ""),
        Text(f"{line.rate:,.1f}"),
        Text(waiting),
        Text("" if line.name == "both" else seconds_text(line.age)),
    )


def _pace(state: State, width: int) -> RenderableType:
    since_start = f" (since the start {seconds_text(state.slowest_ever)})" if _warmed_up(state) else ""
    ages = Text.assemble(
        (f"queryable in, last {AGE_WINDOW:.0f} s  ", _QUIET),
        f"median {seconds_text(state.median_age)}, slowest {seconds_text(state.slowest)}",
        (since_start, _QUIET),
        no_wrap=True,
        overflow="ellipsis",
    )
    label = "rows/s, last minute  "
    bars = sparkline(state.history[-min(60, width - len(label)) :])
    return Group(ages, Text.assemble((label, _QUIET), (bars, "cyan")))


def _warmed_up(state: State) -> bool:
    return state.slowest is not None and state.slowest_ever is not None and state.slowest_ever > state.slowest


def sparkline(values: Sequence[int]) -> str:
    """One character a value; nothing for 0, and a scale that one big file does not flatten."""
    known = sorted(value for value in values if value)
    if not known:
        return ""
    top = max(1, min(known[-1], 3 * known[len(known) // 2]))
    return "".join(_BARS[min(7, 7 * value // top)] if value else " " for value in values)


def _lower(state: State, width: int, rows: int) -> RenderableType:
    grid = Table.grid(padding=(0, 3, 0, 0))
    left = max(35, width // 3)
    grid.add_column(width=left)
    grid.add_column(width=width - left - 3)
    grid.add_row(_reasons(state, left, rows), _files(state.files[:rows], width - left - 3))
    return grid


def _reasons(state: State, width: int, rows: int) -> RenderableType:
    shown = state.reasons if len(state.reasons) <= rows else state.reasons[: rows - 1]
    top = max((count for _, count in shown), default=1)
    table = Table(box=None, width=width, padding=(0, 1, 0, 0), pad_edge=False, header_style=_QUIET)
    table.add_column("why dead", ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column("", width=8, no_wrap=True)
    table.add_column("rows", justify="right", no_wrap=True)
    for reason, count in shown:
        table.add_row(Text(printable(reason)), Text("━" * max(1, 8 * count // top), _BAD), Text(f"{count:,}"))
    left_out = state.reasons[len(shown) :]
    if left_out:
        table.add_row(Text(f"{len(left_out)} more", _QUIET), "", Text(f"{sum(count for _, count in left_out):,}"))
    return table


def _files(files: Sequence[NewFile], width: int) -> RenderableType:
    table = Table(box=None, width=width, padding=(0, 1, 0, 0), pad_edge=False, header_style=_QUIET)
    table.add_column("at", no_wrap=True, min_width=8)
    table.add_column("table", no_wrap=True)
    table.add_column("newest files", ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column("rows", justify="right", no_wrap=True)
    table.add_column("size" if width >= _WITH_SIZES else "", justify="right", no_wrap=True)
    for file in files:
        table.add_row(
            Text(time.strftime("%H:%M:%S", time.localtime(file.at)), _QUIET),
            Text("clean" if file.table == CLEAN else "dead", _GOOD if file.table == CLEAN else _BAD),
            Text(printable(file.partition)),
            Text(f"{file.rows:,}"),
            Text(f"{file.size / 1024:,.1f} KiB" if width >= _WITH_SIZES else "", _QUIET),
        )
    return table


def _warning(state: State, width: int) -> list[RenderableType]:
    if not state.warning:
        return []
    text = Text(printable(f"! {state.warning}"), "magenta")
    text.truncate(width, overflow="ellipsis")
    return [Text(), text]
