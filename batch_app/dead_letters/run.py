"""A replay with everything it needs: Spark, the rules in force, the sink's own writer."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from batch_app.catalog.following import register_files
from batch_app.dead_letters.judging import SparkJudge
from batch_app.dead_letters.opened import Opened
from batch_app.dead_letters.replay import Replayer
from batch_app.dead_letters.table import ID
from batch_app.dead_letters.taking import Outcome
from batch_app.session import session_for
from streaming_app.config import Loaded
from streaming_app.config.models import SourceName
from streaming_app.places import dead_letters_of, hold_lake_schema
from streaming_app.quality import Suite
from streaming_app.schema import Stage
from streaming_app.sink.options import SinkOptions
from streaming_app.storage import open_storage
from streaming_app.streams import row_rules, sink_options


def replay(opened: Opened, repair: Mapping[str, str], *, dry_run: bool) -> Outcome:
    """Replay what is selected. Spark starts only when there is something to judge."""
    loaded, suite, letters, decoders = opened.loaded, opened.suite, opened.letters, opened.decoders
    wanted = opened.selection.without_stage(Stage.DUPLICATE)
    total = sum(rows.num_rows for _, rows in letters.scan(wanted, (ID,)))
    if not total:
        outcome = Outcome(dry_run, finished=[] if dry_run else [action.number for action in opened.book.finish()])
        _register(opened, outcome)
        return outcome
    if not dry_run:
        hold_lake_schema(loaded)
    judge = SparkJudge(session_for(loaded.config), loaded.dataset, row_rules(suite, loaded.dataset), decoders, repair)
    lake = open_storage(loaded.config.lake.root, loaded.config.lake.s3.storage_options())
    options = {label: _options(loaded, source, suite) for source, label in SourceName.INPUT_SOURCE.items()}
    replayer = Replayer(letters, opened.book, lake, judge, options, repair)
    columns = (TextColumn("replay"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    out = Console(file=sys.stderr)
    with Progress(*columns, console=out, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("replay", total=total)
        outcome = replayer.run(opened.selection, dry_run=dry_run, progress=lambda rows: bar.advance(task, rows))
    outcome.unknown_headers = sorted(decoders.unknown)
    _register(opened, outcome)
    return outcome


def _register(opened: Opened, outcome: Outcome) -> None:
    """What was published is for the catalog, too."""
    actions = [opened.book.actions[number] for number in (*outcome.finished, *outcome.actions)]
    if actions:
        register_files(opened.loaded, [file.staged.key for action in actions for file in action.files])


def _options(loaded: Loaded, source: str, suite: Suite) -> SinkOptions:
    made = sink_options(loaded, source, suite)
    return SinkOptions(**{**vars(made), "checkpoint": dead_letters_of(loaded.config)})
