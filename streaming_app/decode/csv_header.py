"""The first record of a CSV file: which of its columns is which of the dataset's, and what makes the file unusable."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from streaming_app.decode.csv_records import field_pattern
from streaming_app.schema import Dataset

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


@dataclass(frozen=True)
class Header:
    """A header that was understood.

    `columns` maps a dataset column to its place in the file, `extras` are the columns the dataset does not know, by
    name. `error` is the decode_error of every row when the file lacks required columns or names one twice.
    `recognized` says that at least one name is the dataset's: otherwise the line may well be data.
    """

    width: int
    columns: dict[str, int]
    extras: dict[str, int]
    error: str | None
    recognized: bool


def split_fields(record: bytes, delimiter: bytes) -> list[bytes]:
    """The fields of one record that keeps the rules, without their quotes."""
    return [_unquoted(match[1]) for match in field_pattern(delimiter).finditer(record)]


def _unquoted(field: bytes) -> bytes:
    return field[1:-1].replace(b'""', b'"') if len(field) > 1 and field[:1] == b'"' == field[-1:] else field


def is_text(record: bytes, delimiter: bytes) -> bool:
    """Whether a header can be text at all: UTF-8 without control characters, but the delimiter may be one."""
    try:
        return not _CONTROL.search(record.replace(delimiter, b"").decode())
    except UnicodeDecodeError:
        return False


def parse_header(record: bytes, delimiter: bytes, dataset: Dataset) -> Header:
    """Names are trimmed and compared without case; a column without a name is called `column_N`, N counted from 1."""
    fields = [field.decode().strip().lower() for field in split_fields(record, delimiter)]
    names = [name or f"column_{number}" for number, name in enumerate(fields, start=1)]
    places = {name: place for place, name in enumerate(names)}
    known = {name: places[name] for name in dataset.column_names if name in places}
    return Header(
        width=len(names),
        columns=known,
        extras={name: place for name, place in places.items() if name not in known},
        error=_header_error(names, (name for name in dataset.column_names if name in dataset.required_columns)),
        recognized=bool(known),
    )


def _header_error(names: list[str], required: Iterable[str]) -> str | None:
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        return f"duplicate_column:{','.join(twice)}"
    missing = [name for name in required if name not in names]
    return f"missing_column:{','.join(missing)}" if missing else None
