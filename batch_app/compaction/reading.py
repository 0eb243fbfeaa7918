"""One file of the lake as a table in the declared schema, and what the rows of some files come to."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from streaming_app.schema import INGESTED_AT, Decoded
from streaming_app.storage import Storage

UNREADABLE: Final = (pa.ArrowException, OSError, KeyError)  # what pyarrow raises for a file that is no sound Parquet
_IN_MEMORY: Final = 32 << 20  # bytes of a file that cannot seek; a larger one goes to a temporary file
_ROWS: Final = 1 << 17  # read at once
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio, as Fibonacci hashing uses it


class UnfitError(Exception):
    """A file that cannot be compacted, and why."""


@dataclass(frozen=True)
class Proof:
    """What some rows come to, in any order: how many, and the sum of 64-bit hashes of position and `ingested_at`."""

    rows: int = 0
    digest: int = 0

    def __add__(self, other: Proof) -> Proof:
        return Proof(self.rows + other.rows, (self.digest + other.digest) % 2**64)

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` reads back; the digest is text, as JSON's numbers end at 2^53 elsewhere."""
        return {"rows": self.rows, "digest": f"{self.digest:016x}"}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Proof:
        """The inverse of `to_json`."""
        return cls(value["rows"], int(value["digest"], 16))

    @classmethod
    def of(cls, rows: Any) -> Proof:
        """Of a table or batch that has both columns."""
        if not rows.num_rows:
            return cls()
        positions = rows.column(Decoded.POSITION.value).to_numpy(zero_copy_only=False)
        hashes = pd.util.hash_array(positions.astype(object), categorize=False)
        with np.errstate(over="ignore"):
            mixed = (hashes ^ stamps_of(rows).view(np.uint64)) * _MIX
            return cls(rows.num_rows, int(np.sum(mixed ^ (mixed >> np.uint64(32)), dtype=np.uint64)))


def stamps_of(rows: Any) -> Any:
    """`ingested_at` of each row in microseconds, as NumPy's int64; raises UnfitError where one is missing."""
    column = rows.column(INGESTED_AT)
    if column.null_count:
        raise UnfitError(f"{column.null_count} rows have no {INGESTED_AT}")
    return column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy(zero_copy_only=False)


@contextmanager
def opened(storage: Storage, key: str) -> Iterator[Any]:
    """A Parquet file. Raises FileNotFoundError, and one of `UNREADABLE`."""
    with storage.open(key) as stream:
        if stream.seekable():
            yield pq.ParquetFile(stream)
            return
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as copy:
            shutil.copyfileobj(stream, copy, 1 << 20)
            copy.seek(0)
            yield pq.ParquetFile(cast("BinaryIO", copy))


def read_table(storage: Storage, key: str, schema: pa.Schema) -> pa.Table:
    """A small file's rows in the declared schema; a column that it does not have is null.

    Raises UnfitError for what would not come back the same, FileNotFoundError when there is no such file.
    """
    data = storage.get(key)
    if data is None:
        raise FileNotFoundError(key)
    try:
        found = pq.ParquetFile(io.BytesIO(data)).read()
    except UNREADABLE as error:
        raise UnfitError(f"it is no sound Parquet file ({' '.join(str(error).split())[:200]})") from error
    return conformed(found, schema)


def conformed(found: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows of a file in the declared schema; raises UnfitError for what would not come back the same."""
    unknown = [name for name in found.schema.names if name not in schema.names]
    if unknown:
        raise UnfitError(f"it has columns that the dataset does not know: {', '.join(unknown)}")
    return pa.Table.from_arrays([_column(found, field) for field in schema], schema=schema)


def _column(found: pa.Table, field: pa.Field) -> Any:
    if field.name not in found.schema.names:
        return pa.nulls(found.num_rows, field.type)
    column = found.column(field.name)
    if column.type != field.type and not (pa.types.is_list(column.type) and pa.types.is_list(field.type)):
        raise UnfitError(f"its column {field.name} is {column.type}, and the dataset says {field.type}")
    return column.cast(field.type)


def prove(storage: Storage, keys: Iterable[str]) -> Proof:
    """What the rows of some files come to, as they read back now; raises FileNotFoundError, and one of `UNREADABLE`."""
    total = Proof()
    for key in keys:
        with opened(storage, key) as parquet:
            for batch in parquet.iter_batches(_ROWS):  # all columns: that each can be decoded is part of it
                total += Proof.of(batch)
    return total
