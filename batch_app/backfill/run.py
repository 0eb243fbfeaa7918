"""`backfill` and `ingest` with everything they need: Spark when there is something to load, a progress bar, the report."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from batch_app.backfill.engine import Backfill, Outcome
from batch_app.backfill.inputs import Found, Wanted, find
from batch_app.backfill.judged import only_judged
from batch_app.backfill.loading import Loader, SparkLoader
from batch_app.backfill.present import require_comparable
from batch_app.catalog.following import register_batches
from batch_app.output import cell, console, print_fitting, table
from batch_app.session import session_for
from streaming_app.arguments import load_all
from streaming_app.config import Loaded
from streaming_app.errors import ConfigError, QualityStop
from streaming_app.places import BACKFILLS, hold_lake_schema
from streaming_app.schema import InputSource

if TYPE_CHECKING:
    from batch_app.gate.inputs import FileRead


def run_backfill(options: argparse.Namespace) -> int:
    """`backfill`. Raises ConfigError, QualityStop, DataLossError and SinkError."""
    outcome = backfill(options)
    if options.format == "json":
        _print_json(outcome.to_json())
    else:
        show(outcome)
    return 0


def run_ingest(options: argparse.Namespace) -> int:
    """`ingest`: the gate, then the backfill. Raises QualityStop, after printing and an alert, when the gate fails."""
    from batch_app.gate.run import judge  # noqa: PLC0415 - Great Expectations: not for `backfill`

    if options.format != "json":
        show(backfill(options, judge(options).read))
        return 0
    printed = io.StringIO()
    result: dict[str, Any] = {"gate": None, "backfill": None}
    try:
        with redirect_stdout(printed):
            judged = judge(options).read
        result["gate"] = json.loads(printed.getvalue())
        result["backfill"] = backfill(options, judged).to_json()
    except QualityStop:
        result["gate"] = json.loads(printed.getvalue())
        raise
    finally:
        if result["gate"]:
            _print_json(result)
    return 0


def run_forget(options: argparse.Namespace) -> int:
    """`backfill --forget-plan`. Raises ConfigError, also where the batch is committed, and SinkError."""
    if options.paths or options.since or options.until or options.skip_existing:
        raise ConfigError("--forget-plan loads nothing: name files to load in a run of its own, after it")
    loaded, suite = load_all(options.config, options.overrides)
    wanted = InputSource(options.input_source) if options.input_source else None
    runs = {label: Backfill(loaded, suite, label, _Spark(loaded)) for label in BACKFILLS.values()}
    forgotten = {
        run.name: run.forget(dry_run=options.dry_run) for label, run in runs.items() if wanted in {None, label}
    }
    if options.format == "json":
        _print_json({"dry_run": options.dry_run, "forgotten": forgotten})
    else:
        _show_forgotten(forgotten, dry_run=options.dry_run)
    return 0


def _show_forgotten(forgotten: dict[str, list[str]], *, dry_run: bool) -> None:
    out = console()
    for name, files in forgotten.items():
        if files:
            would = "would be given up" if dry_run else "were given up"
            out.print(cell(f"{name}: {len(files):,} files {would}, nothing of which is in the lake:"))
        for file in files:
            out.print(cell(f"  {file}"))
    if not any(forgotten.values()):
        out.print("no run was cut off; there is nothing to give up")


def backfill(options: argparse.Namespace, judged: Sequence[FileRead] | None = None) -> Outcome:
    """Load what the arguments name; of that, where a gate stood before, what it has `judged`."""
    loaded, suite = load_all(options.config, options.overrides)
    key = _key(options, loaded)
    if not options.paths and not (options.since or options.until):
        raise ConfigError(
            "name what to load: files, folders or prefixes, or days of the lake's own by --since and --until"
        )
    source = InputSource(options.input_source) if options.input_source else None
    found = find(Wanted(options.paths, options.since, options.until, source), loaded.config)
    if judged is not None:
        found = only_judged(found, judged, loaded.config)
    runs = {label: Backfill(loaded, suite, label, _Spark(loaded)) for label in BACKFILLS.values()}
    if options.dry_run:
        return _planned(runs, found)
    hold_lake_schema(loaded)
    try:
        return _loaded(runs, found, key)
    finally:
        register_batches(loaded, {run.name: run.ledger for run in runs.values()})


class _Spark:
    """Starts Spark with the first batch."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded

    def __call__(self) -> Loader:
        return SparkLoader(session_for(self._loaded.config))


def _key(options: argparse.Namespace, loaded: Loaded) -> str | None:
    names = loaded.dataset.column_names
    if options.key and not options.skip_existing:
        raise ConfigError("--key is for --skip-existing, which is missing")
    if options.key and options.key not in names:
        raise ConfigError(f"--key {options.key}: the dataset has no such column; it has {', '.join(names)}")
    if not options.skip_existing:
        return None
    key = str(options.key or names[0])
    require_comparable(loaded.dataset, key)
    return key


def _planned(runs: dict[InputSource, Backfill], found: Found) -> Outcome:
    outcome = Outcome(dry_run=True, ignored=found.ignored, unjudged=found.unjudged)
    for source, run in runs.items():
        files = found.files.get(source, [])
        new = run.new(files)
        outcome.files += len(new)
        outcome.bytes += sum(file.size for file in new)
        outcome.already += len(files) - len(new)
        outcome.finished += run.unfinished()
    return outcome


def _loaded(runs: dict[InputSource, Backfill], found: Found, key: str | None) -> Outcome:
    outcome = Outcome(dry_run=False, ignored=found.ignored, unjudged=found.unjudged)
    for run in runs.values():
        run.publish()  # of both kinds, before the keys of either are looked for
    columns = (TextColumn("backfill"), BarColumn(), MofNCompleteColumn(), TextColumn("files"), TimeElapsedColumn())
    out = Console(file=sys.stderr)
    shown = sys.stderr.isatty()
    with Progress(*columns, console=out, transient=True, disable=not shown) as bar:
        for source, run in runs.items():
            files = found.files.get(source, [])
            if files or run.unfinished():
                outcome.bytes += sum(file.size for file in files)
                task = bar.add_task(source.value, total=len(files))
                tell = partial(_completed, bar, task) if shown else None
                run.run(files, key, outcome, tell)
    return outcome


def _completed(bar: Progress, task: TaskID, files: int) -> None:
    bar.update(task, completed=files)


def show(outcome: Outcome) -> None:
    """The report for people."""
    out = console()
    would = "would be loaded" if outcome.dry_run else "loaded"
    out.print(f"{outcome.files:,} files {would}, {outcome.already:,} were before")
    if outcome.ignored:
        out.print(f"{outcome.ignored:,} files are neither CSV nor JSON by their names, and were left out")
    if outcome.unjudged:
        out.print(f"{outcome.unjudged:,} files were left out: the gate cannot judge their kind, or they came after it")
    if outcome.finished:
        out.print("a run that was cut off " + ("waits to be finished" if outcome.dry_run else "was finished first"))
    if outcome.dry_run or not outcome.batches:
        return
    made = table("rows read", "clean", "dead letters", "duplicates", numbers=(0, 1, 2, 3))
    counts = (outcome.read, outcome.clean, outcome.dead, outcome.duplicates)
    made.add_row(*(f"{count:,}" for count in counts))
    print_fitting(out, made)
    if outcome.by_reason:
        reasons = table("rejected because", "rows", numbers=(1,))
        for reason, count in outcome.by_reason.most_common():
            reasons.add_row(cell(reason), f"{count:,}")
        print_fitting(out, reasons)


def _print_json(document: dict[str, Any]) -> None:
    print(json.dumps(document, indent=2, default=str))  # noqa: T201 - the command's output
