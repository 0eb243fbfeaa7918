"""Athena's DDL of the lake's tables, from the same schema that the sink writes.

Amazon Athena's documentation: tables are made in Hive's DDL, partition columns stand apart, names in backticks; partition
projection computes partitions from `projection.*` properties and never looks at those registered in Glue.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any, Final

import pyarrow as pa

from streaming_app.schema import CLEAN, DEAD_DATE, DEAD_LETTER, INPUT_SOURCE, Dataset, InputSource
from streaming_app.sink.datasource import DEAD_LETTER_SCHEMA, clean_schema

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


class Mode(StrEnum):
    """How Athena finds partitions: registered in Glue one by one, or computed."""

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


def create_table(table: Table, database: str, mode: Mode, since: date) -> str:
    """One CREATE TABLE statement without a semicolon."""
    listed = ",\n  ".join(f"'{name}' = '{value}'" for name, value in properties(table, mode, since).items())
    return (
        f"CREATE EXTERNAL TABLE IF NOT EXISTS `{database}`.`{table.name}` (\n  {_columns(table.columns)}\n)\n"
        f"PARTITIONED BY (\n  {_columns(table.partitions)}\n)\n"
        f"STORED AS PARQUET\nLOCATION '{_quoted(table.location)}'\nTBLPROPERTIES (\n  {listed}\n)"
    )


def create_database(database: str) -> str:
    """One CREATE DATABASE statement."""
    return f"CREATE DATABASE IF NOT EXISTS `{database}`"


def repair_table(table: Table, database: str) -> str:
    """Registers the partitions there are; for tables without projection."""
    return f"MSCK REPAIR TABLE `{database}`.`{table.name}`"


def create_view(name: str, sql: str, database: str) -> str:
    """A named query as a view; Athena takes such a statement in Trino's SQL, where names are in double quotes."""
    return f'CREATE OR REPLACE VIEW "{database}"."{name}" AS\n{sql}'


def _columns(columns: tuple[tuple[str, str, str], ...]) -> str:
    return ",\n  ".join(
        f"`{name}` {kind}" + (f" COMMENT '{_quoted(comment)}'" if comment else "") for name, kind, comment in columns
    )


def _quoted(text: str) -> str:
    return " ".join(text.split()).replace("\\", "\\\\").replace("'", "\\'")
