"""An answer and how it is written: a table for people, CSV, JSON (one array of objects) or Parquet, batch by batch."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from batch_app.output import cell, console, print_fitting, table, visible
from streaming_app.errors import ConfigError

SHOWN: Final = 100  # rows of a table for people, unless asked for more
FORMATS: Final = ("table", "csv", "json", "parquet")


@dataclass
class Answer:
    """Rows of one query, read once. `notes`: what it cost, for people, filled when the rows were read."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]
    notes: list[str] = field(default_factory=list)


def write(answer: Answer, form: str, output: str | None, limit: int | None) -> int:
    """Write an answer to standard output or a new file; returns how many rows. Raises ConfigError when the file is there."""
    batches = _limited(answer.batches, limit)
    if form == "table":
        return _table(answer, answer.batches, limit or SHOWN)
    if form == "parquet" and output is None and sys.stdout.isatty():
        raise ConfigError("Parquet is no text; name a file: --output answer.parquet")
    writer = {"csv": _csv, "json": _json, "parquet": _parquet}[form]
    if output is None:
        return writer(answer.schema, batches, cast("BinaryIO", sys.stdout.buffer))
    return _into_file(output, lambda file: writer(answer.schema, batches, file))


def _into_file(output: str, fill: Callable[[BinaryIO], int]) -> int:
    """A new file, whole or not at all."""
    try:
        file = Path(output).open("xb")  # noqa: SIM115 - closed below
    except FileExistsError:
        raise ConfigError(f"{output} is there already; name a new file") from None
    except OSError as error:
        raise ConfigError(f"{output} cannot be written: {error.strerror}") from None
    try:
        with file:
            return fill(file)
    except BaseException:
        with suppress(OSError):
            Path(output).unlink()
        raise


def _limited(batches: Iterator[pa.RecordBatch], limit: int | None) -> Iterator[pa.RecordBatch]:
    left = limit
    for batch in batches:
        if left is None:
            yield batch
            continue
        yield batch.slice(0, left)
        left -= min(left, batch.num_rows)
        if not left:
            return


def _csv(schema: pa.Schema, batches: Iterator[pa.RecordBatch], file: BinaryIO) -> int:
    """Lists as JSON texts, nulls as nothing at all and empty texts in quotes."""
    flat = pa.schema([pa.field(item.name, pa.string() if _nested(item.type) else item.type) for item in schema])
    rows = 0
    with pacsv.CSVWriter(file, flat) as writer:
        for batch in batches:
            columns = [_as_text(column) if _nested(column.type) else column for column in batch.columns]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=flat))
            rows += batch.num_rows
    return rows


def _json(schema: pa.Schema, batches: Iterator[pa.RecordBatch], file: BinaryIO) -> int:
    """Decimals are numbers with all their digits; times ISO 8601."""
    del schema
    rows = 0
    file.write(b"[")
    for batch in batches:
        for row in batch.to_pylist():
            file.write((b",\n" if rows else b"\n") + _document(row).encode())
            rows += 1
    file.write(b"\n]\n" if rows else b"]\n")
    file.flush()
    return rows


def _parquet(schema: pa.Schema, batches: Iterator[pa.RecordBatch], file: BinaryIO) -> int:
    rows = 0
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


def _table(answer: Answer, batches: Iterator[pa.RecordBatch], limit: int) -> int:
    rows: list[dict[str, Any]] = []
    for batch in batches:
        rows += batch.slice(0, limit + 1 - len(rows)).to_pylist()
        if len(rows) > limit:
            break
    numbers = tuple(place for place, item in enumerate(answer.schema) if _is_number(item.type))
    made = table(*map(visible, answer.schema.names), numbers=numbers)
    for row in rows[:limit]:
        made.add_row(*(cell(_shown(row[name])) for name in answer.schema.names))
    out = console()
    if rows:
        print_fitting(out, made)
    shown = min(limit, len(rows))
    more = f"the first {limit:,} rows; --limit shows more" if len(rows) > limit else f"{shown:,} row{'s'[: shown != 1]}"
    out.print(more, style="dim")
    return shown


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:,.4f}".rstrip("0").rstrip(".")
    if isinstance(value, int | Decimal):
        return f"{value:,}"
    if isinstance(value, datetime):
        return value.isoformat(" ")
    return json.dumps(value, default=_plain) if isinstance(value, list | dict) else str(value)


def _document(row: dict[str, Any]) -> str:
    parts = (f"{json.dumps(name)}: {_value(value)}" for name, value in row.items())
    return "{" + ", ".join(parts) + "}"


def _value(value: Any) -> str:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, float) and value - value != 0:  # NaN and infinities are no JSON
        return "null"
    return json.dumps(value, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.total_seconds() if isinstance(value, timedelta) else str(value)


def _nested(kind: pa.DataType) -> bool:
    return bool(pa.types.is_nested(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _as_text(column: Any) -> Any:
    values = column.to_pylist()
    return pa.array([None if value is None else json.dumps(value, default=_plain) for value in values], pa.string())
