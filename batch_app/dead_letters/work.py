"""The commands: open the lake's dead letters, do the work, print what came of it."""

from __future__ import annotations

import argparse
import csv
import difflib
import itertools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from batch_app.dead_letters.opened import Opened, open_letters
from batch_app.dead_letters.records import STATE, export, flattened, require_columns
from batch_app.dead_letters.repair import parse_repair
from batch_app.dead_letters.selection import Selection, parse_selection
from batch_app.dead_letters.show import Letter, hint, show_list, show_one, show_outcome, show_summary
from batch_app.dead_letters.summary import STORE, summarize
from batch_app.dead_letters.table import COLUMNS, SCHEMA
from batch_app.dead_letters.taking import Outcome, discard
from batch_app.output import console
from streaming_app.arguments import load_all
from streaming_app.errors import ConfigError
from streaming_app.quality.words import explain
from streaming_app.schema import Judged, Stage

_LISTED: Final = "dead_letter_id,ingested_at,source,stage,reasons,raw"


def _open(options: argparse.Namespace) -> Opened:
    loaded, suite = load_all(options.config, options.overrides)
    return open_letters(loaded, suite, _selected(options) if hasattr(options, "stages") else Selection())


def _selected(options: argparse.Namespace) -> Selection:
    return parse_selection(
        day=options.date,
        since=options.since,
        until=options.until,
        sources=options.sources,
        stages=options.stages,
        reasons=options.reasons,
        text=options.text,
        ids=options.ids,
    )


def _warn_unfinished(work: Opened) -> None:
    waiting = [action for action in work.book.unfinished() if action.files]
    if waiting:
        print(  # noqa: T201 - a note beside the output
            f"note: {len(waiting)} replays were cut off before all their files were visible; the next replay or discard"
            " finishes them",
            file=sys.stderr,
        )


def run_summary(options: argparse.Namespace) -> int:
    """`dead-letters summary`."""
    work = _open(options)
    names = work.loaded.dataset.column_names
    if options.by is not None and options.by not in names:
        raise ConfigError(f"--by {options.by}: dataset {work.loaded.dataset.name} has {', '.join(names)}")
    dataset, by = work.loaded.dataset, options.by or STORE
    summary = summarize(work.letters, work.book, work.selection, dataset, work.decoders, everything=options.all, by=by)
    if options.format == "json":
        _print_json({"lake": work.loaded.config.lake.root, **summary.to_json()})
        return 0
    words = work.words(group.name for group in summary.groups.get("reason", ()))
    most = summary.groups.get("reason", ())
    command = hint("list", "--config", options.config, "--reason", most[0].name) if most else ""
    show_summary(console(), work.loaded.config.lake.root, summary, words, command)
    _warn_unfinished(work)
    return 0


def run_list(options: argparse.Namespace) -> int:
    """`dead-letters list`."""
    work = _open(options)
    for_people = options.format == "table" and not options.columns
    named = options.columns or (f"{_LISTED},state" if options.all else _LISTED)
    columns = [name.strip() for name in named.split(",")]
    columns += work.loaded.dataset.column_names if for_people else ()
    require_columns(columns, work.loaded.dataset)
    state = "any" if options.all else "open"
    rows, total = work.records.newest(work.selection, columns, options.limit, state)
    if options.format == "json":
        _print_json(rows.to_pylist())
    elif options.format == "csv":
        _print_csv(flattened(rows))
    elif not total:
        print(_nothing(work, options))  # noqa: T201 - the command's output
    else:
        shown = _with_found(rows, work) if for_people else rows
        show_list(console(), shown, total, what="dead letters" if options.all else "open dead letters")
    _warn_unfinished(work)
    return 0


def _with_found(rows: pa.Table, work: Opened) -> pa.Table:
    """The rows with what was found instead of all that there is: the values that the reasons are about, else the raw text."""
    names = ("stage", Judged.RAW.value, *work.loaded.dataset.column_names)
    explained = {
        reason: explain(reason, work.suite, work.loaded.dataset).columns
        for reason in set(itertools.chain.from_iterable(rows.column(Judged.REASONS.value).to_pylist()))
    }
    return rows.drop_columns(list(names)).append_column(
        "found", pa.array([_found(row, explained) for row in rows.to_pylist()], pa.string())
    )


def _found(row: Mapping[str, Any], columns: Mapping[str, Sequence[str]]) -> str:
    about = dict.fromkeys(name for reason in row[Judged.REASONS.value] for name in columns[reason] if name in row)
    values = [f"{name}: {json.dumps(row[name], ensure_ascii=False)}" for name in about]
    readable = any(row[name] is not None for name in about) or row["stage"] == Stage.RULE
    return ", ".join(values) if values and readable else str(row[Judged.RAW.value])


def _nothing(work: Opened, options: argparse.Namespace) -> str:
    """That nothing matches, and what may have been meant."""
    others = work.letters.scan(replace(work.selection, reasons=()), (Judged.REASONS.value,), state="any")
    known = {
        reason for _, table in others for reason in table.column(0).combine_chunks().flatten().unique().to_pylist()
    }
    near = [difflib.get_close_matches(reason, known, n=1) for reason in options.reasons if reason not in known]
    meant = f"; did you mean --reason {near[0][0]}?" if near and near[0] else ""
    open_ones = "" if options.all else "open "
    return f"no {open_ones}dead letter of {work.loaded.config.lake.root} matches{meant}"


def run_show(options: argparse.Namespace) -> int:
    """`dead-letters show ID`."""
    work = _open(options)
    (beginning,) = parse_selection(ids=[options.id]).ids
    row = work.records.one(beginning)
    fields = work.records.fields(row)
    explained = [explain(reason, work.suite, work.loaded.dataset) for reason in row["reasons"]]
    number = row.pop("action")
    action = work.book.actions[number] if number >= 0 else None
    if options.format == "json":
        reasons = [vars(item) | {"found": {name: fields.get(name) for name in item.columns}} for item in explained]
        fate = action and {"number": action.number, "at": action.at, "reason": action.reason, "repair": action.repair}
        _print_json(
            {**row, "state": work.records.state_of(number), "reasons": reasons, "fields": fields, "action": fate}
        )
        return 0
    command = hint("replay", "--config", options.config, "--id", row["dead_letter_id"], "--dry-run")
    show_one(console(), Letter(row, fields, explained, action, work.suite.fingerprint, command))
    return 0


def run_replay(options: argparse.Namespace) -> int:
    """`dead-letters replay`."""
    work = _open(options)
    if not options.dry_run:
        _require_filter(work, options)
    repair = parse_repair(options.repairs, options.repair, work.loaded.dataset)
    from batch_app.dead_letters.run import replay  # noqa: PLC0415 - pyspark takes a second: only where rows are judged

    outcome = replay(work, repair, dry_run=options.dry_run)
    _print_outcome(work, outcome, options, "replayed")
    return 0


def run_discard(options: argparse.Namespace) -> int:
    """`dead-letters discard`."""
    work = _open(options)
    if not options.dry_run:
        _require_filter(work, options)
    if not options.because.strip():
        raise ConfigError("--because is empty; say why, for whoever looks later")
    outcome = discard(work.letters, work.book, work.selection, options.because, dry_run=options.dry_run)
    _print_outcome(work, outcome, options, "discarded")
    return 0


def _print_outcome(work: Opened, outcome: Outcome, options: argparse.Namespace, verb: str) -> None:
    if options.format == "json":
        _print_json(outcome.to_json())
    else:
        show_outcome(console(), outcome, work.words(outcome.still), verb)


def _require_filter(work: Opened, options: argparse.Namespace) -> None:
    if work.selection.given and options.everything:
        raise ConfigError("--everything means no filter; leave one of them out")
    if not work.selection.given and not options.everything:
        raise ConfigError("say which dead letters: by --date, --reason, --source ..., or all open ones by --everything")


def run_export(options: argparse.Namespace) -> int:
    """`dead-letters export FILE`."""
    work = _open(options)
    columns = (*COLUMNS, STATE)
    more = [(name, pa.string()) for name in columns if name not in SCHEMA.names]
    rows = work.records.each(work.selection, columns, "any" if options.all else "open")
    count = export(rows, Path(options.file), pa.schema([*SCHEMA, *more]))
    if options.format == "json":
        _print_json({"dead_letters": count, "file": options.file})
    else:
        print(f"{count:,} dead letters in {options.file}")  # noqa: T201 - the command's output
    return 0


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, default=_plain, ensure_ascii=not sys.stdout.isatty()))  # noqa: T201 - the output


def _plain(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _print_csv(rows: Any) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(rows.column_names)
    for row in rows.to_pylist():
        writer.writerow([_plain(value) if value is not None else "" for value in row.values()])


COMMANDS: Final[dict[str, Callable[[argparse.Namespace], int]]] = {
    "summary": run_summary,
    "list": run_list,
    "show": run_show,
    "replay": run_replay,
    "discard": run_discard,
    "export": run_export,
}
