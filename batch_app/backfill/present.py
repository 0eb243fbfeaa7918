"""`--skip-existing`: the keys that the lake has already, and when they can be known.

Guarantee: a row is left out if its key stands in a file of its day that was visible when the batch's load began, whatever a
compaction does meanwhile. Keys that are committed but not visible yet could not be seen: `require_published` waits for them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, cast

import pyarrow as pa

from batch_app.compaction.book import CompactionBook
from batch_app.compaction.reading import opened
from batch_app.compaction.seen_once import MOST_LISTINGS, OvertakenError, left_out, unclear
from batch_app.dead_letters.book import Book
from streaming_app.config import Config
from streaming_app.errors import ConfigError, SinkError
from streaming_app.journal.ledger import Ledger
from streaming_app.places import INPUT_SOURCES, checkpoint_of, dead_letters_of
from streaming_app.schema import CLEAN, INPUT_SOURCE, Dataset, InputSource, Judged, Pii
from streaming_app.sink.options import SinkOptions
from streaming_app.sink.personal import PersonalData
from streaming_app.storage import Storage, StorageOptions, open_storage

_POLL: Final = 1.0  # seconds


@dataclass(frozen=True)
class Skip:
    """Leave out clean rows whose `key` their day has. `compactions`: the folder with the book of compactions."""

    key: str
    compactions: str


@dataclass
class Present:
    """Keys that a day's partitions of the lake have, and those seen here. Memory: the keys of the days under way.

    Keys are compared as the lake has them: `treat` does to a column what the sink does to personal data.
    """

    lake: Storage
    book: CompactionBook
    day_column: str
    key: str
    treat: Callable[[Any], Any]
    keys: dict[Any, set[Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, skip: Skip, sink: SinkOptions, dataset: Dataset) -> Present:
        """For the rows of one task. Raises ConfigError without the key that hashes personal data."""
        lake = sink.open_lake()
        book = CompactionBook(open_storage(skip.compactions, StorageOptions.from_options(sink.storage)), lake)
        personal = PersonalData(dataset, sink.delimiter, os.environ)
        return cls(lake, book, dataset.partition_column, skip.key, lambda values: personal.values(skip.key, values))

    def without(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows but for clean ones whose key is there; a row without a key is never a duplicate."""
        days, stages = (batch.column(name).to_pylist() for name in (self.day_column, Judged.STAGE.value))
        keys = self.treat(batch.column(self.key)).to_pylist()
        kept = [
            stage is not None or key is None or self._is_new(day, key)
            for day, key, stage in zip(days, keys, stages, strict=True)
        ]
        return batch if all(kept) else batch.filter(pa.array(kept))

    def _is_new(self, day: Any, key: Any) -> bool:
        known = self.keys.get(day)
        if known is None:
            known = self.keys[day] = self._in_lake(day)
        if key in known:
            return False
        known.add(key)
        return True

    def _in_lake(self, day: Any) -> set[Any]:
        """Raises SinkError where no listing is of one moment."""
        folders = [
            f"{CLEAN}/{INPUT_SOURCE}={source.value}/{self.day_column}={day.isoformat()}" for source in InputSource
        ]
        problem: SinkError | None = None
        for _ in range(MOST_LISTINGS):
            since = self.book.finished_through() + 1  # before the listing: what is done by now cannot overtake it
            listed = {key for folder in folders for key in self._visible(folder)}
            history = [(entry, stands) for entry, stands in self.book.history(since) if entry.folder in folders]
            try:
                return {key for file in listed - left_out(history, listed) for key in self._keys(file)}
            except OvertakenError as overtaken:
                problem = unclear(self.book, overtaken)
            except FileNotFoundError as gone:
                problem = SinkError(f"{gone}: went while its keys were read; run the command again")
        raise cast("SinkError", problem)

    def _visible(self, folder: str) -> Iterator[str]:
        for info in self.lake.list(folder):
            if not info.key.rsplit("/", 1)[-1].startswith(("_", ".")):
                yield info.key

    def _keys(self, file: str) -> list[Any]:
        """None of them in a file from before the dataset had the column."""
        with opened(self.lake, file) as parquet:
            if self.key not in parquet.schema_arrow.names:
                return []
            # A file from before the column was hashed has plain keys.
            return list(self.treat(parquet.read([self.key]).column(0).combine_chunks()).to_pylist())


def require_comparable(dataset: Dataset, key: str) -> None:
    """Raise ConfigError for a key that is the same in every row of the lake."""
    column = next(column for column in dataset.columns if column.name == key)
    if column.treatment is Pii.MASK:
        raise ConfigError(
            f"--skip-existing: {key} is masked in the lake (pii: mask), so which rows are there cannot be known by it; choose"
            " another column with --key"
        )


def require_published(config: Config, own: str, patience: float) -> None:
    """Wait for rows that are committed and not visible yet, except those of checkpoint `own`. Raises SinkError.

    A service that runs publishes in moments; one that died leaves it to its next start, after which such rows would be in the
    lake twice.
    """
    deadline = time.monotonic() + patience
    while waiting := _unpublished(config, own):
        if time.monotonic() >= deadline:
            raise SinkError(
                f"--skip-existing cannot see the keys of {', '.join(waiting)}: committed, but not visible yet. Start the service"
                " (or run the command that was cut off) once, or stop it and run `python -m streaming_app doctor --repair`;"
                " then run this again"
            )
        time.sleep(_POLL)


def _unpublished(config: Config, own: str) -> list[str]:
    """What is committed and not visible yet, in words."""
    options = config.lake.s3.storage_options()
    found = []
    for source in INPUT_SOURCES:
        ledger = Ledger(open_storage(checkpoint_of(config, source), options))
        entries = ledger.unpublished() if source != own else []
        found += [f"{source} batch {entry.batch_id}" for entry in entries if entry.counts.clean]
    lake = open_storage(config.lake.root, options)
    actions = Book(open_storage(dead_letters_of(config), options), lake).unfinished()
    return found + [f"replay {action.number}" for action in actions if action.files]
