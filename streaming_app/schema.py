"""The dataset's schema and the names of every column the product itself adds.

Three layouts follow one another through the pipeline:

    decoded   what both sources emit: every dataset column as string, plus the columns of `Decoded`
    judged    typed columns, plus the columns of `Judged`: one verdict a row
    lake      the two tables, `clean` and `dead_letter` (design.md, "Lake layout")
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from streaming_app.units import parse_duration

_DECIMAL: Final = re.compile(r"decimal\((\d{1,2}),\s*(\d{1,2})\)")
_SIMPLE_TYPES: Final = frozenset({"string", "int", "bigint", "double", "boolean", "date", "timestamp"})
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,127}")
MAX_DECIMAL_PRECISION: Final = 38  # Spark's and Athena's limit


class Decoded(StrEnum):
    """Columns that a source adds to the dataset's own (all strings there).

    Schema: rescued_data string (JSON object of unknown fields, or null), decode_error string (null when the row could
    be read), raw binary (the row's exact bytes), source_position string, arrived_at timestamp.
    """

    RESCUED = "rescued_data"
    ERROR = "decode_error"
    RAW = "raw"
    POSITION = "source_position"
    ARRIVED_AT = "arrived_at"


class Judged(StrEnum):
    """Columns that the pipeline adds for the sink: `stage` is null for a clean row.

    Schema: stage string (decode | cast | rule | duplicate), reasons array<string>, raw string (null for clean rows),
    raw_encoding string (utf-8 | base64). Only where the suite has such rules: quality_warnings array<string> and
    quality_infos array<string>, the ids of the rules of that severity that the row fails, null where it fails none; and
    quality_looked_at array<string>, the ids of rules with both a row_condition and a limit that looked at the row.
    """

    STAGE = "stage"
    REASONS = "reasons"
    RAW = "raw"
    RAW_ENCODING = "raw_encoding"
    WARNINGS = "quality_warnings"
    INFOS = "quality_infos"
    LOOKED_AT = "quality_looked_at"


class Keyed(StrEnum):
    """Columns that go with judged rows to the sink where the dataset has `deduplicate`; null in rows that are dead already.

    Schema: both bigint, two independent hashes of the key columns. Together they are the key: among 100 million different
    keys two have the same 128 bits with a probability below 10**-22.
    """

    HASH = "__key_hash"
    CHECK = "__key_check"


class Stage(StrEnum):
    """Where a row was rejected."""

    DECODE = "decode"
    CAST = "cast"
    RULE = "rule"
    DUPLICATE = "duplicate"


class InputSource(StrEnum):
    """The lake's first partition: how rows came in."""

    STREAM = "stream"
    BATCH = "batch"


class Pii(StrEnum):
    """What becomes of personal data in the lake: nothing; `***`; or a keyed hash, by which the same is found again."""

    KEEP = "keep"
    MASK = "mask"
    HASH = "hash"


PII_KEY: Final = "QSR_PII_KEY"  # the environment variable with the key of `pii: hash`
PII_KEY_LENGTH: Final = 16  # characters at least

CLEAN: Final = "clean"
DEAD_LETTER: Final = "dead_letter"
INPUT_SOURCE: Final = "input_source"
INGESTED_AT: Final = "ingested_at"
DEAD_DATE: Final = "dead_date"
RESERVED: Final = frozenset(
    {*Decoded, *Judged, INPUT_SOURCE, INGESTED_AT, DEAD_DATE, "dead_letter_id", "suite_fingerprint", "source"}
)


def _known_type(value: str) -> str:
    text = re.sub(r"\s+", "", value.lower())
    match = _DECIMAL.fullmatch(text)
    if match and 1 <= int(match[1]) <= MAX_DECIMAL_PRECISION and int(match[2]) <= int(match[1]):
        return text
    if text in _SIMPLE_TYPES:
        return text
    raise ValueError(f"unknown type {value!r}; use one of {', '.join(sorted(_SIMPLE_TYPES))} or decimal(p,s)")


def _known_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(f"{value!r}: a column name is lower-case letters, digits and _, and begins with a letter")
    if value in RESERVED:
        raise ValueError(f"{value!r} is a name the product uses itself; choose another")
    return value


class Column(BaseModel):
    """One column of the dataset.

    `required` says that an input without this column (not: with a null in it) is unusable; `pii` marks personal data and
    says what becomes of it in the lake: keep (or true), mask, hash.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Annotated[str, AfterValidator(_known_name)]
    type: Annotated[str, AfterValidator(_known_type)]
    required: bool = False
    pii: bool | Literal["keep", "mask", "hash"] = False
    description: str = ""

    @model_validator(mode="after")
    def _treatable(self) -> Column:
        if self.treatment is not Pii.KEEP and self.type != "string":
            raise ValueError(
                f"column {self.name} is {self.type}; pii: {self.pii} needs a string, as that is what it makes"
            )
        return self

    @property
    def treatment(self) -> Pii:
        """What becomes of the column's values in the lake."""
        return Pii.KEEP if isinstance(self.pii, bool) else Pii(self.pii)

    @property
    def decimal_digits(self) -> tuple[int, int] | None:
        """Precision and scale of a decimal column, None for every other type."""
        match = _DECIMAL.fullmatch(self.type)
        return (int(match[1]), int(match[2])) if match else None


class Deduplicate(BaseModel):
    """Rows of one source with equal `keys` and times (`time_column`) at most `within` apart are one row and its repetitions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: Annotated[tuple[str, ...], Field(min_length=1, max_length=16)]
    within: Annotated[float, BeforeValidator(parse_duration), Field(ge=1, le=31_536_000, allow_inf_nan=False)]


class Dataset(BaseModel):
    """What one kind of row looks like: columns, the time column and the partition made from it.

    The clean table is partitioned by `input_source` and `partition_column`, the date of `time_column` in `time_zone`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, AfterValidator(_known_name)]
    description: str = ""
    columns: Annotated[tuple[Column, ...], Field(min_length=1, max_length=1000)]
    time_column: str
    partition_column: str = "order_date"
    time_zone: str = "UTC"
    deduplicate: Deduplicate | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Dataset:
        names = [column.name for column in self.columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"columns named twice: {', '.join(twice)}")
        times = [column.name for column in self.columns if column.type == "timestamp"]
        if self.time_column not in times:
            raise ValueError(f"time_column {self.time_column!r} is no timestamp column; those are: {', '.join(times)}")
        if self.partition_column in names:
            raise ValueError(f"partition_column {self.partition_column!r} is a column of the dataset; choose another")
        _known_name(self.partition_column)
        unknown = sorted(set(self.deduplicate.keys) - set(names)) if self.deduplicate else []
        if unknown:
            raise ValueError(f"deduplicate.keys names no column of the dataset: {', '.join(unknown)}")
        return self

    @model_validator(mode="after")
    def _known_zone(self) -> Dataset:
        from zoneinfo import available_timezones  # noqa: PLC0415 - reads a few hundred files: only where a dataset is loaded

        if self.time_zone not in available_timezones():
            raise ValueError(f"time_zone {self.time_zone!r} is unknown; use a name such as UTC or Asia/Jakarta")
        return self

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names in the dataset's order, which is the order of the lake's columns too."""
        return tuple(column.name for column in self.columns)

    @property
    def required_columns(self) -> frozenset[str]:
        """Columns without which an input file or event cannot be an order at all."""
        return frozenset(column.name for column in self.columns if column.required)

    def decoded_ddl(self) -> str:
        """Spark DDL of the decoded layout."""
        fields = [f"`{name}` STRING" for name in self.column_names]
        fields += [
            f"{Decoded.RESCUED} STRING",
            f"{Decoded.ERROR} STRING",
            f"{Decoded.RAW} BINARY",
            f"{Decoded.POSITION} STRING",
            f"{Decoded.ARRIVED_AT} TIMESTAMP",
        ]
        return ", ".join(fields)

    def to_option(self) -> str:
        """One line of JSON, for a data source's options; `from_option` is its inverse."""
        return self.model_dump_json()

    @classmethod
    def from_option(cls, text: str) -> Dataset:
        """The dataset that `to_option` wrote."""
        return cls.model_validate_json(text)
