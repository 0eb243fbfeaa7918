"""One CSV file, from its bytes to batches in the decoded layout: every record becomes exactly one row.

Row numbers count from 1 after the header; row 0 is the header's own line, used when it may be data or is no text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO, Final

import pyarrow as pa

from streaming_app.decode.csv_header import Header, is_text, parse_header
from streaming_app.decode.csv_records import BLOCK_BYTES, Fault, Records, RecordSplitter, split_text
from streaming_app.decode.csv_rows import RowDecoder, RowOrigin, rejected_row
from streaming_app.decode.text_stream import StoredBytes, TextStream
from streaming_app.schema import Dataset, Decoded

_SAMPLE_BYTES: Final = 1024  # of a file that is no text, kept in its dead letter


@dataclass(frozen=True)
class CsvFormat:
    """How CSV files are written here, and how they are read."""

    delimiter: str = ","
    max_record_bytes: int = 1 << 20
    block_bytes: int = BLOCK_BYTES


class CsvFile:
    """Reads one file once.

    After `batches` is exhausted: `rows` and `errors` (rows by decode_error), `header` (its text), and of the file as it
    is stored `bytes` and `sha256`. Memory is bounded by the block and the longest record, whatever the file's size.
    """

    def __init__(self, file: BinaryIO, dataset: Dataset, origin: RowOrigin, form: CsvFormat) -> None:
        self._stored = StoredBytes(file)
        self._dataset = dataset
        self._origin = origin
        self._form = form
        self._delimiter = form.delimiter.encode()
        self.rows = 0
        self.errors: Counter[str] = Counter()
        self.header: str | None = None

    @property
    def bytes(self) -> int:
        """Stored bytes read so far."""
        return self._stored.count

    @property
    def sha256(self) -> str:
        """Hash of the stored bytes read so far."""
        return self._stored.sha256

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows, in order. What the file holds never raises; reading it may."""
        splitter = RecordSplitter(self._delimiter, self._form.max_record_bytes)
        pieces = split_text(TextStream(self._stored), splitter, self._form.block_bytes)
        first = next(pieces, None)
        if first is not None:
            yield from map(self._counted, self._decoded(first, pieces))
        self._stored.drain()

    def _decoded(self, first: Records, others: Iterator[Records]) -> Iterator[pa.RecordBatch]:
        header = self._header(first)
        if isinstance(header, Fault):
            yield self._rejected(header, first)
            return
        decoder = RowDecoder(self._dataset, header, self._delimiter, self._origin)
        if not header.recognized:  # the line may be data: it must not get lost
            yield decoder.decode(first.slice(0, 1), 0)
        row = 1
        for records in chain([first.slice(1, len(first))], others):
            if len(records):
                yield decoder.decode(records, row)
                row += len(records)

    def _header(self, first: Records) -> Header | Fault:
        """What the first record says, or why the whole file cannot be read."""
        fault, line = first.faults.get(0), first.text(0)
        if fault is Fault.BROKEN_GZIP:
            return fault
        if fault is Fault.RECORD_TOO_LONG or not is_text(line, self._delimiter):
            return Fault.NOT_TEXT
        header = parse_header(line, self._delimiter, self._dataset)
        if not header.recognized and b"\0" in first.data:
            return Fault.NOT_TEXT
        self.header = line.decode()
        return header

    def _rejected(self, fault: Fault, first: Records) -> pa.RecordBatch:
        raw = first.data[:_SAMPLE_BYTES]
        return rejected_row(self._dataset, fault.value, raw, f"{self._origin.name}#0", self._origin.modified)

    def _counted(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        self.rows += batch.num_rows
        errors = batch.column(Decoded.ERROR.value)
        if errors.null_count < len(errors):
            counts = Counter(errors.to_pylist())
            del counts[None]
            self.errors.update(counts)
        return batch
