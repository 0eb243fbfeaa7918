"""Single dead letters: the newest ones for `list`, one with all about it for `show`, every selected one for `export`."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from batch_app.dead_letters.book import Book
from batch_app.dead_letters.decoding import RowDecoders
from batch_app.dead_letters.listing import DeadFile
from batch_app.dead_letters.selection import Selection
from batch_app.dead_letters.table import ACTION, COLUMNS, ID, DeadLetters
from streaming_app.errors import ConfigError, SinkError
from streaming_app.schema import INGESTED_AT, Dataset, Decoded, InputSource, Judged

STATE: Final = "state"  # open | replayed | discarded
_RAW: Final = (Judged.RAW.value, Judged.RAW_ENCODING.value, Decoded.POSITION.value, Decoded.ARRIVED_AT.value)
_STATES: Final = {"replay": "replayed", "discard": "discarded"}
SEPARATOR: Final = ";"  # between the reasons of a row, where a format has no lists


def require_columns(names: Sequence[str], dataset: Dataset) -> None:
    """Raises ConfigError for a column that dead letters do not have."""
    known = (*COLUMNS, STATE, *dataset.column_names)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(f"--columns: there is no {', '.join(unknown)}; dead letters have {', '.join(known)}")


class Records:
    """Dead letters as rows; dataset columns are read out of the raw text where they are asked for."""

    def __init__(self, letters: DeadLetters, book: Book, dataset: Dataset, decoders: RowDecoders) -> None:
        self._letters, self._book = letters, book
        self._dataset, self._decoders = dataset, decoders

    def newest(self, selection: Selection, columns: Sequence[str], limit: int, state: str) -> tuple[pa.Table, int]:
        """The `limit` dead letters that were rejected last (0: all), newest first; and how many were selected."""
        total, chosen, places = 0, pa.table({ID: pa.array([], pa.string()), INGESTED_AT: _NO_TIMES}), set[DeadFile]()
        for file, found in self._letters.scan(selection, (ID, INGESTED_AT), state=state):
            total += found.num_rows
            places.add(file)
            chosen = _newest(pa.concat_tables([chosen, found]), limit)
        if not total:
            return pa.table({name: pa.array([], pa.string()) for name in columns}), 0
        wanted = Selection(ids=tuple(chosen.column(ID).to_pylist())) if limit else selection
        files = sorted(places, key=lambda file: file.key)
        rows = [table for _, table in self.each(wanted, (*columns, ID, INGESTED_AT), state, files)]
        return _newest(pa.concat_tables(rows), 0).select(list(columns)), total

    def each(
        self, selection: Selection, columns: Sequence[str], state: str, files: Sequence[DeadFile] | None = None
    ) -> Iterator[tuple[DeadFile, pa.Table]]:
        """Every selected row, a file's at a time."""
        names = list(dict.fromkeys(columns))
        decoded = [name for name in names if name in self._dataset.column_names]
        stored = [*(name for name in names if name in COLUMNS), ACTION, *(_RAW if decoded else ())]
        for file, found in self._letters.scan(selection, list(dict.fromkeys(stored)), state=state, files=files):
            columns_found = {name: found.column(name) for name in found.column_names}
            if STATE in names:
                columns_found[STATE] = pa.array([self.state_of(number) for number in found.column(ACTION).to_pylist()])
            if decoded:
                values = self._decoders.decode(found, file.input_source)
                columns_found |= {name: values.column(name) for name in decoded}
            yield file, pa.table({name: columns_found[name] for name in names})

    def state_of(self, number: int) -> str:
        """What became of a dead letter that action `number` took."""
        return _STATES[self._book.actions[number].kind] if number >= 0 else "open"

    def one(self, beginning: str) -> dict[str, Any]:
        """Everything about one dead letter, by its id or the beginning of it. Raises ConfigError for none or several."""
        found: list[dict[str, Any]] = []
        for _, rows in self._letters.scan(Selection(ids=(beginning,)), (*COLUMNS, ACTION), state="any"):
            found += rows.to_pylist()
        ids = sorted({row[ID] for row in found})
        if not ids:
            raise ConfigError(
                f"no dead letter of {self._letters.storage.uri} has an id that begins with {beginning};"
                " `dead-letters list --all --format csv --columns dead_letter_id` prints all there are"
            )
        if len(ids) > 1:
            more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""  # noqa: PLR2004 - a line's worth
            raise ConfigError(
                f"{len(ids)} dead letters begin with {beginning}: {', '.join(ids[:5])}{more}; type more of it"
            )
        return found[0]

    def fields(self, row: Mapping[str, Any]) -> dict[str, str | None]:
        """The dataset's columns as the row's raw text has them; all None where it cannot be read."""
        table = pa.table({name: [row[name]] for name in _RAW}, schema=_RAW_SCHEMA)
        decoded = self._decoders.decode(table, InputSource(row["input_source"]))
        return {name: decoded.column(name)[0].as_py() for name in (*self._dataset.column_names, Decoded.RESCUED.value)}


_TIME: Final = pa.timestamp("us", tz="UTC")
_NO_TIMES: Final = pa.array([], _TIME)
_RAW_SCHEMA: Final = pa.schema([*((name, pa.string()) for name in _RAW[:3]), (_RAW[3], _TIME)])


def _newest(table: pa.Table, limit: int) -> pa.Table:
    if limit and table.num_rows <= limit:
        return table
    order = pc.sort_indices(table, sort_keys=[(INGESTED_AT, "descending"), (ID, "ascending")])
    return table.take(order.slice(0, limit) if limit else order)


def export(rows: Iterator[tuple[DeadFile, pa.Table]], file: Path, schema: pa.Schema) -> int:
    """Write rows into a new local file, .parquet, .csv, .ndjson or .jsonl; it appears whole. Returns how many.

    Raises ConfigError for another suffix or an existing file, SinkError when it cannot be written.
    """
    make = _WRITERS.get(file.suffix.lower())
    if make is None:
        raise ConfigError(f"{file}: export writes {', '.join(_WRITERS)}; end the name with one of these")
    if file.exists():
        raise ConfigError(f"{file} is there already; name another file, or remove it")
    hidden = file.with_name(f".{file.name}-{uuid.uuid4().hex}.tmp")
    count = 0
    try:
        with hidden.open("xb") as stream, make(stream, schema) as write:
            for _, table in rows:
                write(table.cast(schema))
                count += table.num_rows
        hidden.replace(file)
    except OSError as error:
        raise SinkError(f"{file} cannot be written: {error.strerror or error}") from error
    finally:
        hidden.unlink(missing_ok=True)
    return count


Write = Callable[[pa.Table], None]


@contextmanager
def _parquet(stream: BinaryIO, schema: pa.Schema) -> Iterator[Write]:
    with pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        yield writer.write_table


@contextmanager
def _csv(stream: BinaryIO, schema: pa.Schema) -> Iterator[Write]:
    flat = pa.schema([(field.name, pa.string()) if pa.types.is_list(field.type) else field for field in schema])
    with pa_csv.CSVWriter(stream, flat) as writer:
        yield lambda table: writer.write_table(flattened(table))


@contextmanager
def _ndjson(stream: BinaryIO, schema: pa.Schema) -> Iterator[Write]:
    del schema
    encode = msgspec.json.Encoder().encode

    def write(table: pa.Table) -> None:
        stream.writelines(encode(row) + b"\n" for row in table.to_pylist())

    yield write


def flattened(table: pa.Table) -> pa.Table:
    """Lists as texts."""
    for place, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            texts = [SEPARATOR.join(values or ()) for values in table.column(place).to_pylist()]
            table = table.set_column(place, field.name, pa.array(texts, pa.string()))
    return table


_WRITERS: Final[dict[str, Callable[[BinaryIO, pa.Schema], AbstractContextManager[Write]]]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".ndjson": _ndjson,
    ".jsonl": _ndjson,
}
