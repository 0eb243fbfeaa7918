"""`vacuum`: what is left over in a lake, found by one listing of each place, and removed when it is older than the grace period.

- replaced: files in `compacted/` that no reader is sent to any more, and those of compactions that were killed there; in an
  Iceberg lake files that a compaction has replaced and that no snapshot names any more
- orphans: files that readers see and that no ledger, replay or compaction knows
- staged: staged files and uncompleted uploads that no entry waits to publish, and such uploads into the checkpoints
- of Iceberg tables, first: snapshots that no reader was given since, and in the end metadata files that no snapshot needs

It never removes what an entry owns. Where many files are nobody's, the checkpoints are more likely the wrong ones than the
files, so it refuses.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from batch_app.audit.compactions import Compactions
from batch_app.audit.lake import TABLES, LakeFiles
from batch_app.compaction.book import CompactionBook
from batch_app.compaction.engine import Outcome
from batch_app.compaction.origins import OWNER, owner_of
from batch_app.compaction.plan import Wanted
from batch_app.compaction.run import Tools, in_doubt, open_tools
from batch_app.compaction.switching import AREA, GRACE, forget, never_begun, retired, targets_in_use
from batch_app.dead_letters.book import Book
from batch_app.output import Working, cell, console, print_fitting, table, working
from streaming_app.arguments import load_all
from streaming_app.config import Config, Loaded
from streaming_app.doctor.findings import identity
from streaming_app.errors import SinkError
from streaming_app.journal.ledger import Ledger
from streaming_app.places import CHECKPOINTS, INPUT_SOURCES, checkpoint_of, dead_letters_of
from streaming_app.quality import Suite
from streaming_app.sink.iceberg import IcebergTables, Needed
from streaming_app.storage import ObjectInfo, StagedFile, Storage, is_s3, open_storage

_REPLAY: Final = "replay-"
_SHARE: Final = 10  # orphans that are more than one in so many files
_FEW: Final = 10  # of which fewer never matter
_MIB: Final = 1 << 20
_COMMIT: Final = 3600.0  # seconds at least: metadata of a commit, or a move's document, may be named by nothing yet
_LOOKING: Final = "looking at the ledgers and at every file of the lake"
_METADATA: Final = (".avro", ".metadata.json")


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

    `moves`: what was written down of moves that were never begun. `strangers`: files of nobody that the sink has not named, which are left alone. Of Iceberg tables: snapshots that `expired`,
    `metadata` files, and files `taken_out` by somebody else: no snapshot names them, and no compaction says where their rows are.
    """

    dry_run: bool
    replaced: Removed = field(default_factory=Removed)
    orphans: Removed = field(default_factory=Removed)
    staged: Removed = field(default_factory=Removed)
    metadata: Removed = field(default_factory=Removed)
    expired: int = 0
    taken_out: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    finished: list[int] = field(default_factory=list)
    settled: int = 0
    moves: int = 0

    def to_json(self) -> dict[str, Any]:
        """A JSON object; the keys are the attributes."""
        return asdict(self)


def run(options: argparse.Namespace) -> int:
    """`vacuum`. Raises ConfigError and SinkError."""
    loaded, suite = load_all(options.config, options.overrides)
    with working(_LOOKING) as shown:
        found = vacuum(loaded, suite, options.grace, many=options.many_orphans, dry_run=options.dry_run, shown=shown)
    if options.json:
        print(json.dumps(found.to_json(), indent=2))  # noqa: T201 - the command's output
    else:
        show(found)
    return 0


def vacuum(
    loaded: Loaded,
    suite: Suite,
    grace: float,
    *,
    many: bool = False,
    dry_run: bool = False,
    shown: Working | None = None,
) -> Cleaning:
    """Finish what compactions left, then remove what is older than `grace` seconds. Raises ConfigError, SinkError."""
    done = Cleaning(dry_run)
    vacuum_with(
        open_tools(loaded, suite, Wanted(), min(grace, GRACE)), loaded.config, grace, done, many=many, shown=shown
    )
    return done


def vacuum_with(
    tools: Tools, config: Config, grace: float, done: Cleaning, *, many: bool = False, shown: Working | None = None
) -> None:
    """As `vacuum`, on an opened lake."""
    remove = _Removing(tools.lake, shown or Working(), done.dry_run)
    if done.dry_run:
        done.finished = [entry.number for entry in tools.book.unfinished()]
    else:
        outcome = Outcome(dry_run=False)
        done.finished = tools.book.finish()
        if tools.switcher:
            tools.switcher.finish(outcome)
        done.settled = outcome.settled
    before = time.time() - grace
    if tools.tables:
        done.expired = tools.tables.expire(before, dry_run=done.dry_run)
    orphans = _orphans(config, tools, before, done, many=many)
    remove.files(orphans, "removing files of nobody")
    _replaced(tools, before, done, remove)
    _staged(config, tools, before, done, remove)
    _unnamed(config, tools, before, done, remove)


@dataclass(frozen=True)
class _Removing:
    """Removes what was found, and shows how far it is."""

    lake: Storage
    shown: Working
    dry_run: bool

    def files(self, keys: Sequence[str], what: str) -> None:
        """Files that readers see, or saw."""
        if keys and not self.dry_run:
            self.lake.delete(self.shown.each(keys, what))
            self.shown.say(_LOOKING)

    def staged(self, files: Sequence[tuple[Storage, StagedFile]]) -> None:
        """Staged files and uploads."""
        if files and not self.dry_run:
            for storage, file in self.shown.each(files, "removing staged files and uploads"):
                storage.discard(file)
            self.shown.say(_LOOKING)


def _orphans(config: Config, tools: Tools, before: float, done: Cleaning, *, many: bool) -> list[str]:
    """Files that readers see and nobody owns."""
    files = LakeFiles(tools.lake)  # before any ledger is read: a file is visible only after its entry is there
    for key in owned(config, tools.lake, tools.book):
        files.listed(key)
    keys = []
    orphans = list(files.orphans())
    named = _named(tools.tables) if orphans else set()
    for info in orphans:
        if info.key in named:
            continue
        owner = owner_of(info.key.rsplit("/", 1)[-1])
        if not owner or not (owner in {*INPUT_SOURCES, OWNER} or owner.startswith(_REPLAY)):
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


def _named(tables: IcebergTables | None) -> set[str]:
    """What snapshots of Iceberg tables name."""
    return {key for name in TABLES if tables for key in tables.needed(name).files}


def owned(config: Config, lake: Storage, book: CompactionBook) -> Iterator[str]:
    """Keys of all files that some entry owns, whether it is published or not."""
    options = config.lake.s3.storage_options()
    for source in INPUT_SOURCES:
        for entry in Ledger(open_storage(checkpoint_of(config, source), options)).entries():
            yield from (file.staged.key for file in entry.files)
    for action in Book(open_storage(dead_letters_of(config), options), lake).read().actions.values():
        yield from (file.staged.key for file in action.files)
    for compaction in book.entries():
        yield from compaction.output_keys


def _replaced(tools: Tools, before: float, done: Cleaning, remove: _Removing) -> None:
    """Folders below `compacted/` that readers were sent back from, and leftovers of killed compactions there."""
    gone = dict(retired(tools.storage, before))
    kept = targets_in_use(tools.storage) - set(gone.values())
    keys = []
    for info in tools.lake.list(AREA):
        folder = info.key.rsplit("/", 1)[0]
        if folder in gone.values() or (folder not in kept and info.modified.timestamp() < before):
            done.replaced.add(info.size)
            keys.append(info.key)
    remove.files(keys, "removing copies that nobody is sent to")
    left = never_begun(tools.storage, min(before, time.time() - _COMMIT))
    done.moves = len(left)
    for token in (*gone, *left) if not done.dry_run else ():
        forget(tools.storage, token)


def _unnamed(config: Config, tools: Tools, before: float, done: Cleaning, remove: _Removing) -> None:
    """Of Iceberg tables: replaced files and metadata that no snapshot needs any more."""
    tables = tools.tables
    if not tables:
        return
    compactions = Compactions(tools.book, tools.lake)
    listed = {
        info.key: info for name in TABLES for info in tools.lake.list(name)
    }  # first: whatever is visible has its entry
    metadata = [info for name in TABLES if (folder := tables.metadata_folder(name)) for info in tools.lake.list(folder)]
    compactions.read()
    named = in_doubt(config, tools.lake).union(_unfinished(tools.book))
    needed = [tables.needed(name, before if done.dry_run else None) for name in TABLES]
    named = named.union(*(each.files for each in needed))
    gone = [info for info in listed.values() if info.key not in named and info.modified.timestamp() < before]
    replaced = [info for info in gone if compactions.find(info.key)]
    taken = {info.key for info in gone}.difference(info.key for info in replaced)
    done.taken_out += sorted(taken.intersection(owned(config, tools.lake, tools.book)))
    left = [info for info in metadata if _is_left(info, needed, min(before, time.time() - _COMMIT))]
    for removed, infos in ((done.replaced, replaced), (done.metadata, left)):
        for info in infos:
            removed.add(info.size)
        remove.files([info.key for info in infos], "removing files that no snapshot needs")


def _is_left(info: ObjectInfo, needed: Iterable[Needed], before: float) -> bool:
    """Whether a table needs a manifest or an older version no more, or a commit that failed has left it."""
    if not info.key.endswith(_METADATA) or info.modified.timestamp() >= before:
        return False
    return all(info.key not in each.metadata for each in needed)


def _unfinished(book: CompactionBook) -> Iterator[str]:
    """Files of compactions that are not carried out: which of them readers see is still to be decided."""
    for entry in book.unfinished():
        yield from (*entry.input_keys, *entry.output_keys)


def _staged(config: Config, tools: Tools, before: float, done: Cleaning, remove: _Removing) -> None:
    """Staged files and uploads that no entry waits to publish."""
    found = list(_begun(config, tools, datetime.fromtimestamp(before, UTC)))
    waiting = {identity(file) for file in _waiting(config, tools)}  # after the listing: a later entry's files are young
    left = [(storage, file) for storage, file in found if identity(file) not in waiting]
    for _, file in left:
        done.staged.add(file.size)
    remove.staged(left)


def _begun(config: Config, tools: Tools, before: datetime) -> Iterator[tuple[Storage, StagedFile]]:
    """Staged files of the tables; on S3 also uploads into checkpoints, which Spark or a large object leaves when it is killed.

    Only into folders that a lake has there: the checkpoints may lie beside another lake's.
    """
    yield from ((tools.lake, file) for file in tools.lake.abandoned([*TABLES, AREA], before))
    root = config.lake.checkpoint_root()
    if is_s3(root):
        checkpoints = open_storage(root, config.lake.s3.storage_options())
        yield from ((checkpoints, file) for file in checkpoints.abandoned(CHECKPOINTS, before))


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
    if done.expired or done.metadata.files:
        rows["metadata of Iceberg tables"] = done.metadata
    for name, removed in rows.items():
        made.add_row(cell(name), f"{removed.files:,}", f"{removed.bytes / _MIB:,.1f}")
    print_fitting(out, made)
    if done.settled:
        out.print(f"{done.settled:,} compacted partitions are read in their own folders again")
    if done.expired:
        out.print(f"{done.expired:,} snapshots of Iceberg tables " + ("would expire" if done.dry_run else "expired"))
    if done.moves:
        out.print(
            f"{done.moves:,} moves of partitions that were never begun "
            + ("would be" if done.dry_run else "were")
            + " forgotten"
        )
    for key in done.taken_out:
        out.print(
            f"left as it is: {key} is in a ledger, but no snapshot names it and no compaction has replaced it: an engine took it"
            " out of the table",
            markup=False,
        )
    for key in done.strangers:
        out.print(f"left as it is: {key} is in no ledger, and its name is none that the sink gives", markup=False)
