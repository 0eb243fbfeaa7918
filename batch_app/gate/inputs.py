"""Files to one Parquet file in the decoded layout: CSV and NDJSON by the stream's decoders, Parquet by its column names.

Only a file that cannot be read at all is an error (unusable input); a bad row in it is a row with a `decode_error`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from streaming_app.decode.csv_file import CsvFile, CsvFormat
from streaming_app.decode.csv_rows import RowOrigin, decoded_schema
from streaming_app.decode.json_events import JsonDecoder
from streaming_app.decode.text_stream import StoredBytes, TextStream
from streaming_app.errors import ConfigError
from streaming_app.schema import Dataset, Decoded
from streaming_app.storage import Storage, StorageOptions, is_s3, open_storage

_CSV: Final = (".csv", ".csv.gz")
_JSON: Final = (".ndjson", ".jsonl", ".json", ".ndjson.gz", ".jsonl.gz", ".json.gz")
_PARQUET: Final = (".parquet",)
SUFFIXES: Final = _CSV + _JSON + _PARQUET
_BLOCK: Final = 4 << 20
_EVENTS: Final = 50_000  # decoded at once
_NAMED: Final = 3  # files that an error names
_ROWS: Final = 1 << 16
_UNUSABLE: Final = {
    "not_text": "is no text; is it packed, or another kind of file?",
    "broken_gzip": "is a damaged or cut off gzip file; upload it again",
}
_HEADER: Final = ("missing_column:", "duplicate_column:")


@dataclass(frozen=True)
class InputFile:
    """One file, and the storage that it lies in."""

    storage: Storage
    key: str
    etag: str = ""

    @property
    def uri(self) -> str:
        """Where it is."""
        return f"{self.storage.uri}/{self.key}"


@dataclass(frozen=True)
class FileRead:
    """A file as the gate has read it: its tag from before, the hash of its bytes."""

    uri: str
    etag: str
    sha256: str


def find_files(paths: Sequence[str], options: StorageOptions) -> list[InputFile]:
    """The files that paths name: a file each, or every file below a folder or prefix whose suffix is known.

    Raises ConfigError for a path with nothing to read.
    """
    found: list[InputFile] = []
    for path in paths:
        files = _files(path, options)
        if not files:
            raise ConfigError(f"{path}: there is no file that can be checked; it takes {', '.join(SUFFIXES)}")
        found += [file for file in files if file.uri not in {known.uri for known in found}]
    return found


def _files(path: str, options: StorageOptions) -> list[InputFile]:
    folder, _, name = path.rstrip("/").rpartition("/")
    if name.lower().endswith(SUFFIXES) and not (not is_s3(path) and Path(path).is_dir()):
        storage = open_storage(folder or ("/" if path.startswith("/") else "."), options)
        info = storage.info(name)
        if info is not None:
            return [InputFile(storage, name, info.etag)]
    storage = open_storage(path, options)
    hidden = ("_", ".")
    known = (info for info in storage.list("") if info.key.lower().endswith(SUFFIXES))
    visible = (info for info in known if not any(part.startswith(hidden) for part in info.key.split("/")))
    return [InputFile(storage, info.key, info.etag) for info in visible]


class Decoder:
    """Decodes files of one dataset. `read`: those that were read as a whole; of Parquet, which no backfill takes, none."""

    def __init__(self, dataset: Dataset, form: CsvFormat) -> None:
        self._dataset, self._form = dataset, form
        self._schema = decoded_schema(dataset)
        self._json = JsonDecoder(dataset)
        self.read: list[FileRead] = []

    def write(self, files: Sequence[InputFile], target: Path) -> int:
        """All rows of all files, without their raw text, into one Parquet file; returns how many.

        Raises ConfigError for a file that cannot be read as a whole, and when there is no row at all.
        """
        rows = 0
        with pq.ParquetWriter(target, self._schema, compression="lz4") as writer:
            for file in files:
                for batch in self._batches(file):
                    bare = _without_raw(batch)
                    writer.write_batch(bare)
                    rows += bare.num_rows
        if not rows:
            names = ", ".join(file.uri for file in files[:_NAMED]) + (" and others" if len(files) > _NAMED else "")
            raise ConfigError(f"{names}: there is no row to check")
        return rows

    def _batches(self, file: InputFile) -> Iterator[pa.RecordBatch]:
        name = file.key.lower()
        with closing(self._open(file)) as stream:
            if name.endswith(_CSV):
                yield from self._csv(file, stream)
            elif name.endswith(_JSON):
                yield from self._events(file, stream)
            else:
                yield from self._parquet(file, stream)

    @staticmethod
    def _open(file: InputFile) -> BinaryIO:
        try:
            return file.storage.open(file.key)
        except FileNotFoundError:
            raise ConfigError(f"{file.uri} is not there") from None

    def _csv(self, file: InputFile, stream: BinaryIO) -> Iterator[pa.RecordBatch]:
        csv = CsvFile(stream, self._dataset, RowOrigin(file.key, _now()), self._form)
        yield from csv.batches()
        self.read.append(FileRead(file.uri, file.etag, csv.sha256))
        for error, why in _UNUSABLE.items():
            if error in csv.errors:
                raise ConfigError(f"{file.uri} {why}")
        for error in csv.errors:
            if error.startswith(_HEADER):
                kind, _, names = error.partition(":")
                raise ConfigError(f"{file.uri}: {kind.replace('_', ' ')} in its header: {names}")

    def _events(self, file: InputFile, stream: BinaryIO) -> Iterator[pa.RecordBatch]:
        stored = StoredBytes(stream)
        text = TextStream(stored)
        rest, row = b"", 1
        while block := text.read(_BLOCK):
            *lines, rest = (rest + block).split(b"\n")
            yield from self._decoded(file, lines, row)
            row += len(lines)
        if text.broken:
            raise ConfigError(f"{file.uri} {_UNUSABLE['broken_gzip']}")
        yield from self._decoded(file, [rest], row)
        stored.drain()
        self.read.append(FileRead(file.uri, file.etag, stored.sha256))

    def _decoded(self, file: InputFile, lines: Sequence[bytes], first: int) -> Iterator[pa.RecordBatch]:
        """Lines as events; blank ones are none, but they count where a row is."""
        numbered = [(number, line.rstrip(b"\r")) for number, line in enumerate(lines, first) if line.strip()]
        for begin in range(0, len(numbered), _EVENTS):
            part = numbered[begin : begin + _EVENTS]
            positions = pa.array([f"{file.key}#{number}" for number, _ in part])
            arrived = pa.nulls(len(part), pa.timestamp("us", tz="UTC"))
            columns = self._json.decode([line for _, line in part])
            yield pa.RecordBatch.from_arrays([*columns, positions, arrived], schema=self._schema)

    def _parquet(self, file: InputFile, stream: BinaryIO) -> Iterator[pa.RecordBatch]:
        try:
            parquet = pq.ParquetFile(_seekable(stream))
            missing = [name for name in self._dataset.column_names if name in self._dataset.required_columns]
            missing = [name for name in missing if name not in parquet.schema_arrow.names]
            if missing:
                raise ConfigError(f"{file.uri}: missing column: {', '.join(missing)}")
            known = [name for name in self._dataset.column_names if name in parquet.schema_arrow.names]
            row = 1
            for batch in parquet.iter_batches(_ROWS, columns=known):
                yield self._texts(file, batch, row)
                row += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise ConfigError(f"{file.uri} cannot be read as Parquet: {' '.join(str(error).split())[:200]}") from None

    def _texts(self, file: InputFile, batch: pa.RecordBatch, first: int) -> pa.RecordBatch:
        """Values as the texts that casting takes; exact for every type but a double in a decimal column."""
        count = batch.num_rows
        made = {name: _as_text(batch.column(name)) for name in batch.schema.names}
        made[Decoded.POSITION.value] = pa.array([f"{file.key}#{row}" for row in range(first, first + count)])
        arrays = [made.get(field.name, pa.nulls(count, field.type)) for field in self._schema]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)


def _as_text(values: Any) -> Any:
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_timestamp(values.type) and values.type.tz not in {None, "UTC"}:
        values = values.cast(pa.timestamp(values.type.unit, tz="UTC"))
    return pc.cast(values, pa.string())


def _seekable(stream: BinaryIO) -> BinaryIO:
    """The stream itself, or a copy of it where it cannot go back."""
    if stream.seekable():
        return stream
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - closed with its last reader
    shutil.copyfileobj(stream, copy, 1 << 20)
    copy.seek(0)
    return cast("BinaryIO", copy)


def _without_raw(batch: pa.RecordBatch) -> pa.RecordBatch:
    place = batch.schema.get_field_index(Decoded.RAW.value)
    return batch.set_column(place, batch.schema.field(place), pa.nulls(batch.num_rows, pa.binary()))


def _now() -> datetime:
    return datetime.now(UTC)
