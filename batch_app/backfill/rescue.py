"""`backfill --rescue COLUMN`: rows that came before the dataset had a column get its values out of their `rescued_data`.

Each file is replaced by one through the book of compactions, as `compact` replaces many: a file goes after what replaces it was read
back, in an Iceberg lake by one commit of the table, with a catalog by switching the partition once all its files are rewritten
(compaction/switching.py). A run that is cut off is finished by the next, and the audit proves the rows as before. Files without
such a field are left alone. A value is cast as the stream casts it; one that is no value of the column's type stays where it is.
Rules are not asked: the row was judged when it came.
"""

from __future__ import annotations

import argparse
import json
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import groupby
from typing import Any, Final, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from batch_app.backfill.filling import RESCUED, TEXTS, Cast, Filler, Values, cast_all, fields_of
from batch_app.compaction.book import AlreadyReplacedError, Compaction, Replaced, Since
from batch_app.compaction.engine import Below
from batch_app.compaction.engine import Outcome as Compacted
from batch_app.compaction.origins import OWNER, owner_of
from batch_app.compaction.plan import Wanted
from batch_app.compaction.reading import UNREADABLE, UnfitError, opened
from batch_app.compaction.run import Tools, open_tools
from batch_app.compaction.switching import GRACE, Switcher
from batch_app.output import console
from batch_app.tables import require_whole_files
from streaming_app.arguments import load_all
from streaming_app.catalog import Partition
from streaming_app.config import Loaded
from streaming_app.errors import ConfigError
from streaming_app.journal.switches import Switches
from streaming_app.places import hold_lake_schema
from streaming_app.schema import CLEAN, Column, Dataset, Pii
from streaming_app.sink.layout import clean_schema
from streaming_app.sink.options import SinkOptions
from streaming_app.sink.parquet_files import TableFiles
from streaming_app.storage import Storage

_ROWS: Final = 1 << 17  # in memory at a time


@dataclass
class Outcome:
    """What a rescue did, or a dry run would do. `no_value`: rows whose field is no value of the column's type, left alone.

    `switched`: partitions whose readers a catalog sends to the new files.
    """

    dry_run: bool
    column: str
    looked_at: int = 0
    files: int = 0
    rows: int = 0
    no_value: int = 0
    finished: int = 0
    switched: int = 0
    skipped: list[str] = field(default_factory=list)

    def note(self, filler: Filler) -> None:
        """One file that was rewritten, or would be."""
        self.files += bool(filler.rows)
        self.rows += filler.rows
        self.no_value += filler.no_value

    def to_json(self) -> dict[str, Any]:
        """A JSON object; the keys are the attributes."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def run_rescue(options: argparse.Namespace) -> int:
    """The command. Raises ConfigError, SinkError."""
    if options.paths or options.skip_existing or options.key or options.input_source:
        raise ConfigError("--rescue works on the lake's own rows: it takes --since, --until and --dry-run, no paths")
    loaded, suite = load_all(options.config, options.overrides)
    column = _column(loaded, options.rescue)
    outcome = Outcome(options.dry_run, column.name)
    tools = open_tools(loaded, suite, Wanted(), GRACE)
    require_whole_files(tools.tables, "--rescue")
    if not options.dry_run:
        hold_lake_schema(loaded)
    rescuer = Rescuer(tools, loaded.dataset, column, lambda wanted, texts: cast_all(loaded, wanted, texts))
    rescuer.run(
        outcome, lambda day: (not options.since or day >= options.since) and (not options.until or day <= options.until)
    )
    if options.format == "json":
        print(json.dumps(outcome.to_json(), indent=2))  # noqa: T201 - the command's output
    else:
        _show(outcome)
    return 0


def _column(loaded: Loaded, name: str) -> Column:
    found = next((column for column in loaded.dataset.columns if column.name == name), None)
    if found is None:
        raise ConfigError(f"--rescue {name}: the dataset has no such column; add it to {loaded.dataset_file} first")
    if found.treatment is not Pii.KEEP:
        raise ConfigError(
            f"--rescue {name}: the column is personal data (pii: {found.pii}), which is not filled afterwards"
        )
    return found


@dataclass(frozen=True)
class _Work:
    """A run under way. `since`: from before the lake was listed. `shown`: a file is done."""

    since: Since
    outcome: Outcome
    shown: Callable[[], None]


@dataclass(frozen=True)
class _Rewritten:
    """A file's rows in another one, and what they came to."""

    entry: Compaction
    filler: Filler


class Rescuer:
    """Rewrites files of `clean`. Guarantee: each row is in the lake once before and after, whatever is cut off.

    Of readers: what `compact` promises them.
    """

    def __init__(self, tools: Tools, dataset: Dataset, column: Column, cast: Cast, texts: int = TEXTS) -> None:
        self._tools, self._column = tools, column
        self._no_values: Callable[[], Values] = lambda: Values(column, cast, texts)
        self._schema = clean_schema(dataset)

    def run(self, outcome: Outcome, wanted: Callable[[date], bool]) -> None:
        """Fill the column in every file of the days that are wanted."""
        if not outcome.dry_run:
            outcome.finished = len(self._tools.book.finish())
        since = self._tools.book.since()
        keys = self._free(_files(self._tools.as_read, wanted), outcome)
        with _bar(len(keys)) as shown:
            work = _Work(since, outcome, shown)
            for files, values in self._together(work, keys):
                for folder, some in groupby(files, _folder_of):
                    self._partition(work, folder, list(some), values)

    def _free(self, listed: list[str], outcome: Outcome) -> list[str]:
        """Files that nobody else is about to replace or take back; to be asked after the listing (see Compactor.build)."""
        doubtful = self._tools.compactor.in_doubt()
        moved = {switch.folder for switch in Switches(self._tools.storage).open()}
        outcome.skipped += [
            f"{folder}: a compaction has moved it; run it again after `vacuum`" for folder in sorted(moved)
        ]
        return [key for key in listed if key not in doubtful and _folder_of(key) not in moved]

    def _together(self, work: _Work, keys: list[str]) -> Iterator[tuple[list[str], Values]]:
        """Files with the field, whole partitions of them until there are enough texts for one cast."""
        files: list[str] = []
        values = self._no_values()
        for _, some in groupby(keys, _folder_of):
            files += [key for key in some if self._has_some(work, key, values)]
            if values.full:
                yield files, values
                files, values = [], self._no_values()
        yield files, values

    def _has_some(self, work: _Work, key: str, values: Values) -> bool:
        """Whether a file has the field in some row; collects the texts to cast."""
        work.outcome.looked_at += 1
        found = False
        try:
            with opened(self._tools.lake, key) as parquet:
                for batch in parquet.iter_batches(_ROWS, columns=[RESCUED]):
                    texts = [text for _, text, _ in fields_of(batch.column(0), self._column.name)]
                    found = found or bool(texts)
                    values.collect(text for text in texts if text is not None)
        except UNREADABLE as error:
            work.outcome.skipped.append(f"{key}: {_one_line(error)}")
        if not found:
            work.shown()
        return found

    def _partition(self, work: _Work, folder: str, keys: list[str], values: Values) -> None:
        """Rewrite files of one partition: one after the other, or with a catalog all before readers are sent there."""
        switcher, place, moved = self._tools.switcher, "", []
        if switcher and not work.outcome.dry_run:
            done = Compacted(dry_run=False)
            place = switcher.new_place() if switcher.has(folder, done) else ""
            work.outcome.skipped += done.skipped
            if not place:
                return
        for key in keys:
            try:
                made = self._rewritten(work, key, values, place)
                if made and place and switcher:
                    switcher.kept(made.entry)
                    moved.append(made)
                elif made:
                    self._commit(work, made)
            except AlreadyReplacedError:
                work.outcome.skipped.append(f"{key}: a compaction has replaced it meanwhile; run it again")
            except (UnfitError, *UNREADABLE) as error:
                work.outcome.skipped.append(f"{key}: {_one_line(error)}")
            work.shown()
        if moved and switcher:
            self._switch(work, switcher, moved)

    def _commit(self, work: _Work, made: _Rewritten) -> None:
        if not self._tools.book.commit(made.entry, work.since):
            raise UnfitError("what was written could not be published; the file is as before")
        work.outcome.note(made.filler)

    @staticmethod
    def _switch(work: _Work, switcher: Switcher, moved: list[_Rewritten]) -> None:
        done = Compacted(dry_run=False)
        if switcher.replace([made.entry for made in moved], work.since, done):
            work.outcome.switched += 1
            for made in moved:
                work.outcome.note(made.filler)
        work.outcome.skipped += done.skipped

    def _rewritten(self, work: _Work, key: str, values: Values, place: str) -> _Rewritten | None:
        """Stage one file's rows anew, below `place`; in a dry run only look at it. None when there is nothing to replace."""
        lake = self._tools.lake
        folder, _, name = key.rpartition("/")
        info = lake.info(key)
        if info is None:
            raise UnfitError("it is not there any more")
        filler = Filler(self._column, self._schema, values)
        where = cast("Storage", Below(lake, place)) if place else lake
        writer = TableFiles(where, self._sink(folder), CLEAN, self._schema)
        try:
            with opened(lake, key) as parquet:
                for batch in parquet.iter_batches(_ROWS):
                    filled = filler.filled(batch)
                    if not work.outcome.dry_run:
                        writer.add(folder.rpartition("/")[2], filled)
            replaced = Replaced(name, info.size, filler.proof.rows, _stamp(name, filler.stamps))
        except BaseException:
            writer.abort()
            raise
        if not filler.rows or work.outcome.dry_run:
            writer.abort()
            work.outcome.note(filler)
            return None
        entry = Compaction.of(uuid.uuid4().hex, folder, [replaced], writer.finish(), filler.proof)
        return _Rewritten(replace(entry, fills=self._column.name), filler)

    def _sink(self, folder: str) -> SinkOptions:
        source = folder.split("/")[1].partition("=")[2]
        return replace(self._tools.compactor.options, owner=OWNER, input_source=source)


def _files(lake: Storage, wanted: Callable[[date], bool]) -> list[str]:
    keys = (item.key for item in lake.list(CLEAN))
    return [key for key in keys if key.endswith(".parquet") and (found := Partition.of_key(key)) and wanted(found.day)]


def _stamp(name: str, stamps: set[int]) -> int | None:
    """The moment in all rows of a file that the sink wrote, by which the audit finds them; None for a compaction's file."""
    owner = owner_of(name)
    if not owner:
        raise UnfitError("its name is none that the sink gives")
    if owner == OWNER:
        return None
    if len(stamps) != 1:
        raise UnfitError(f"its rows were written at {len(stamps)} moments, where the sink writes one")
    return next(iter(stamps))


@contextmanager
def _bar(files: int) -> Iterator[Callable[[], None]]:
    """A progress bar on a terminal; call what it gives for each file."""
    columns = (TextColumn("rescue"), BarColumn(), MofNCompleteColumn(), TextColumn("files"), TimeElapsedColumn())
    out = Console(file=sys.stderr)
    with Progress(*columns, console=out, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("rescue", total=files)
        yield lambda: bar.advance(task)


def _folder_of(key: str) -> str:
    return key.rpartition("/")[0]


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def _show(outcome: Outcome) -> None:
    out = console()
    if outcome.finished:
        out.print(f"{outcome.finished:,} rewrites that were cut off were finished first")
    would = "would get" if outcome.dry_run else "got"
    out.print(
        f"{outcome.rows:,} rows in {outcome.files:,} of {outcome.looked_at:,} files {would} {outcome.column} from {RESCUED}"
    )
    if outcome.no_value:
        out.print(
            f"{outcome.no_value:,} rows have the field with what is no value of the column, or have a value already"
        )
    if outcome.switched:
        out.print(
            f"{outcome.switched:,} partitions are read at their new files; `compact` or `vacuum` after the grace period puts"
            " these into the partitions' own folders"
        )
    for note in outcome.skipped:
        out.print(f"left as it is: {note}", markup=False)
