"""`compact` with everything it needs: the lake, the book, what the ledgers have still open, a progress bar, the report."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from batch_app.compaction.book import CompactionBook, Since
from batch_app.compaction.engine import Compactor, Outcome, Watch
from batch_app.compaction.folders import open_folders
from batch_app.compaction.iceberg import IcebergSwap
from batch_app.compaction.plan import TABLES, Group, Listed, Planned, Wanted, find, planned
from batch_app.compaction.switching import GRACE, Switcher
from batch_app.dead_letters.book import Book
from batch_app.output import cell, console, print_fitting, table
from batch_app.tables import as_read, open_iceberg, require_one_kind_of_reader, require_whole_files
from streaming_app.arguments import load_all
from streaming_app.config import Config, Loaded
from streaming_app.config.models import SourceName
from streaming_app.errors import ConfigError
from streaming_app.journal.ledger import Ledger
from streaming_app.journal.switches import Switches
from streaming_app.places import INPUT_SOURCES, checkpoint_of, compactions_of, dead_letters_of, hold_lake_schema
from streaming_app.quality import Suite
from streaming_app.schema import InputSource
from streaming_app.sink.iceberg import IcebergTables
from streaming_app.storage import Storage, open_storage
from streaming_app.streams import sink_options

_MIB: Final = 1 << 20
_SHOWN: Final = 50  # partitions of a plan
_WRITING: Final = 0.7  # of the second half of a partition's work; the rest is to read back and remove


def run(options: argparse.Namespace) -> int:
    """`compact`. Raises ConfigError and SinkError."""
    loaded, suite = load_all(options.config, options.overrides)
    outcome = compact(loaded, suite, wanted_of(options), grace=options.grace, dry_run=options.dry_run)
    if options.json:
        print(json.dumps(outcome.to_json(), indent=2))  # noqa: T201 - the command's output
    else:
        show(outcome)
    return 0


def wanted_of(options: argparse.Namespace) -> Wanted:
    """The partitions that the arguments name. Raises ConfigError when they name none."""
    named = options.since or options.until or options.input_source or options.table or options.older_than is not None
    if not named and not options.all:
        raise ConfigError("say which partitions: --all, or --older-than, --since, --until, --input-source, --table")
    until = options.until
    if options.older_than is not None:
        latest = (datetime.now(UTC) - timedelta(seconds=options.older_than)).date() - timedelta(days=1)
        until = min(until, latest) if until else latest
    return Wanted(
        tables=(options.table,) if options.table else TABLES,
        sources=(InputSource(options.input_source),) if options.input_source else tuple(InputSource),
        since=options.since,
        until=until,
        target=options.target_size,
        min_files=options.min_files,
    )


def compact(loaded: Loaded, suite: Suite, wanted: Wanted, *, grace: float = GRACE, dry_run: bool = False) -> Outcome:
    """Compact what is wanted, first finishing what an earlier run left; without a dry run the lake changes."""
    if not dry_run:
        hold_lake_schema(loaded)
    tools = open_tools(loaded, suite, wanted, grace)
    require_whole_files(tools.tables, "compact")
    outcome = Outcome(dry_run)
    if dry_run:
        outcome.finished = [entry.number for entry in tools.book.unfinished()]
        moved = {switch.folder for switch in Switches(tools.storage).open()}
        outcome.waiting = len(moved)
        groups = [group for group in _groups(tools.as_read, wanted, outcome) if group.folder not in moved]
        _estimate(planned(groups, wanted), outcome)
        return outcome
    outcome.finished = tools.book.finish()
    left = (
        tools.switcher.finish(outcome)
        if tools.switcher
        else {switch.folder for switch in Switches(tools.storage).open()}
    )
    since = tools.book.since()  # before the listing
    groups = [group for group in _groups(tools.as_read, wanted, outcome) if group.folder not in left]
    _each(groups, tools, since, outcome)
    return outcome


@dataclass(frozen=True)
class Tools:
    """What compaction works with: `storage` is the folder of the book, `as_read` the lake as its readers see it.

    `switcher` is for a catalog that moves partitions, `tables` for an Iceberg lake.
    """

    lake: Storage
    storage: Storage
    book: CompactionBook
    compactor: Compactor
    switcher: Switcher | None
    tables: IcebergTables | None

    @property
    def as_read(self) -> Storage:
        """Asks the tables anew."""
        return as_read(self.lake, self.tables)

    def watched(self, watch: Watch) -> Tools:
        """The same, and somebody is told how far a partition is."""
        compactor = replace(self.compactor, watch=watch)
        switcher = replace(self.switcher, compactor=compactor) if self.switcher else None
        return replace(self, compactor=compactor, switcher=switcher)

    def compact(self, groups: list[Group], since: Since, outcome: Outcome) -> bool:
        """One partition's groups."""
        if self.switcher:
            return self.switcher.run(groups, since, outcome)
        return sum(self.compactor.run(group, since, outcome) for group in groups) > 0


def open_tools(loaded: Loaded, suite: Suite, wanted: Wanted, grace: float) -> Tools:
    """The configured lake, its book and its catalog. Raises ConfigError."""
    require_one_kind_of_reader(loaded)
    config = loaded.config
    options = config.lake.s3.storage_options()
    lake, storage = open_storage(config.lake.root, options), open_storage(compactions_of(config), options)
    tables = open_iceberg(loaded)
    book = CompactionBook(storage, lake, IcebergSwap(tables) if tables else None)
    sink = replace(sink_options(loaded, SourceName.CSV, suite), target_file_bytes=wanted.target)
    compactor = Compactor(lake, book, loaded.dataset, sink, lambda: in_doubt(config, lake))
    catalog = open_folders(loaded)
    switcher = Switcher(compactor, catalog, storage, grace) if catalog else None
    return Tools(lake, storage, book, compactor, switcher, tables)


def in_doubt(config: Config, lake: Storage) -> set[str]:
    """Keys of files whose batch or replay is committed but not published: recovery may still take them back."""
    storage = config.lake.s3.storage_options()
    found: set[str] = set()
    for source in INPUT_SOURCES:
        for entry in Ledger(open_storage(checkpoint_of(config, source), storage)).unpublished():
            found.update(file.staged.key for file in entry.files)
    for action in Book(open_storage(dead_letters_of(config), storage), lake).unfinished():
        found.update(file.staged.key for file in action.files)
    return found


def _groups(lake: Storage, wanted: Wanted, outcome: Outcome) -> list[Group]:
    listed = Listed()
    groups = find(lake, wanted, listed)
    outcome.partitions, outcome.files_before, outcome.bytes_before = listed.partitions, listed.files, listed.bytes
    outcome.files_after, outcome.bytes_after = listed.files, listed.bytes
    return groups


def _estimate(plan: list[Planned], outcome: Outcome) -> None:
    """What would be replaced; files become fewer, how much smaller is known only afterwards."""
    outcome.plan = plan
    outcome.replaced_files = sum(part.files for part in plan)
    outcome.written_files = sum(part.into for part in plan)
    outcome.files_after += outcome.written_files - outcome.replaced_files
    outcome.compacted_partitions = len(plan)


def _each(groups: list[Group], tools: Tools, since: Since, outcome: Outcome) -> None:
    """Each partition, with a bar of the bytes that were read and written; both count, as either may take most of the time."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[files]}"),
        TimeElapsedColumn(),
    )
    out = Console(file=sys.stderr)
    with Progress(*columns, console=out, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("compact", total=2 * sum(group.bytes for group in groups), files="")
        watched = _Watched(bar, task, sum(len(group.files) for group in groups))
        shown = tools.watched(watched.watch)
        for folder, some in groupby(groups, lambda group: group.folder):
            partition = list(some)
            bar.update(task, description=" ".join(word.rpartition("=")[2] for word in folder.split("/")))
            outcome.compacted_partitions += shown.compact(partition, since, outcome)
            watched.over(partition)


@dataclass
class _Watched:
    """The bar of a run: files that were read, and partitions that are over."""

    bar: Progress
    task: TaskID
    files: int
    seen: int = 0
    stage: str = ""
    done_files: int = 0
    done_bytes: int = 0

    @property
    def watch(self) -> Watch:
        """What the compactor tells."""
        return Watch(self._read, self._written, self._now)

    def _read(self, size: float) -> None:
        self.seen, self.stage = self.seen + 1, ""
        self._show(size)

    def _written(self, size: float) -> None:
        self._show(size * _WRITING)

    def _now(self, stage: str) -> None:
        self.stage = f", {stage}"
        self._show(0)

    def over(self, partition: list[Group]) -> None:
        """A partition; also what was not read of it, because it was left as it is."""
        self.done_files += sum(len(group.files) for group in partition)
        self.done_bytes += 2 * sum(group.bytes for group in partition)
        self.seen = self.done_files
        self.bar.update(self.task, completed=self.done_bytes)

    def _show(self, size: float) -> None:
        self.bar.update(self.task, advance=size, files=f"{self.seen:,} of {self.files:,} files{self.stage}")


def show(outcome: Outcome) -> None:
    """The report for people."""
    out = console()
    if outcome.finished:
        out.print(
            f"{len(outcome.finished)} compactions that were cut off "
            + ("wait to be finished" if outcome.dry_run else "were finished first")
        )
    if outcome.plan:
        _show_plan(out, outcome.plan)
    made = table("", "before", "after", numbers=(1, 2))
    made.add_row(cell("files"), f"{outcome.files_before:,}", f"{outcome.files_after:,}")
    made.add_row(cell("MiB"), f"{outcome.bytes_before / _MIB:,.1f}", f"{outcome.bytes_after / _MIB:,.1f}")
    print_fitting(out, made)
    would = "would be replaced" if outcome.dry_run else "were replaced"
    out.print(
        f"{outcome.replaced_files:,} files of {outcome.compacted_partitions:,} partitions {would} by"
        f" {outcome.written_files:,}" + ("" if outcome.dry_run else f"; {outcome.rows:,} rows, read back and equal")
    )
    if outcome.settled:
        out.print(f"{outcome.settled:,} partitions were sent back to their own folders, compacted")
    if outcome.waiting:
        out.print(
            f"{outcome.waiting:,} partitions are read at their new files; a run after the grace period puts these into the"
            " partitions' own folders"
        )
    for note in outcome.skipped:
        out.print(f"left as it is: {note}", markup=False)


def _show_plan(out: Console, plan: list[Planned]) -> None:
    made = table("table", "source", "day", "files", "MiB", "new files", numbers=(3, 4, 5))
    for part in sorted(plan, key=lambda part: -part.files)[:_SHOWN]:
        name, source, day = (word.rpartition("=")[2] for word in part.folder.split("/"))
        made.add_row(
            cell(name), cell(source), cell(day), f"{part.files:,}", f"{part.bytes / _MIB:,.1f}", f"{part.into:,}"
        )
    print_fitting(out, made)
    if len(plan) > _SHOWN:
        out.print(f"and {len(plan) - _SHOWN:,} partitions more with fewer files each; --json has all")
