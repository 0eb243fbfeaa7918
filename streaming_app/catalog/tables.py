"""The lake's two tables and their partitions as a catalog has them, from the same schema that the sink writes.

One truth for `catalog ddl`, `catalog sync` and what is registered at commit. Partition projection (Amazon Athena's
documentation): partitions are computed from `projection.*` properties, and those registered in Glue are never looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any, Final

import pyarrow as pa

from streaming_app.schema import CLEAN, DEAD_DATE, DEAD_LETTER, INPUT_SOURCE, Dataset, InputSource
from streaming_app.sink.layout import DEAD_LETTER_SCHEMA, clean_schema

TABLES: Final = (CLEAN, DEAD_LETTER)
_SIMPLE: Final = {
    pa.string(): "string",
    pa.int32(): "int",
    pa.int64(): "bigint",
    pa.float64(): "double",
    pa.bool_(): "boolean",
    pa.date32(): "date",
}
_PARAMETERS: Final = {"classification": "parquet"}
_PARTS: Final = 4  # table/input_source=.../day=.../file


class Mode(StrEnum):
    """How readers find partitions: registered in Glue one by one, or computed."""

    REGISTERED = "registered"
    PROJECTION = "projection"


@dataclass(frozen=True)
class Table:
    """One table as a catalog has it: columns and partitions are (name, Hive type, comment)."""

    name: str
    columns: tuple[tuple[str, str, str], ...]
    partitions: tuple[tuple[str, str, str], ...]
    location: str

    @property
    def day(self) -> str:
        """The partition column with the day."""
        return self.partitions[1][0]

    def folder(self, partition: Partition) -> str:
        """Where the sink writes a partition's files: `s3://bucket/lake/clean/input_source=stream/order_date=2026-03-01/`."""
        return f"{self.location}{INPUT_SOURCE}={partition.input_source}/{self.day}={partition.day.isoformat()}/"


@dataclass(frozen=True, order=True)
class Partition:
    """One partition of one table, wherever its files are."""

    table: str
    input_source: str
    day: date

    @property
    def values(self) -> list[str]:
        """As Glue has them, in the order of the partition columns."""
        return [self.input_source, self.day.isoformat()]

    @classmethod
    def of_values(cls, table: str, values: list[str]) -> Partition | None:
        """The partition with these values; None for one that the sink would never write."""
        try:
            source, day = values
            return cls(table, source, date.fromisoformat(day))
        except ValueError:
            return None

    @classmethod
    def of_key(cls, key: str) -> Partition | None:
        """The partition of a file below the lake's root; None for files of anything else, and for hidden ones."""
        parts = key.split("/")
        if len(parts) < _PARTS or parts[0] not in TABLES or any(part.startswith((".", "_")) for part in parts):
            return None
        name, _, source = parts[1].partition("=")
        return cls.of_values(parts[0], [source, parts[2].partition("=")[2]]) if name == INPUT_SOURCE else None


def table_of(name: str, dataset: Dataset, root: str) -> Table:
    """`clean` or `dead_letter` of a lake at `root` (s3://...)."""
    comments = {column.name: column.description for column in dataset.columns} if name == CLEAN else {}
    schema = clean_schema(dataset) if name == CLEAN else DEAD_LETTER_SCHEMA
    day = dataset.partition_column if name == CLEAN else DEAD_DATE
    columns = tuple((field.name, hive_type(field.type), comments.get(field.name, "")) for field in schema)
    partitions = ((INPUT_SOURCE, "string", ""), (day, "date", ""))
    return Table(name, columns, partitions, f"s3://{root.partition('://')[2].rstrip('/')}/{name}/")


def hive_type(kind: Any) -> str:
    """The Hive type of what the sink writes. Raises KeyError for a type that it never writes."""
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    if pa.types.is_timestamp(kind):
        return "timestamp"
    if pa.types.is_list(kind):
        return f"array<{hive_type(kind.value_type)}>"
    return _SIMPLE[kind]


def properties(table: Table, mode: Mode, since: date) -> dict[str, str]:
    """The table's properties; with projection, days from `since` to tomorrow."""
    if mode is Mode.REGISTERED:
        return dict(_PARAMETERS)
    day = table.day
    return {
        **_PARAMETERS,
        "projection.enabled": "true",
        f"projection.{INPUT_SOURCE}.type": "enum",
        f"projection.{INPUT_SOURCE}.values": ",".join(source.value for source in InputSource),
        f"projection.{day}.type": "date",
        f"projection.{day}.format": "yyyy-MM-dd",
        f"projection.{day}.range": f"{since.isoformat()},NOW+1DAYS",
        f"projection.{day}.interval": "1",
        f"projection.{day}.interval.unit": "DAYS",
        "storage.location.template": f"{table.location}{INPUT_SOURCE}=${{{INPUT_SOURCE}}}/{day}=${{{day}}}",
    }
