"""Tables and texts for people: rich on a terminal, plain and unbroken in a pipe; nothing that a row holds can act on it."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDE: Final = 10_000  # characters: lines in a pipe are for programs, which do not wrap


def console() -> Console:
    """Standard output."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE, emoji=False)


def table(*headers: str, title: str = "", numbers: tuple[int, ...] = (), expand: tuple[int, ...] = ()) -> Table:
    """A table with few lines; columns `numbers` are to the right, `expand` ones are cut to the terminal's width."""
    made = Table(title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for place, header in enumerate(headers):
        made.add_column(
            header,
            justify="right" if place in numbers else "left",
            no_wrap=True,
            overflow="ellipsis" if place in expand else "fold",
            ratio=None,
        )
    return made


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
    percent = f" {abs(latest - before) / before:.0%}" if before else ""
    return Text(f"{arrow} {abs(latest - before):,}{percent}" if before else f"{arrow} new", style=style)
