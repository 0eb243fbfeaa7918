"""`backfill --rescue COLUMN`: rows that came before the dataset had a column get its values out of their `rescued_data`.

Files are replaced one by one through the book of compactions: the new file is visible and read back before the old one goes (in an
Iceberg lake one commit of the table replaces it), a run that is cut off is finished by the next, and the audit proves the rows as before. Files without such a field are left alone. A value is
cast as the stream casts it; one that is no value of the column's type stays where it is. Rules are not asked: the row was
judged when it came.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from batch_app.compaction.book import AlreadyReplacedError, Compaction, CompactionBook, Replaced, Since
from batch_app.compaction.engine import OWNER
from batch_app.compaction.iceberg import IcebergSwap
from batch_app.compaction.reading import UNREADABLE, Proof, UnfitError, conformed, opened, stamps_of
from batch_app.compaction.run import in_doubt
from batch_app.output import console
from batch_app.session import session_for
from batch_app.tables import as_read, open_iceberg, require_one_kind_of_reader, require_whole_files
from streaming_app.arguments import load_all
from streaming_app.casting import cast_sql
from streaming_app.catalog import Partition
from streaming_app.config import Loaded
from streaming_app.config.models import SourceName
from streaming_app.decode.json_events import value_text
from streaming_app.errors import ConfigError
from streaming_app.journal.switches import Switches
from streaming_app.places import compactions_of, hold_lake_schema
from streaming_app.quality import Suite
from streaming_app.schema import CLEAN, Column, Decoded, Pii
from streaming_app.sink.layout import clean_schema
from streaming_app.sink.options import SinkOptions
from streaming_app.sink.parquet_files import TableFiles
from streaming_app.storage import Storage, open_storage
from streaming_app.streams import sink_options

_ROWS: Final = 1 << 17  # in memory at a time
_NAME: Final = re.compile(r"part-(.+)-[0-9a-f]{32}\.parquet")
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_RESCUED: Final = Decoded.RESCUED.value
Cast = Callable[[Column, set[str]], Mapping[str, Any]]


@dataclass
class Outcome:
    """What a rescue did, or a dry run would do. `no_value`: rows whose field is no value of the column's type, left alone."""

    dry_run: bool
    column: str
    looked_at: int = 0
    files: int = 0
    rows: int = 0
    no_value: int = 0
    finished: int = 0
    skipped: list[str] = field(default_factory=list)

    def note(self, filler: _Filler) -> None:
        """One file that was rewritten, or would be."""
        self.files += bool(filler.rows)
        self.rows += filler.rows
        self.no_value += filler.no_value

    def to_json(self) -> dict[str, Any]:
        """A JSON object; the keys are the attributes."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True)
class _Work:
    """What a run works with. `since`: from before the lake was listed."""

    lake: Storage
    book: CompactionBook
    since: Since
    values: Mapping[str, Any]
    outcome: Outcome


def run_rescue(options: argparse.Namespace) -> int:
    """The command. Raises ConfigError, SinkError."""
    if options.paths or options.skip_existing or options.key or options.input_source:
        raise ConfigError("--rescue works on the lake's own rows: it takes --since, --until and --dry-run, no paths")
    loaded, suite = load_all(options.config, options.overrides)
    require_one_kind_of_reader(loaded)
    column = _column(loaded, options.rescue)
    outcome = Outcome(options.dry_run, column.name)
    if not options.dry_run:
        hold_lake_schema(loaded)
    rescuer = Rescuer(loaded, suite, column, lambda wanted, texts: _cast(loaded, wanted, texts))
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


class Rescuer:
    """Rewrites files of `clean`. Guarantee: each row is in the lake once before and after, whatever is cut off."""

    def __init__(self, loaded: Loaded, suite: Suite, column: Column, cast: Cast) -> None:
        self._loaded, self._column, self._to_values = loaded, column, cast
        self._schema = clean_schema(loaded.dataset)
        self._options = sink_options(loaded, SourceName.CSV, suite)

    def run(self, outcome: Outcome, wanted: Callable[[date], bool]) -> None:
        """Fill the column in every file of the days that are wanted."""
        config, options = self._loaded.config, self._loaded.config.lake.s3.storage_options()
        lake = open_storage(config.lake.root, options)
        tables = open_iceberg(self._loaded)
        require_whole_files(tables, "--rescue")
        book = CompactionBook(
            open_storage(compactions_of(config), options), lake, IcebergSwap(tables) if tables else None
        )
        if not outcome.dry_run:
            outcome.finished = len(book.finish())
        since = book.since()
        doubtful = in_doubt(config, lake) if not outcome.dry_run else set()
        moved = {switch.folder for switch in Switches(open_storage(compactions_of(config), options)).open()}
        outcome.skipped += [
            f"{folder}: a compaction has moved it; run it again after `vacuum`" for folder in sorted(moved)
        ]
        texts: set[str] = set()
        files = [
            key
            for key in _files(as_read(lake, tables), wanted)
            if key not in doubtful and key.rpartition("/")[0] not in moved and self._has_some(lake, key, texts, outcome)
        ]
        if not files:
            return
        work = _Work(lake, book, since, self._to_values(self._column, texts), outcome)
        for key in _shown(files):
            try:
                self._one(work, key)
            except AlreadyReplacedError:
                outcome.skipped.append(f"{key}: a compaction has replaced it meanwhile; run it again")
            except (UnfitError, *UNREADABLE) as error:
                outcome.skipped.append(f"{key}: {' '.join(str(error).split())[:200]}")

    def _has_some(self, lake: Storage, key: str, texts: set[str], outcome: Outcome) -> bool:
        """Whether a file has the field in some row; collects the texts to cast."""
        outcome.looked_at += 1
        before, found = len(texts), False
        try:
            with opened(lake, key) as parquet:
                for batch in parquet.iter_batches(_ROWS, columns=[_RESCUED]):
                    for _, text, _ in _fields(batch.column(0), self._column.name):
                        found = True
                        texts.update([] if text is None else [text])
        except UNREADABLE as error:
            outcome.skipped.append(f"{key}: {' '.join(str(error).split())[:200]}")
        return found or len(texts) > before

    def _one(self, work: _Work, key: str) -> None:
        """Rewrite one file, by an entry in the book; in a dry run only look at it."""
        folder, _, name = key.rpartition("/")
        info = work.lake.info(key)
        if info is None:
            raise UnfitError("it is not there any more")
        filler = _Filler(self._column, self._schema, work.values)
        writer = TableFiles(work.lake, self._sink(folder), CLEAN, self._schema)
        try:
            with opened(work.lake, key) as parquet:
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
        else:
            entry = Compaction.of(uuid.uuid4().hex, folder, [replaced], writer.finish(), filler.proof)
            if not work.book.commit(replace(entry, fills=self._column.name), work.since):
                raise UnfitError("what was written could not be published; the file is as before")
        work.outcome.note(filler)

    def _sink(self, folder: str) -> SinkOptions:
        source = folder.split("/")[1].partition("=")[2]
        return replace(self._options, owner=OWNER, input_source=source)


class _Filler:
    """Fills the column, batch by batch, and notes what the rows come to."""

    def __init__(self, column: Column, schema: pa.Schema, values: Mapping[str, Any]) -> None:
        self._column, self._schema, self._values = column, schema, values
        self.rows = self.no_value = 0
        self.proof = Proof()
        self.stamps: set[int] = set()

    def filled(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The same rows, some of them with a value more and a rescued field less."""
        table = conformed(pa.Table.from_batches([batch]), self._schema)
        self.proof += Proof.of(table)
        self.stamps.update(np.unique(stamps_of(table)).tolist())
        name = self._column.name
        column, rescued = table.column(name).to_pylist(), table.column(_RESCUED).to_pylist()
        for place, text, rest in list(_fields(table.column(_RESCUED), name)):
            value = None if text is None else self._values.get(text)
            if column[place] is not None or (text is not None and value is None):
                self.no_value += 1
                continue
            column[place], rescued[place] = value, rest
            self.rows += 1
        for field_name, filled in ((name, column), (_RESCUED, rescued)):
            at = self._schema.get_field_index(field_name)
            table = table.set_column(at, self._schema.field(at), pa.array(filled, self._schema.field(at).type))
        return table.combine_chunks().to_batches()[0] if table.num_rows else batch


def _fields(rescued: Any, name: str) -> Iterator[tuple[int, str | None, str | None]]:
    """Rows with the field: their place, its text (None for null), and the rescued data without it."""
    wanted = json.dumps(name, ensure_ascii=False)
    for place, text in enumerate(rescued.to_pylist()):
        if text is None or wanted not in text:
            continue
        try:
            fields = _FIELDS.decode(text)
            if name not in fields:
                continue
            value = value_text(bytes(fields.pop(name)))
        except (ValueError, RecursionError):  # an object or a list, or not ours
            continue
        yield place, value, msgspec.json.encode(fields).decode() if fields else None


def _files(lake: Storage, wanted: Callable[[date], bool]) -> list[str]:
    keys = (item.key for item in lake.list(CLEAN))
    return [key for key in keys if key.endswith(".parquet") and (found := Partition.of_key(key)) and wanted(found.day)]


def _stamp(name: str, stamps: set[int]) -> int | None:
    """The moment in all rows of a file that the sink wrote, by which the audit finds them; None for a compaction's file."""
    found = _NAME.fullmatch(name)
    if not found:
        raise UnfitError("its name is none that the sink gives")
    if found[1] == OWNER:
        return None
    if len(stamps) != 1:
        raise UnfitError(f"its rows were written at {len(stamps)} moments, where the sink writes one")
    return next(iter(stamps))


def _cast(loaded: Loaded, column: Column, texts: set[str]) -> Mapping[str, Any]:
    """Texts to values, by the stream's own casts; Spark starts only for types that need it."""
    if column.type == "string" or not texts:
        return {text: text for text in texts}
    session = session_for(loaded.config)
    rows = session.createDataFrame(pa.table({"text": sorted(texts)}))
    found = rows.selectExpr("text", f"{cast_sql(column, 'text')} value").toArrow().to_pydict()
    return dict(zip(found["text"], found["value"], strict=True))


def _shown(files: Iterable[str]) -> Iterator[str]:
    """The files, with a progress bar on a terminal."""
    columns = (TextColumn("rescue"), BarColumn(), MofNCompleteColumn(), TextColumn("files"), TimeElapsedColumn())
    out = Console(file=sys.stderr)
    with Progress(*columns, console=out, transient=True, disable=not sys.stderr.isatty()) as bar:
        yield from bar.track(list(files), description="rescue")


def _show(outcome: Outcome) -> None:
    out = console()
    if outcome.finished:
        out.print(f"{outcome.finished:,} rewrites that were cut off were finished first")
    would = "would get" if outcome.dry_run else "got"
    out.print(
        f"{outcome.rows:,} rows in {outcome.files:,} of {outcome.looked_at:,} files {would} {outcome.column} from {_RESCUED}"
    )
    if outcome.no_value:
        out.print(
            f"{outcome.no_value:,} rows have the field with what is no value of the column, or have a value already"
        )
    for note in outcome.skipped:
        out.print(f"left as it is: {note}", markup=False)
