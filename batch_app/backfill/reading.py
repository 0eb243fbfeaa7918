"""One file of a plan to batches in the decoded layout, by the stream's own decoders, and its record in the read log."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO, Final

import pyarrow as pa

from batch_app.backfill.inputs import SourceFile
from streaming_app.decode.csv_file import CsvFile, CsvFormat
from streaming_app.decode.csv_rows import RowOrigin, decoded_schema, rejected_row
from streaming_app.decode.json_events import JsonDecoder
from streaming_app.decode.json_objects import JsonObjects
from streaming_app.decode.text_stream import StoredBytes, TextStream
from streaming_app.errors import DataLossError
from streaming_app.journal.read_log import ReadLog, UnitRead
from streaming_app.schema import Dataset, InputSource
from streaming_app.storage import StorageOptions, open_storage

_BLOCK: Final = 4 << 20
_EVENTS: Final = 20_000  # of one batch
_BROKEN: Final = "broken_gzip"
_GIVE_UP: Final = "; or give this batch up by `backfill --forget-plan`, and name the files that are to be loaded"


@dataclass(frozen=True)
class FileReader:
    """Reads planned files in a task. Guarantee: a file that was recorded gives the same rows again, or DataLossError."""

    source: InputSource
    checkpoint: str
    dataset: Dataset
    form: CsvFormat
    storage: StorageOptions

    def read_all(self, epoch: int, files: Sequence[SourceFile]) -> Iterator[pa.RecordBatch]:
        """The rows of some files; each file is recorded when its rows end."""
        log = ReadLog(open_storage(self.checkpoint, self.storage))
        for file in files:
            yield from self._read(log, epoch, file)

    def _read(self, log: ReadLog, epoch: int, file: SourceFile) -> Iterator[pa.RecordBatch]:
        with closing(self._open(file)) as stream:
            origin = RowOrigin(file.name, datetime.fromisoformat(file.modified))
            made = CsvFile if self.source is InputSource.BATCH else EventFile
            reading = made(stream, self.dataset, origin, self.form)
            yield from reading.batches()
        if file.sha256 not in {"", reading.sha256}:
            raise DataLossError(
                f"{file.name} was replaced after the gate had judged it; nothing of this batch was loaded: run `backfill"
                " --forget-plan` and then ingest again"
            )
        detail = {"name": file.name, "kind": "rows", "etag": file.etag, "size": file.size, "sha256": reading.sha256}
        read = UnitRead(file.name, reading.rows, reading.bytes, {**detail, "header": reading.header})
        recorded = None if log.put_if_absent(epoch, read) else log.unit(epoch, file.name)
        if recorded is not None and (recorded.rows, recorded.detail["sha256"]) != (read.rows, reading.sha256):
            raise DataLossError(
                f"{file.name} changed while it was loaded: it had {recorded.rows} rows, now {read.rows}; put back the file"
                f" with {recorded.bytes} bytes, and load the other one under another name{_GIVE_UP}"
            )

    def _open(self, file: SourceFile) -> BinaryIO:
        try:
            return open_storage(file.folder, self.storage).open(file.key)
        except FileNotFoundError:
            raise DataLossError(
                f"{file.name} went before it was loaded; put it back and run the command again{_GIVE_UP}"
            ) from None


class EventFile:
    """A file of JSON events, read once; the attributes are those of `CsvFile`. Rows are counted from 1."""

    def __init__(self, file: BinaryIO, dataset: Dataset, origin: RowOrigin, form: CsvFormat) -> None:
        del form
        self._stored = StoredBytes(file)
        self._dataset, self._origin = dataset, origin
        self._json = JsonDecoder(dataset)
        self._schema = decoded_schema(dataset)
        self.rows = 0
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
        """All events, in order. A gzip file that breaks off gives what could be unpacked, and a row that says so."""
        text, objects = TextStream(self._stored), JsonObjects()
        while block := text.read(_BLOCK):
            yield from self._decoded(objects.split(block))
        yield from self._decoded(objects.end())
        if text.broken:
            self.rows += 1
            raw = json.dumps({"file": self._origin.name, "events": self.rows - 1}).encode()
            position = f"{self._origin.name}#{self.rows}"
            yield rejected_row(self._dataset, _BROKEN, raw, position, self._origin.modified)
        self._stored.drain()

    def _decoded(self, events: list[Any]) -> Iterator[Any]:
        for begin in range(0, len(events), _EVENTS):
            part = events[begin : begin + _EVENTS]
            first = self.rows + 1
            self.rows += len(part)
            positions = pa.array([f"{self._origin.name}#{row}" for row in range(first, self.rows + 1)])
            arrived = pa.repeat(pa.scalar(self._origin.modified, pa.timestamp("us", tz="UTC")), len(part))
            yield pa.RecordBatch.from_arrays([*self._json.decode(part), positions, arrived], schema=self._schema)
