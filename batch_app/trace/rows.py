"""Finds rows in the lake by a column's value or by position: clean rows and dead letters."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from batch_app.dead_letters.decoding import raw_bytes
from batch_app.dead_letters.opened import Opened
from batch_app.dead_letters.selection import Selection
from batch_app.dead_letters.table import ACTION, ID, SOURCE
from streaming_app.errors import SinkError
from streaming_app.schema import CLEAN, DEAD_LETTER, INGESTED_AT, Decoded, InputSource, Judged
from streaming_app.storage import Storage, is_s3

_S3_THREADS: Final = 16


@dataclass(frozen=True)
class Found:
    """One row in one file. Of a dead letter `id`, `stage`, `reasons` and `raw` are there; `action` took it, -1 is none."""

    table: str
    key: str
    position: str
    ingested_at: str
    id: str = ""
    stage: str = ""
    reasons: tuple[str, ...] = ()
    raw: str = ""
    action: int = -1


@dataclass(frozen=True)
class Days:
    """Of the order itself (the partition of clean rows); both inclusive, None is open."""

    since: date | None = None
    until: date | None = None

    def has(self, key: str, column: str) -> bool:
        """Whether a file's partition is one of them."""
        day = next((part.partition("=")[2] for part in key.split("/") if part.startswith(f"{column}=")), "")
        return (self.since is None or day >= self.since.isoformat()) and (
            self.until is None or day <= self.until.isoformat()
        )


def clean_rows(
    lake: Storage, column: str, value: str, *, partition: str, days: Days, folders: Iterable[str] = (CLEAN,)
) -> Iterator[Found]:
    """Clean rows with this value. Reads what Parquet's statistics cannot rule out. Raises SinkError for a damaged file."""
    keys = [
        info.key
        for folder in dict.fromkeys(folders)
        for info in lake.list(folder)
        if info.key.endswith(".parquet") and _visible(info.key) and days.has(info.key, partition)
    ]
    threads = _S3_THREADS if is_s3(lake.uri) else min(4, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads, "trace") as pool:
        for found in pool.map(lambda key: _clean(lake, key, column, value), keys):
            yield from found


def _clean(lake: Storage, key: str, column: str, value: str) -> list[Found]:
    wanted = [column, Decoded.POSITION.value, INGESTED_AT]
    try:
        fragment = _fragment(lake, key)
        equal = _equal(fragment.physical_schema, column, value)
        table = fragment.to_table(columns=list(dict.fromkeys(wanted)), filter=equal)
    except FileNotFoundError:  # compacted or deleted since it was listed
        return []
    except (pa.ArrowException, OSError, KeyError) as error:
        raise SinkError(f"{lake.uri}/{key} is no sound Parquet file ({error}); `batch_app audit` says more") from error
    return [
        Found(CLEAN, key, row[Decoded.POSITION.value] or "", _moment(row[INGESTED_AT])) for row in table.to_pylist()
    ]


def _equal(schema: pa.Schema, column: str, value: str) -> Any:
    """Compared as text, whatever the column's type; of texts Parquet's statistics say where to look."""
    field = pc.field(column)
    return (field if pa.types.is_string(schema.field(column).type) else field.cast(pa.string())) == value


def _fragment(lake: Storage, key: str) -> Any:
    if not is_s3(lake.uri) and Path(lake.uri).is_dir():
        from pyarrow import fs  # noqa: PLC0415 - 20 ms that a lake on S3 does not need

        return ds.ParquetFileFormat().make_fragment(str(Path(lake.uri, key)), filesystem=fs.LocalFileSystem())
    data = lake.get(key)
    if data is None:
        raise FileNotFoundError(key)
    return ds.ParquetFileFormat().make_fragment(pa.BufferReader(data))


def dead_rows(opened: Opened, column: str, value: str) -> Iterator[Found]:
    """Dead letters of this position, or whose text has this value in the column (or anywhere, where it has no columns)."""
    if not value:
        return
    by_position = column == Decoded.POSITION.value
    selection = Selection(text=value)
    raw, encoding, position = Judged.RAW.value, Judged.RAW_ENCODING.value, Decoded.POSITION.value
    names = (ID, Judged.STAGE.value, Judged.REASONS.value, raw, encoding, SOURCE, position, Decoded.ARRIVED_AT.value)
    for file, rows in opened.letters.scan(selection, (*names, INGESTED_AT, ACTION), state="any"):
        same = _same(rows, value) if by_position else _meant(opened, rows, file.input_source, column, value)
        yield from (_dead(file.key, row) for row, good in zip(rows.to_pylist(), same, strict=True) if good)


def _same(rows: pa.Table, value: str) -> list[bool]:
    return [position == value for position in rows.column(Decoded.POSITION.value).to_pylist()]


def _meant(opened: Opened, rows: pa.Table, source: InputSource, column: str, value: str) -> list[bool]:
    """Not a row that only mentions the value elsewhere; what cannot be taken apart may be meant."""
    decoded = opened.decoders.decode(rows, source).column(column).to_pylist()
    texts, encodings = (rows.column(name).to_pylist() for name in (Judged.RAW.value, Judged.RAW_ENCODING.value))
    raws = [raw_bytes(text, encoding) for text, encoding in zip(texts, encodings, strict=True)]
    word = re.compile(rb"(?<![\w-])" + re.escape(value.encode()) + rb"(?![\w-])")
    return [
        each == value or (each is None and word.search(raw) is not None)
        for each, raw in zip(decoded, raws, strict=True)
    ]


def _dead(key: str, row: dict[str, Any]) -> Found:
    return Found(
        DEAD_LETTER,
        key,
        row[Decoded.POSITION.value] or "",
        _moment(row[INGESTED_AT]),
        row[ID],
        row[Judged.STAGE.value],
        tuple(row[Judged.REASONS.value] or ()),
        row[Judged.RAW.value] or "",
        row[ACTION],
    )


def _visible(key: str) -> bool:
    return not any(part.startswith(("_", ".")) for part in key.split("/"))


def _moment(value: Any) -> str:
    return value.isoformat(timespec="milliseconds") if value else ""
