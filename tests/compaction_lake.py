"""Lakes of small files for compaction, written by the sink's own file writer into any storage."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq

from batch_app.backfill.rescue import Outcome as Rescued
from batch_app.backfill.rescue import Rescuer
from batch_app.compaction.book import CompactionBook
from batch_app.compaction.engine import Compactor, Outcome
from batch_app.compaction.plan import Listed, Wanted, find
from batch_app.compaction.run import Tools
from batch_app.compaction.switching import Switcher
from streaming_app.journal.ledger import LedgerFile
from streaming_app.schema import Column, Dataset
from streaming_app.sink.layout import DEAD_LETTER_SCHEMA, clean_schema
from streaming_app.sink.options import SinkOptions
from streaming_app.sink.parquet_files import TableFiles
from streaming_app.storage import Storage

START = datetime(2026, 3, 1, tzinfo=UTC)
DAY = "order_date=2026-03-01"


def options(dataset: Dataset, **more) -> SinkOptions:
    given = {"owner": "kinesis", "dataset": dataset.to_option(), **more}
    return SinkOptions(
        lake="unused",
        checkpoint="unused",
        source="kinesis:orders",
        input_source="stream",
        suite_fingerprint="f",
        **given,
    )


def clean_rows(dataset: Dataset, begin: int, count: int, stamp: datetime) -> pa.RecordBatch:
    """Rows `s:<n>`, newest first, with every type there is: decimals, nulls, lists, times before 1970."""
    numbers = range(begin + count - 1, begin - 1, -1)
    rows = [
        {
            "order_id": f"o{number}",
            "city": "Malmö" if number % 3 else None,
            "quantity": number % 7,
            "amount": Decimal(number) / 100,
            "order_ts": START + timedelta(microseconds=number) if number % 11 else datetime(1969, 12, 31, tzinfo=UTC),
            "rescued_data": f'{{"tip":"{number}"}}' if number % 2 else None,
            "quality_warnings": ["late"] if number % 5 == 0 else None,
            "source_position": f"s:{number}",
            "ingested_at": stamp,
        }
        for number in numbers
    ]
    return pa.RecordBatch.from_pylist(rows, schema=clean_schema(dataset))


def dead_rows(begin: int, count: int, stamp: datetime) -> pa.RecordBatch:
    rows = [
        {
            "dead_letter_id": f"{number:032x}",
            "source_position": f"d:{number}",
            "arrived_at": stamp,
            "ingested_at": stamp,
        }
        for number in range(begin, begin + count)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=DEAD_LETTER_SCHEMA)


def write(
    storage: Storage,
    dataset: Dataset,
    table: str,
    rows: pa.RecordBatch,
    *,
    day: str = DAY,
    publish: bool = True,
    **more,
) -> LedgerFile:
    """One small file, visible unless told otherwise."""
    schema = rows.schema
    files = TableFiles(storage, options(dataset, **more), table, schema)
    files.add(day, rows)
    (made,) = files.finish()
    if publish:
        storage.publish(made.staged)
    return made


def write_files(
    storage: Storage, dataset: Dataset, count: int, rows: int = 3, *, begin: int = 0, day: str = DAY
) -> None:
    """Small clean files, each with rows and a stamp of its own."""
    for file in range(count):
        first = begin + file * rows
        batch = clean_rows(dataset, first, rows, START + timedelta(microseconds=first))
        write(storage, dataset, "clean", batch, day=day)


def compactor(lake: Storage, book: Storage, dataset: Dataset, *, doubtful: Iterable[str] = (), **more) -> Compactor:
    return Compactor(lake, CompactionBook(book, lake), dataset, options(dataset), lambda: set(doubtful), **more)


def compact(made: Compactor, wanted: Wanted | None = None) -> Outcome:
    """What the command does."""
    outcome = Outcome(dry_run=False)
    outcome.finished = made.book.finish()
    since = made.book.since()
    for group in find(made.lake, wanted or Wanted(min_files=2), Listed()):
        made.run(group, since, outcome)
    return outcome


def with_tip(dataset: Dataset) -> Dataset:
    """The dataset with a column more, whose values are in `rescued_data` so far."""
    return dataset.model_copy(update={"columns": [*dataset.columns, Column(name="tip", type="string")]})


def rescue(made: Compactor, book: Storage, switcher: Switcher | None = None) -> Rescued:
    """What `backfill --rescue tip` does."""
    dataset = with_tip(made.dataset)
    tools = Tools(made.lake, book, made.book, made, switcher, None)
    outcome = Rescued(dry_run=False, column="tip")
    Rescuer(tools, dataset, dataset.columns[-1], lambda _, texts: {text: text for text in texts}).run(
        outcome, lambda _: True
    )
    return outcome


def tables(storage: Storage) -> dict[str, pa.Table]:
    """What a reader sees that lists the tables' folders: each file's rows by key."""
    keys = [info.key for table in ("clean", "dead_letter") for info in storage.list(table)]
    return {key: pq.ParquetFile(io.BytesIO(storage.get(key) or b"")).read() for key in keys}


def positions(storage: Storage) -> list[str]:
    return sorted(text for table in tables(storage).values() for text in table["source_position"].to_pylist())


def canonical(storage: Storage) -> list[str]:
    """Every row with every column, in an order of its own."""
    return sorted(json.dumps(row, default=str) for table in tables(storage).values() for row in table.to_pylist())
