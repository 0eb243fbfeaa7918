"""The raw text of dead letters back into the decoded layout, by the decoders that read it first.

A JSON event says all it needs itself. A row of a CSV file needs the file's header, which is not in the dead letter: the
read log has it, recorded when the file was read (`CsvHeaders`). Only a file whose record is gone, or holds no header, is
read in the dataset's column order, and `unknown` names it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa

from streaming_app.decode.csv_header import parse_header
from streaming_app.decode.csv_records import Fault, Records, RecordSplitter
from streaming_app.decode.csv_rows import RowDecoder, RowOrigin, decoded_schema
from streaming_app.decode.json_events import JsonDecoder
from streaming_app.journal.read_log import ReadLog, UnitRead
from streaming_app.schema import Dataset, Decoded, InputSource, Judged

BASE64: Final = "base64"
NO_RECORD: Final = "not_one_record"  # a raw text that is no row, or several: only a repair can make one
# About a whole file, or a piece of a line: there is no row in the raw text that could be judged again.
NOT_A_ROW: Final = frozenset(
    {"not_text", "broken_gzip", "record_too_long", "changed_file", "missing_file", "still_changing"}
)
_MAX_RECORD: Final = 1 << 30  # the text is in memory already
_NO_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)


def raw_bytes(raw: str | None, encoding: str | None) -> bytes:
    """The row's exact bytes."""
    text = raw or ""
    return base64.b64decode(text) if encoding == BASE64 else text.encode()


def file_of(position: str) -> str:
    """The name that the positions of a file's rows begin with."""
    return position.rpartition("#")[0]


class CsvHeaders:
    """Headers of CSV files by the name that their rows' positions begin with, looked up in the read logs.

    These are the CSV source's and the backfills'; a name is looked up in all of them.
    """

    def __init__(self, *read_logs: ReadLog) -> None:
        self._logs = read_logs
        self._found: dict[str, str | None] = {}

    def of(self, names: Iterable[str]) -> Mapping[str, str | None]:
        """The header of each file, None where it is not known. One pass over the logs for all new names together."""
        missing = set(names) - set(self._found)
        if missing:
            self._found.update(dict.fromkeys(missing))
            for units in self._all_reads():
                for read in units.values():
                    if read.detail.get("name") in missing and read.detail.get("kind") == "rows":
                        self._found[read.detail["name"]] = read.detail.get("header")
        return self._found

    def _all_reads(self) -> Iterator[Mapping[str, UnitRead]]:
        for log in self._logs:
            for epoch in log.history():
                yield epoch.units
            for number in log.live_epochs():
                yield log.units(number)


class RowDecoders:
    """Decodes dead letters of one lake. After use, `unknown` holds the files that had no known header."""

    def __init__(self, dataset: Dataset, headers: CsvHeaders, delimiter: str = ",") -> None:
        self._dataset, self._headers = dataset, headers
        self._delimiter = delimiter.encode()
        self._json = JsonDecoder(dataset)
        self._schema = decoded_schema(dataset)
        self.unknown: set[str] = set()

    def decode(self, rows: pa.Table, source: InputSource) -> pa.Table:
        """Rows with raw, raw_encoding, source_position and arrived_at, all of one source, to the decoded layout, in order."""
        texts, encodings = (rows.column(name).to_pylist() for name in (Judged.RAW.value, Judged.RAW_ENCODING.value))
        raws = [raw_bytes(text, encoding) for text, encoding in zip(texts, encodings, strict=True)]
        return self.decode_raws(raws, rows, source)

    def decode_raws(self, raws: Sequence[bytes], rows: pa.Table, source: InputSource) -> pa.Table:
        """The same with the rows' bytes given, as a repair changed them."""
        positions = rows.column(Decoded.POSITION.value).combine_chunks()
        arrived = rows.column(Decoded.ARRIVED_AT.value).combine_chunks()
        if source is InputSource.STREAM:
            return pa.Table.from_arrays([*self._json.decode(raws), positions, arrived], schema=self._schema)
        return self._decode_csv(raws, positions.to_pylist(), positions, arrived)

    def _decode_csv(self, raws: Sequence[bytes], names: Sequence[str], positions: Any, arrived: Any) -> pa.Table:
        groups: dict[str, list[int]] = {}
        files = [file_of(name) for name in names]
        headers = self._headers.of(files)
        for place, file in enumerate(files):
            if headers[file] is None:
                self.unknown.add(file)
            groups.setdefault(headers[file] or self._delimiter.decode().join(self._dataset.column_names), []).append(
                place
            )
        parts = [
            self._decode_group(header.encode(), [raws[place] for place in places]) for header, places in groups.items()
        ]
        order = np.argsort([place for places in groups.values() for place in places], kind="stable")
        table = pa.concat_tables(parts).take(order) if parts else self._schema.empty_table()
        for name, values in {Decoded.POSITION.value: positions, Decoded.ARRIVED_AT.value: arrived}.items():
            table = table.set_column(table.schema.get_field_index(name), name, values)
        return table.cast(self._schema)

    def _decode_group(self, header: bytes, raws: Sequence[bytes]) -> pa.Table:
        """Rows under one header: all at once when each is one sound record, otherwise one by one."""
        known = parse_header(header, self._delimiter, self._dataset)
        decoder = RowDecoder(self._dataset, known, self._delimiter, RowOrigin("-", _NO_TIME))
        splitter = RecordSplitter(self._delimiter, _MAX_RECORD)
        records, _ = splitter.split(b"\n".join(raws), final=True)
        if len(records) == len(raws) and all(records.text(place) == raw for place, raw in enumerate(raws)):
            return pa.Table.from_batches([decoder.decode(records, 1)])
        return pa.Table.from_batches([self._decode_one(decoder, raw) for raw in raws])

    def _decode_one(self, decoder: RowDecoder, raw: bytes) -> pa.RecordBatch:
        records, _ = RecordSplitter(self._delimiter, _MAX_RECORD).split(raw, final=True)
        if len(records) == 1 and records.text(0) == raw:
            return decoder.decode(records, 1)
        whole = Records(raw, np.zeros(1, np.int64), np.full(1, len(raw), np.int64), {0: Fault.MALFORMED_QUOTE})
        batch = decoder.decode(whole, 1)
        errors = records.faults.get(0, Fault.UNCLOSED_QUOTE).value if records.faults else NO_RECORD
        return batch.set_column(
            batch.schema.get_field_index(Decoded.ERROR.value), Decoded.ERROR.value, pa.array([errors])
        )
