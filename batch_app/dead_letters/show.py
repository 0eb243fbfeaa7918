"""What people see of dead letters."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import pyarrow as pa
from rich.cells import cell_len
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from batch_app.dead_letters.book import Action
from batch_app.dead_letters.summary import Summary
from batch_app.dead_letters.taking import Outcome
from batch_app.output import cell, moment, print_fitting, table, trend, visible
from streaming_app.quality.words import Explained
from streaming_app.schema import INGESTED_AT, Decoded, Judged

_DAYS: Final = 14
_BAR: Final = 30  # characters, of the day with most
_OLDER: Final = "{} older days"
_VALUES: Final = 15  # of one kind; more are counted together
_SHORT_ID: Final = 12
_STYLES: Final = {"open": "bold red", "replayed": "green", "discarded": "yellow"}


def show_summary(out: Console, lake: str, summary: Summary, words: Mapping[str, str], command: str) -> None:
    """Totals, then what is rejected most and why, then by what else, then days; `command` looks at the most frequent reason."""
    title = Text.assemble(
        "Dead letters in ",
        (visible(lake), "bold"),
        ": ",
        (f"{summary.open:,} open", _STYLES["open"] if summary.open else "bold green"),
        f", {summary.replayed:,} replayed, {summary.discarded:,} discarded",
    )
    out.print(title)
    if not summary.days:
        return
    names = [group.name for groups in summary.groups.values() for group in groups[:_VALUES]]
    first = max(len(_OLDER), *(cell_len(visible(name)) for name in names))
    for by in sorted(summary.groups, key=_order):
        print_fitting(out, _group_table(by, summary.groups[by], summary, words), first=first)
    days = table("day", "in all", "", numbers=(1,))
    shown = list(summary.days.items())
    most = max(count for _, count in shown)
    for day, count in shown[:_DAYS]:
        days.add_row(day, f"{count:,}", Text("█" * round(_BAR * count / most), style="red"))
    if len(shown) > _DAYS:
        older = _OLDER.format(len(shown) - _DAYS)
        days.add_row(older, f"{sum(count for _, count in shown[_DAYS:]):,}", style="dim")
    print_fitting(out, days, first=first)
    if command:
        out.print(Text.assemble(("look at some: ", "dim"), command))


def _order(by: str) -> int:
    """Reasons first: what one looks for. Then a column of the dataset, then where they came from."""
    return {"reason": 0, "stage": 2, "source": 3}.get(by, 1)


def _group_table(by: str, groups: Sequence[Any], summary: Summary, words: Mapping[str, str]) -> Table:
    explained = by == "reason"
    more = ("what is wrong",) if explained else ()
    made = table(by, "in all", summary.latest, summary.before, "trend", *more, numbers=(1, 2, 3))
    for group in groups[:_VALUES]:
        cells: list[Text | str] = [cell(group.name), f"{group.total:,}", f"{group.latest:,}", f"{group.before:,}"]
        meaning = [cell(words.get(group.name, ""), "dim")] if explained else []
        made.add_row(*cells, trend(group.latest, group.before), *meaning)
    rest = groups[_VALUES:]
    if rest:
        made.add_row(f"{len(rest)} more", f"{sum(group.total for group in rest):,}", style="dim")
    return made


def show_list(out: Console, rows: pa.Table, total: int, *, what: str) -> None:
    """Rows, newest first."""
    names = rows.column_names
    made = table(*(_HEADERS.get(name, name) for name in names))
    for row in rows.to_pylist():
        made.add_row(*(_list_cell(name, row[name], whole=not out.is_terminal) for name in names))
    print_fitting(out, made)
    more = f"; --limit 0 shows all {total:,}" if rows.num_rows < total else ""
    out.print(f"{rows.num_rows:,} of {total:,} {what}, newest first{more}", style="dim")


_HEADERS: Final = {"dead_letter_id": "id", INGESTED_AT: "rejected (UTC)", Decoded.ARRIVED_AT.value: "arrived (UTC)"}


def _list_cell(name: str, value: Any, *, whole: bool) -> Text:
    if name == "dead_letter_id" and not whole:
        return cell(value[:_SHORT_ID], "cyan")
    if isinstance(value, datetime):
        return cell(moment(value))
    if isinstance(value, list):
        return cell(", ".join(value))
    return cell(value, _STYLES.get(value, "") if name == "state" else "")


@dataclass(frozen=True)
class Letter:
    """One dead letter with all that is known about it; `suite` is the one in force, `command` would try it again."""

    row: Mapping[str, Any]
    fields: Mapping[str, str | None]
    explained: Sequence[Explained]
    action: Action | None
    suite: str
    command: str


def show_one(out: Console, letter: Letter) -> None:
    """One dead letter: what it is, why it was rejected, what it says, and what can be done."""
    row, fields, explained, action = letter.row, letter.fields, letter.explained, letter.action
    state = "open" if action is None else {"replay": "replayed", "discard": "discarded"}[action.kind]
    head = Table.grid(padding=(0, 2))
    for name, value in _facts(row, letter.suite):
        head.add_row(Text(name, style="dim"), cell(value))
    title = Text.assemble("dead letter ", (row["dead_letter_id"], "bold"), "  ", (state.upper(), _STYLES[state]))
    parts: list[Any] = [head]
    if action is not None:
        parts.append(Text(_fate(action), style=_STYLES[state]))
    out.print(title)
    out.print(Group(*parts))
    out.print(_reasons(explained, fields))
    if any(value is not None for value in fields.values()):
        print_fitting(out, _values(fields, {column for item in explained for column in item.columns}))
    encoding = row[Judged.RAW_ENCODING.value]
    note = "raw text" if encoding == "utf-8" else f"raw bytes, {encoding}"
    lines = (row[Judged.RAW.value] or "").splitlines() or [""]
    raw = Text("\n".join(visible(line) for line in lines))
    if out.is_terminal:
        out.print(Panel(raw, title=note, title_align="left", border_style="dim"))
    else:
        out.print(f"{note}:")
        out.print(raw)
    if action is None:
        out.print(Text.assemble(("would it pass today? ", "dim"), letter.command))


def _facts(row: Mapping[str, Any], suite: str) -> list[tuple[str, str]]:
    judged_by = row["suite_fingerprint"]
    same = "the one in force" if judged_by == suite else f"not the one in force, which is {suite}"
    return [
        ("source", f"{row['source']} ({row['input_source']})"),
        ("position", row[Decoded.POSITION.value]),
        ("arrived", f"{moment(row[Decoded.ARRIVED_AT.value])} UTC"),
        ("rejected", f"{moment(row[INGESTED_AT])} UTC, stage {row[Judged.STAGE.value]}"),
        ("suite", f"{judged_by}, {same}"),
    ]


def _fate(action: Action) -> str:
    when = f"{datetime.fromtimestamp(action.at).astimezone():%Y-%m-%d %H:%M:%S %Z}"
    if action.kind == "discard":
        return f"discarded {when} by action {action.number}: {visible(action.reason)}"
    repaired = "".join(f", {column} = {visible(expression)}" for column, expression in action.repair.items())
    return f"replayed {when} by action {action.number}, suite {action.suite}{repaired}"


def _reasons(explained: Sequence[Explained], fields: Mapping[str, str | None]) -> Table:
    made = Table.grid(padding=(0, 2))
    made.add_row("", "")
    for item in explained:
        found = [f"{column}: {_found(column, fields)}" for column in item.columns if column in fields]
        made.add_row(
            cell(item.reason, "bold red"), Text("\n".join([visible(item.words), *filter(None, [visible(item.note)])]))
        )
        made.add_row("", Text(f"found {', '.join(found)}" if found else "", style="red"))
    return made


def _found(column: str, fields: Mapping[str, str | None]) -> str:
    value = fields[column]
    return "nothing" if value is None else f'"{visible(value)}"'


def _values(fields: Mapping[str, str | None], guilty: set[str]) -> Table:
    made = table("column", "value")
    for name, value in fields.items():
        style = "red" if name in guilty else ""
        if value is not None or name in guilty:
            made.add_row(cell(name, style or "dim"), cell("(empty)" if value is None else value, style))
    return made


def show_outcome(out: Console, outcome: Outcome, words: Mapping[str, str], verb: str = "replayed") -> None:
    """What a replay or a discard did."""
    if outcome.finished and not outcome.dry_run:
        out.print(f"finished {len(outcome.finished)} actions that were cut off before", style="dim")
    if not outcome.selected:
        out.print("no open dead letter matches; nothing was done")
        return
    if outcome.passing or outcome.failing:
        print_fitting(out, _by_reason(outcome))
    if outcome.still:
        made = table("would still fail" if outcome.dry_run else "still failing", "rows", "what is wrong", numbers=(1,))
        for reason, count in outcome.still.most_common(_VALUES):
            made.add_row(cell(reason), f"{count:,}", cell(words.get(reason, ""), "dim"))
        print_fitting(out, made)
    for line in _notes(outcome):
        out.print(line, style="dim")
    did = f"would be {verb}" if outcome.dry_run else verb
    stay = f"; {outcome.failed + outcome.not_rows:,} stay dead letters" if outcome.failed + outcome.not_rows else ""
    out.print(Text(f"{outcome.passed:,} of {outcome.selected:,} {did}{stay}", style="bold"))


def _by_reason(outcome: Outcome) -> Table:
    made = table("rejected for", "rows", "pass now", "still fail", numbers=(1, 2, 3))
    totals = outcome.passing + outcome.failing
    for reason, count in totals.most_common(_VALUES):
        made.add_row(
            cell(reason),
            f"{count:,}",
            Text(f"{outcome.passing[reason]:,}", style="green" if outcome.passing[reason] else ""),
            Text(f"{outcome.failing[reason]:,}", style="red" if outcome.failing[reason] else ""),
        )
    return made


def _notes(outcome: Outcome) -> list[str]:
    found = []
    if outcome.not_rows:
        found.append(
            f"{outcome.not_rows:,} are about a whole file or a piece of a line, not a row: mend the file and upload it under"
            " a new name, then discard them"
        )
    if outcome.taken:
        found.append(f"{outcome.taken:,} were taken by another command that ran at the same time")
    if outcome.unknown_headers:
        files = ", ".join(visible(name) for name in outcome.unknown_headers[:3])
        found.append(
            f"{len(outcome.unknown_headers):,} CSV files have no header in the read log and were read in the dataset's column"
            f" order: {files}"
        )
    return found


def hint(*arguments: str) -> str:
    """A command line to copy."""
    return "python -m batch_app dead-letters " + " ".join(shlex.quote(argument) for argument in arguments)
