"""What people see of a trace: for each row its way in the order it took."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rich.text import Text

from batch_app.output import cell, console, print_fitting, table, visible

_RAW: Final = 500  # characters of a dead letter's text
_DONE: Final = {"replay": "replayed", "discard": "discarded"}


def show(found: Mapping[str, Any], words: Mapping[str, str]) -> None:
    """Print it; `words` are the reasons in plain English."""
    out = console()
    rows = found["rows"]
    if not rows:
        out.print(
            Text(f"no trace of {found['column']} {visible(found['value'])}: it was not read, or under another name")
        )
        return
    for row in rows:
        made = table(f"{found['column']} {visible(found['value'])}", visible(row["position"]) or "(no position)")
        made.columns[-1].no_wrap, made.columns[-1].overflow = False, "fold"  # a path that is cut is of no use
        for what, text, style in _lines(row, words):
            made.add_row(cell(what, "dim"), cell(text, style))
        print_fitting(out, made)
    if len(rows) > 1:
        more = f"; {found['more']:,} more have this value" if found["more"] else ""
        out.print(f"{len(rows):,} rows{more}", style="bold")


def _lines(row: Mapping[str, Any], words: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """What, in words, and in which style."""
    for read in row["reads"]:
        within = f", {read['range']}" if read["range"] else ""
        yield "read", f"{read['source']} epoch {read['epoch']}: {read['unit']}{within} ({read['rows']:,} rows)", ""
    if not row["reads"]:
        yield "read", "in no read log: another connector read it, or its checkpoint is gone", "yellow"
    for batch in row["batches"]:
        shown = "" if batch["published"] else "; not visible yet, the source's start finishes it"
        text = f"{batch['source']} batch {batch['batch']}, committed {batch['committed_at']}, suite {batch['suite']}{shown}"
        yield "committed", text, "" if batch["published"] else "yellow"
    for place in row["places"]:
        yield from _place(place, words)
    if not row["places"]:
        yield "now", _nowhere(row), "yellow"


def _place(place: Mapping[str, Any], words: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    dead, action = "stage" in place, place.get("action")
    yield (
        ("rejected" if dead else "clean"),
        f"{place['file']}, written {place['ingested_at']}",
        "red" if dead else "green",
    )
    if dead:
        yield "  dead letter", f"{place['dead_letter_id']}, {place['stage']}", ""
        for reason in place["reasons"]:
            yield "  because", f"{reason}: {words.get(reason, '')}", "red"
        yield "  text", place["raw"][:_RAW], ""
    if "compaction" in place:
        made = place["compaction"]
        text = f"entry {made['entry']} at {made['at']}: {made['files_before']} files became {made['files_after']}"
        yield "  compacted", text, ""
    if action and dead:
        why = f", {action['reason']}" if action["reason"] else ""
        yield (
            f"  {_DONE.get(action['kind'], action['kind'])}",
            f"action {action['number']} at {action['at']}{why}",
            "green",
        )
    elif action:
        yield "  by a replay", f"action {action['number']} at {action['at']}, suite {action['suite']}", ""
    elif dead:
        yield "  open", f"python -m batch_app dead-letters show {place['dead_letter_id'][:12]} --config ...", "dim"


def _nowhere(row: Mapping[str, Any]) -> str:
    """Why a row that was read is in no file."""
    if not row["batches"]:
        return "in no file: its batch is under way, or runs again at the source's next start"
    if not all(batch["published"] for batch in row["batches"]):
        return "in no file yet: its batch is not published"
    if any(batch["duplicates"] for batch in row["batches"]):
        return "in no file: it may be one of the batch's repeats that were left out"
    return "in no file, though its batch was published: run `python -m batch_app audit`"
