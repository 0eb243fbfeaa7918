"""The dead letters of a configured lake, opened: their files, their book, their decoders."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batch_app.compaction.book import CompactionBook
from batch_app.dead_letters.book import Action, Book
from batch_app.dead_letters.decoding import CsvHeaders, RowDecoders
from batch_app.dead_letters.records import Records
from batch_app.dead_letters.selection import Selection
from batch_app.dead_letters.table import DeadLetters
from batch_app.tables import as_read, open_iceberg, require_whole_files
from streaming_app.config import Loaded
from streaming_app.journal.read_log import ReadLog
from streaming_app.journal.switches import Switches
from streaming_app.places import INPUT_SOURCES, checkpoint_of, compactions_of, dead_letters_of
from streaming_app.quality import Suite
from streaming_app.quality.words import explain
from streaming_app.schema import DEAD_LETTER, InputSource
from streaming_app.storage import open_storage

if TYPE_CHECKING:
    from streaming_app.sink.iceberg import IcebergTables


@dataclass(frozen=True)
class Opened:
    """What every command needs. `selection`: the filters that were given."""

    loaded: Loaded
    suite: Suite
    selection: Selection
    letters: DeadLetters
    book: Book
    decoders: RowDecoders

    @property
    def records(self) -> Records:
        """Single dead letters."""
        return Records(self.letters, self.book, self.loaded.dataset, self.decoders)

    def words(self, reasons: Iterable[str]) -> dict[str, str]:
        """Each reason in a line."""
        return {reason: explain(reason, self.suite, self.loaded.dataset).words for reason in reasons}


def open_letters(loaded: Loaded, suite: Suite, selection: Selection) -> Opened:
    """Open the configured lake's dead letters and read their book. Raises ConfigError and SinkError."""
    config = loaded.config
    storage = config.lake.s3.storage_options()
    lake, tables = open_storage(config.lake.root, storage), open_iceberg(loaded)
    require_whole_files(tables, "dead-letters", [DEAD_LETTER])
    compactions = open_storage(compactions_of(config), storage)
    moved = Switches(compactions) if config.catalog.moves_partitions else None
    book = Book(open_storage(dead_letters_of(config), storage), lake, moved, _table_commit(tables)).read()
    sources = [name for name, label in INPUT_SOURCES.items() if label is InputSource.BATCH]
    headers = CsvHeaders(*(ReadLog(open_storage(checkpoint_of(config, name), storage)) for name in sources))
    decoders = RowDecoders(loaded.dataset, headers, config.sources.csv.delimiter)
    letters = DeadLetters(as_read(lake, tables), book.taken, None if tables else CompactionBook(compactions, lake))
    return Opened(loaded, suite, selection, letters, book, decoders)


def _table_commit(tables: IcebergTables | None) -> Callable[[Action], None]:
    """What makes a replay's files part of the Iceberg table, once; nothing for plain Parquet."""
    if tables is None:
        return lambda _: None
    from streaming_app.sink.iceberg import Mark, by_table  # noqa: PLC0415 - pyspark: only where it is needed

    def commit(action: Action) -> None:
        files = by_table(action.files, action.input_source)
        tables.commit(files, Mark("dead_letters", action.number, f"replay:{action.source}"))

    return commit
