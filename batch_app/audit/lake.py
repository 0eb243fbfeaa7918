"""The files of the lake: which there are, and the source positions inside them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batch_app.compaction.reading import opened
from streaming_app.schema import CLEAN, DEAD_LETTER, INGESTED_AT, Decoded
from streaming_app.storage import ObjectInfo, Storage

TABLES: Final = (CLEAN, DEAD_LETTER)
_HIDDEN: Final = ("_", ".")  # Athena, Trino and Spark do not see such names
_ROWS: Final = 1 << 17  # read at once
_FILE: Final = np.dtype([("high", "<u8"), ("low", "<u8"), ("size", "<i8"), ("owned", "?")])


class LakeFiles:
    """The tables' files as a reader of the lake sees them, listed once: 25 bytes of memory a file.

    Make it before the ledger is read. A file becomes visible only after its entry is in the ledger, so whatever was
    listed and is in no entry is nobody's, also while a service runs.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        listed = (
            (*digest_of(info.key), info.size, False)
            for table in TABLES
            for info in storage.list(table)
            if _visible(info)
        )
        self._files = np.fromiter(listed, _FILE)
        self._files.sort(order=["high", "low"])

    def __len__(self) -> int:
        return len(self._files)

    def size_of(self, key: str) -> int | None:
        """Bytes of a file that the ledger owns, None when there is none; a newer one than the listing is looked up."""
        size = self.listed(key)
        if size is None:
            info = self._storage.info(key)
            return info.size if info else None
        return size

    def listed(self, key: str) -> int | None:
        """As `size_of`, None for a file that was not there when all were listed."""
        found = find_key(self._files, key)
        if found is None:
            return None
        self._files["owned"][found] = True
        return int(self._files["size"][found])

    def orphans(self) -> Iterator[ObjectInfo]:
        """Files that were there from the beginning, are there still and were not asked for."""
        if self._files["owned"].all():
            return
        for table in TABLES:
            for info in self._storage.list(table):
                found = find_key(self._files, info.key) if _visible(info) else None
                if found is not None and not self._files["owned"][found]:
                    yield info


def digest_of(key: str) -> tuple[int, int]:
    """128 bits of a key, as two numbers."""
    digest = hashlib.blake2b(key.encode(errors="surrogatepass"), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def find_key(files: Any, key: str) -> int | None:
    """The place of a key in an array with the fields `high` and `low` of `digest_of`, sorted by them; None without it."""
    high, low = digest_of(key)
    place = int(np.searchsorted(files["high"], np.uint64(high)))
    while place < len(files) and files["high"][place] == high:
        if files["low"][place] == low:
            return place
        place += 1
    return None


def _visible(info: ObjectInfo) -> bool:
    return not any(part.startswith(_HIDDEN) for part in info.key.split("/"))


class ParquetRows:
    """One open Parquet file of the lake."""

    def __init__(self, file: pq.ParquetFile) -> None:
        self._parquet = file

    @property
    def rows(self) -> int:
        """Rows, as the footer says."""
        return int(self._parquet.metadata.num_rows)

    def positions(self) -> Iterator[Any]:
        """The source positions as string arrays, a bounded piece at a time; raises one of `UNREADABLE`."""
        column = Decoded.POSITION.value
        for batch in self._parquet.iter_batches(_ROWS, columns=[column]):
            yield batch.column(column).cast(pa.string())

    def stamped(self) -> Iterator[tuple[Any, Any]]:
        """`ingested_at` in microseconds and the source position of all rows, a bounded piece at a time."""
        names = [INGESTED_AT, Decoded.POSITION.value]
        for batch in self._parquet.iter_batches(_ROWS, columns=names):
            stamps = batch.column(INGESTED_AT).cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
            yield stamps.to_numpy(zero_copy_only=False), batch.column(Decoded.POSITION.value).cast(pa.string())


@contextmanager
def open_rows(storage: Storage, key: str) -> Iterator[ParquetRows]:
    """A file's rows. Raises FileNotFoundError, and one of `UNREADABLE` for what is no Parquet file."""
    with opened(storage, key) as file:
        yield ParquetRows(file)
