"""Records of a CSV file to Arrow batches in the decoded layout (`Dataset.decoded_ddl`): one row for every record.

pyarrow parses only records that the splitter found sound, so both agree where rows are; should their counts ever
differ, the records are parsed again one by one. Nothing is guessed, nothing raises for what a file holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from streaming_app.decode.csv_header import Header, split_fields
from streaming_app.decode.csv_records import Fault, Records
from streaming_app.schema import Dataset, Decoded

_TIME: Final = pa.timestamp("us", tz="UTC")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_NON_ASCII: Final = 0x80
_FOUR_DIGITS: Final = np.frombuffer("".join(f"{number:04d}" for number in range(10_000)).encode(), np.uint32)


def decoded_schema(dataset: Dataset) -> pa.Schema:
    """The decoded layout as Arrow has it."""
    fields = [pa.field(name, pa.string()) for name in dataset.column_names]
    fields += [
        pa.field(Decoded.RESCUED.value, pa.string()),
        pa.field(Decoded.ERROR.value, pa.string()),
        pa.field(Decoded.RAW.value, pa.binary()),
        pa.field(Decoded.POSITION.value, pa.string()),
        pa.field(Decoded.ARRIVED_AT.value, _TIME),
    ]
    return pa.schema(fields)


@dataclass(frozen=True)
class RowOrigin:
    """Where a file's rows come from: the positions' beginning (`<key>` or `<key>@<etag>`) and the file's time."""

    name: str
    modified: datetime

    def positions(self, first: int, count: int) -> pa.Array:
        """`<name>#<row>` for `count` rows from row `first` on."""
        return row_positions(f"{self.name}#".encode(), first, count)

    def arrived_at(self, count: int) -> pa.Array:
        """The file's modification time, `count` times."""
        micros = (self.modified - _EPOCH) // _MICROSECOND
        return pa.Array.from_buffers(_TIME, count, [None, pa.py_buffer(np.full(count, micros, np.int64))])


def row_positions(prefix: bytes, first: int, count: int) -> pa.Array:
    """`prefix` and a number for each row. Numbers of equal length are written as one matrix of characters."""
    parts = []
    last = first + count
    while first < last:
        digits = len(str(first))
        stop = min(last, 10**digits)
        parts.append(_equal_positions(prefix, np.arange(first, stop), digits))
        first = stop
    return pa.concat_arrays(parts) if parts else pa.array([], pa.string())


def _equal_positions(prefix: bytes, numbers: npt.NDArray[np.int64], digits: int) -> pa.Array:
    groups = -(-digits // 4)
    text = np.empty((len(numbers), groups), np.uint32)  # four characters in each
    for place in range(groups - 1, -1, -1):
        numbers, low = np.divmod(numbers, 10_000)
        text[:, place] = _FOUR_DIGITS[low]
    width = len(prefix) + digits
    out = np.empty((len(text), width), np.uint8)
    out[:, : len(prefix)] = np.frombuffer(prefix, np.uint8)
    out[:, len(prefix) :] = text.view(np.uint8)[:, groups * 4 - digits :]
    offsets = np.arange(0, (len(text) + 1) * width, width, dtype=np.int32)
    return pa.Array.from_buffers(pa.string(), len(text), [None, pa.py_buffer(offsets), pa.py_buffer(out)])


def rejected_row(dataset: Dataset, error: str, raw: bytes, position: str, modified: datetime) -> pa.RecordBatch:
    """A dead letter about a file and not about a record in it: one row without values."""
    row = {
        Decoded.ERROR.value: error,
        Decoded.RAW.value: raw,
        Decoded.POSITION.value: position,
        Decoded.ARRIVED_AT.value: modified,
    }
    schema = decoded_schema(dataset)
    return pa.RecordBatch.from_arrays([pa.array([row.get(field.name)], field.type) for field in schema], schema=schema)


class RowDecoder:
    """Decodes the records of one file with one header."""

    def __init__(self, dataset: Dataset, header: Header, delimiter: bytes, origin: RowOrigin) -> None:
        self._dataset = dataset
        self._header = header
        self._delimiter = delimiter
        self._origin = origin
        self._schema = decoded_schema(dataset)

    def decode(self, records: Records, first_row: int) -> pa.RecordBatch:
        """One row for every record, in order; `first_row` is the number of the first one."""
        if self._header.error:
            return self._batch({}, None, [self._header.error] * len(records), raw_texts(records), first_row)
        faults = not_utf8(records) | records.faults
        columns, found = self._parse(records, faults)
        errors: list[str | None] | None = None
        if found:
            errors = [None] * len(records)
            for index, fault in found.items():
                errors[index] = fault.value
        known = {name: columns[place] for name, place in self._header.columns.items()}
        return self._batch(known, self._rescued(columns), errors, raw_texts(records), first_row)

    def _batch(
        self,
        known: Mapping[str, pa.Array],
        rescued: pa.Array | None,
        errors: list[str] | Any,
        raw: pa.Array,
        first: int,
    ) -> pa.RecordBatch:
        count = len(raw)
        nothing = pa.nulls(count, pa.string())
        arrays = [known.get(name, nothing) for name in self._dataset.column_names]
        arrays += [
            nothing if rescued is None else rescued,
            nothing if errors is None else pa.array(errors, pa.string()),
            raw,
            self._origin.positions(first, count),
            self._origin.arrived_at(count),
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    def _parse(self, records: Records, faults: Mapping[int, Fault]) -> tuple[list[pa.Array], dict[int, Fault]]:
        """All columns of the file, null in the rows with a fault; and the faults, now with those of the parser."""
        sound = np.ones(len(records), bool)
        sound[list(faults)] = False
        rows = np.flatnonzero(sound)
        columns, wrong_width = self._parse_sound(records, rows)
        found = {**faults, **{int(rows[index]): fault for index, fault in wrong_width.items()}}
        if not found:
            return columns, found
        sound[list(found)] = False
        places = np.cumsum(sound) - 1
        indices = pa.array(places, pa.int64(), mask=~sound)
        return [column.take(indices) for column in columns], found

    def _parse_sound(self, records: Records, rows: npt.NDArray[np.int64]) -> tuple[list[pa.Array], dict[int, Fault]]:
        if not len(rows):
            return [pa.array([], pa.string())] * self._header.width, {}
        text = pa.py_buffer(records.span()) if len(rows) == len(records) else pa.py_buffer(_joined(records, rows))
        parsed = self._parse_text(text, len(rows))
        return parsed or self._parse_singly(records.text(int(row)) for row in rows)

    def _parse_text(self, text: pa.Buffer, count: int) -> tuple[list[pa.Array], dict[int, Fault]] | None:
        """Parse with pyarrow; None when it did not find `count` rows."""
        wrong: dict[int, Fault] = {}
        numbered = True

        def skip(row: Any) -> str:
            nonlocal numbered
            numbered = numbered and row.number is not None
            wrong[(row.number or 0) - 1] = _width_fault(row.actual_columns, row.expected_columns)
            return "skip"

        names = [str(place) for place in range(self._header.width)]
        try:
            table = pa_csv.read_csv(
                pa.BufferReader(text),
                # One block for all: the rows are numbered, and nothing is cut in the middle.
                read_options=pa_csv.ReadOptions(use_threads=False, block_size=text.size + 64, column_names=names),
                parse_options=pa_csv.ParseOptions(
                    delimiter=self._delimiter.decode(), newlines_in_values=True, invalid_row_handler=skip
                ),
                # The text is known to be UTF-8; nulls are found faster from the lengths (measured: 320 against 500 ns a row).
                convert_options=pa_csv.ConvertOptions(
                    check_utf8=False, strings_can_be_null=False, column_types=dict.fromkeys(names, pa.string())
                ),
            )
        except pa.ArrowInvalid:
            return None
        if not numbered or table.num_rows + len(wrong) != count:
            return None
        return [_empty_to_null(column) for column in table.columns], wrong

    def _parse_singly(self, texts: Iterable[bytes]) -> tuple[list[pa.Array], dict[int, Fault]]:
        """The same, record by record: slow, and independent of any other opinion about where records end."""
        wrong: dict[int, Fault] = {}
        rows = []
        for index, text in enumerate(texts):
            fields = split_fields(text, self._delimiter)
            if len(fields) == self._header.width:
                rows.append([field.decode() or None for field in fields])
            else:
                wrong[index] = _width_fault(len(fields), self._header.width)
        return [pa.array([row[place] for row in rows], pa.string()) for place in range(self._header.width)], wrong

    def _rescued(self, columns: list[pa.Array]) -> pa.Array | None:
        """The values of unknown columns as one JSON object a row; null where all of them are empty."""
        extras = {name: columns[place] for name, place in self._header.extras.items()}
        filled = {name: values.to_pylist() for name, values in extras.items() if values.null_count < len(values)}
        if not filled:
            return None
        names = list(filled)
        objects = (
            {name: value for name, value in zip(names, row, strict=True) if value is not None}
            for row in zip(*filled.values(), strict=True)
        )
        encode = msgspec.json.Encoder().encode
        return pa.array([encode(value).decode() if value else None for value in objects], pa.string())


def _width_fault(actual: int, expected: int) -> Fault:
    return Fault.TOO_FEW_FIELDS if actual < expected else Fault.TOO_MANY_FIELDS


def _empty_to_null(column: pa.ChunkedArray) -> pa.Array:
    values = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    _, offsets, data = values.buffers()
    if not len(values):
        return values
    places = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
    filled = places[1:] > places[:-1]
    if filled.all():
        return values
    valid = pa.py_buffer(np.packbits(filled, bitorder="little"))
    return pa.Array.from_buffers(pa.string(), len(values), [valid, pa.py_buffer(places), data])


def _joined(records: Records, rows: npt.NDArray[np.int64]) -> bytes:
    """The text of some records only, a line each."""
    return b"\n".join([records.text(int(row)) for row in rows])


def raw_texts(records: Records) -> pa.Array:
    """The exact bytes of every record, as Arrow binary."""
    count = len(records)
    if not count:
        return pa.array([], pa.binary())
    end = int(records.ends[-1])
    text = records.data.replace(b"\n", b"") if records.starts[0] == 0 else b""
    line_ends = len(records.data) - len(text) - records.data.count(b"\n", end)
    if line_ends == count - 1 == end - int((records.ends - records.starts).sum()):  # one between each two, no others
        offsets = np.append(records.starts - np.arange(count), end - line_ends).astype(np.int32)
        return pa.Array.from_buffers(pa.binary(), count, [None, pa.py_buffer(offsets), pa.py_buffer(text)])
    offsets = np.append(records.starts, end).astype(np.int32)
    texts = pa.Array.from_buffers(pa.string(), count, [None, pa.py_buffer(offsets), pa.py_buffer(records.data)])
    return pc.ascii_rtrim(texts, "\r\n").view(pa.binary())


def not_utf8(records: Records) -> dict[int, Fault]:
    """The records that are not UTF-8. A block of ASCII costs one look; only a block that is wrong is searched."""
    if records.data.isascii():
        return {}
    try:
        str(records.span(), "utf-8")
    except UnicodeDecodeError:
        return _search_not_utf8(records)
    return {}


def _search_not_utf8(records: Records) -> dict[int, Fault]:
    high = np.flatnonzero(np.frombuffer(records.data, np.uint8) >= _NON_ASCII)
    owners = np.unique(np.searchsorted(records.starts, high, side="right") - 1)
    found = {}
    for index in owners[owners >= 0].tolist():
        try:
            records.text(index).decode()
        except UnicodeDecodeError:
            found[index] = Fault.NOT_UTF8
    return found
