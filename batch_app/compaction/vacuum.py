"""`vacuum`: what is left over in a lake, found by one listing of each place, and removed when it is older than the grace period.

- replaced: files in `compacted/` that no reader is sent to any more, and those of compactions that were killed there
- orphans: files that readers see and that no ledger, replay or compaction knows
- staged: staged files and uncompleted uploads that no entry waits to publish

It never removes what an entry owns. Where many files are nobody's, the checkpoints are more likely the wrong ones than the
files, so it refuses.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from batch_app.audit.lake import TABLES, LakeFiles
from batch_app.compaction.book import CompactionBook
from batch_app.compaction.engine import OWNER, Outcome
from batch_app.compaction.plan import Wanted
from batch_app.compaction.run import Tools, open_tools
from batch_app.compaction.switching import AREA, GRACE, forget, retired, targets_in_use
from batch_app.dead_letters.book import Book
from batch_app.output import cell, console, print_fitting, status, table
from streaming_app.arguments import load_all
from streaming_app.config import Config, Loaded
from streaming_app.doctor.findings import identity
from streaming_app.errors import ConfigError, SinkError
from streaming_app.journal.ledger import Ledger
from streaming_app.places import INPUT_SOURCES, checkpoint_of, dead_letters_of
from streaming_app.quality import Suite
from streaming_app.storage import StagedFile, Storage, open_storage

_OURS: Final = re.compile(r"part-(.+)-[0-9a-f]{32}\.parquet")
_REPLAY: Final = "replay-"
_SHARE: Final = 10  # orphans that are more than one in so many files
_FEW: Final = 10  # of which fewer never matter
_MIB: Final = 1 << 20


@dataclass
class Removed:
    """Files and bytes of one kind; on S3 the bytes of uploads are not known."""

    files: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        """One file."""
        self.files += 1
        self.bytes += size


@dataclass
class Cleaning:
    """What a vacuum removed, or a dry run would. `settled`: partitions that readers were sent back to.

    `strangers`: files of nobody that the sink has not named, which are left alone.
    """

    dry_run: bool
    replaced: Removed = field(default_factory=Removed)
    orphans: Removed = field(default_factory=Removed)
    staged: Removed = field(default_factory=Removed)
    strangers: list[str] = field(default_factory=list)
    finished: list[int] = field(default_factory=list)
    settled: int = 0

    def to_json(self) -> dict[str, Any]:
        """A JSON object; the keys are the attributes."""
        return asdict(self)


def run(options: argparse.Namespace) -> int:
    """`vacuum`. Raises ConfigError and SinkError."""
    loaded, suite = load_all(options.config, options.overrides)
    with status("looking at the ledgers and at every file of the lake"):
        found = vacuum(loaded, suite, options.grace, many=options.many_orphans, dry_run=options.dry_run)
    if options.json:
        print(json.dumps(found.to_json(), indent=2))  # noqa: T201 - the command's output
    else:
        show(found)
    return 0


def vacuum(loaded: Loaded, suite: Suite, grace: float, *, many: bool = False, dry_run: bool = False) -> Cleaning:
    """Finish what compactions left, then remove what is older than `grace` seconds. Raises ConfigError, SinkError."""
    if loaded.config.sink.format == "iceberg":
        raise ConfigError(
            "sink.format is iceberg: its files belong to the table's snapshots, which vacuum does not know; run Spark's"
            " expire_snapshots and remove_orphan_files instead (docs/iceberg.md)"
        )
    tools = open_tools(loaded, suite, Wanted(), min(grace, GRACE))
    done = Cleaning(dry_run)
    if dry_run:
        done.finished = [entry.number for entry in tools.book.unfinished()]
    else:
        outcome = Outcome(dry_run=False)
        done.finished = tools.book.finish()
        if tools.switcher:
            tools.switcher.finish(outcome)
        done.settled = outcome.settled
    before = time.time() - grace
    orphans = _orphans(loaded.config, tools, before, done, many=many)
    _remove(tools.lake, orphans, dry_run=dry_run)
    _replaced(tools, before, done)
    _staged(loaded.config, tools, before, done)
    return done


def _remove(lake: Storage, keys: Iterable[str], *, dry_run: bool) -> None:
    if not dry_run:
        lake.delete(keys)


def _orphans(config: Config, tools: Tools, before: float, done: Cleaning, *, many: bool) -> list[str]:
    """Files that readers see and nobody owns."""
    files = LakeFiles(tools.lake)  # before any ledger is read: a file is visible only after its entry is there
    for key in _owned(config, tools.lake, tools.book):
        files.listed(key)
    keys = []
    for info in files.orphans():
        match = _OURS.fullmatch(info.key.rsplit("/", 1)[-1])
        if not match or not (match[1] in {*INPUT_SOURCES, OWNER} or match[1].startswith(_REPLAY)):
            done.strangers.append(info.key)
        elif info.modified.timestamp() < before:
            done.orphans.add(info.size)
            keys.append(info.key)
    total = len(files)
    if len(keys) > _FEW and len(keys) * _SHARE > total and not many:
        raise SinkError(
            f"{len(keys)} of the {total} files in {tools.lake.uri} are in no entry of the ledgers below"
            f" {config.lake.checkpoint_root()}; if these are the lake's checkpoints, and whole, say --many-orphans (`audit`"
            " lists the files); nothing was removed"
        )
    return keys


def _owned(config: Config, lake: Storage, book: CompactionBook) -> Iterator[str]:
    """Keys of all files that some entry owns, whether it is published or not."""
    options = config.lake.s3.storage_options()
    for source in INPUT_SOURCES:
        for entry in Ledger(open_storage(checkpoint_of(config, source), options)).entries():
            yield from (file.staged.key for file in entry.files)
    for action in Book(open_storage(dead_letters_of(config), options), lake).read().actions.values():
        yield from (file.staged.key for file in action.files)
    for compaction in book.entries():
        yield from compaction.output_keys


def _replaced(tools: Tools, before: float, done: Cleaning) -> None:
    """Folders below `compacted/` that readers were sent back from, and leftovers of killed compactions there."""
    gone = dict(retired(tools.storage, before))
    kept = targets_in_use(tools.storage) - set(gone.values())
    keys = []
    for info in tools.lake.list(AREA):
        folder = info.key.rsplit("/", 1)[0]
        if folder in gone.values() or (folder not in kept and info.modified.timestamp() < before):
            done.replaced.add(info.size)
            keys.append(info.key)
    _remove(tools.lake, keys, dry_run=done.dry_run)
    for token in gone if not done.dry_run else ():
        forget(tools.storage, token)


def _staged(config: Config, tools: Tools, before: float, done: Cleaning) -> None:
    """Staged files that no entry waits to publish."""
    found = list(tools.lake.abandoned([*TABLES, AREA], datetime.fromtimestamp(before, UTC)))
    waiting = {identity(file) for file in _waiting(config, tools)}  # after the listing: a later entry's files are young
    for file in found:
        if identity(file) not in waiting:
            done.staged.add(file.size)
            if not done.dry_run:
                tools.lake.discard(file)


def _waiting(config: Config, tools: Tools) -> Iterator[StagedFile]:
    options = config.lake.s3.storage_options()
    for source in INPUT_SOURCES:
        for entry in Ledger(open_storage(checkpoint_of(config, source), options)).unpublished():
            yield from (file.staged for file in entry.files)
    for action in Book(open_storage(dead_letters_of(config), options), tools.lake).unfinished():
        yield from (file.staged for file in action.files)
    for compaction in tools.book.unfinished():
        yield from (file.staged for file in compaction.outputs)


def show(done: Cleaning) -> None:
    """The report for people."""
    out = console()
    made = table("would be removed" if done.dry_run else "removed", "files", "MiB", numbers=(1, 2))
    rows = {"replaced by a compaction": done.replaced, "of nobody": done.orphans, "staged or uploading": done.staged}
    for name, removed in rows.items():
        made.add_row(cell(name), f"{removed.files:,}", f"{removed.bytes / _MIB:,.1f}")
    print_fitting(out, made)
    if done.settled:
        out.print(f"{done.settled:,} compacted partitions are read in their own folders again")
    for key in done.strangers:
        out.print(f"left as it is: {key} is in no ledger, and its name is none that the sink gives", markup=False)
