"""DuckDB over the lake's tables. Reads only: anything but one SELECT is refused, and no other file can be opened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa

from batch_app.query.answer import Answer
from batch_app.query.named import NamedQuery
from streaming_app.errors import ConfigError, SinkError

_ROWS: Final = 65_536  # of one batch
_BROKEN_FILE: Final = ("Could not open", "Parquet file", "Parquet magic", "AWS Error")
# pyarrow's words for a file that is not there: local; S3, asked for its bytes; S3, asked for its size; S3, answer cut short.
_GONE: Final = (
    "No such file or directory",
    "NO_SUCH_KEY",
    "RESOURCE_NOT_FOUND",
    "Path does not exist",
    "Failed to flush response stream",
)
_READS: Final = frozenset({"SELECT", "EXPLAIN"})


class VanishedError(SinkError):
    """A file went between the listing and its reading: a compaction has replaced it. Asked again, the lake answers."""


def ask(sql: str, tables: Mapping[str, Any], views: Mapping[str, NamedQuery]) -> Answer:
    """The answer to one SELECT over tables and views.

    Raises ConfigError for SQL that cannot be run, SinkError when a file of the lake cannot be read.
    """
    duckdb = _library()
    _one_select(duckdb, sql)
    connection = duckdb.connect(config={"enable_external_access": "false"})
    for name, table in tables.items():
        _register(connection, name, table)
    for view in views.values():
        _define(duckdb, connection, view)
    try:
        reader = connection.sql(sql).to_arrow_reader(_ROWS)
    except duckdb.Error as error:
        raise _explained(duckdb, error) from None
    return Answer(reader.schema, _batches(duckdb, connection, reader))


def _library() -> Any:
    try:
        import duckdb  # noqa: PLC0415 - an extra package
    except ImportError:
        raise ConfigError("DuckDB is not installed: pip install 'qsr-ingest[query]', or use --engine athena") from None
    return duckdb


def _one_select(duckdb: Any, sql: str) -> None:
    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise _explained(duckdb, error) from None
    if len(statements) != 1 or statements[0].type.name not in _READS:
        raise ConfigError("write one SELECT: `query` reads the lake and changes nothing")


def _register(connection: Any, name: str, table: Any) -> None:
    """A table; its times are shown without their zone, as Athena shows them. Conditions on partitions go down to the listing."""
    times = [field.name for field in table.schema if pa.types.is_timestamp(field.type) and field.type.tz]
    if not times:
        connection.register(name, table)
        return
    connection.register(f"_{name}", table)
    plain = ", ".join(f'"{time}" AT TIME ZONE \'UTC\' AS "{time}"' for time in times)
    connection.execute(f"CREATE VIEW {name} AS SELECT * REPLACE ({plain}) FROM _{name}")  # noqa: S608 - our own names


def _define(duckdb: Any, connection: Any, view: NamedQuery) -> None:
    """A view that another dataset has no columns for is left out; asked for by name, its own text says what is missing."""
    try:
        connection.execute(f"CREATE VIEW {view.name} AS {view.sql}")
    except duckdb.Error:
        return


def _batches(duckdb: Any, connection: Any, reader: Any) -> Any:
    try:
        yield from reader
    except (duckdb.Error, OSError) as error:
        raise _explained(duckdb, error) from None
    finally:
        connection.close()


def _explained(duckdb: Any, error: Exception) -> ConfigError | SinkError:
    text = str(error).strip()
    if any(word in text for word in _GONE):
        return VanishedError(f"a file of the lake went while it was read; run the query again: {text[:300]}")
    if any(word in text for word in _BROKEN_FILE):
        return SinkError(f"a file of the lake cannot be read: {text[:300]}")
    if isinstance(error, (duckdb.IOException, duckdb.PermissionException)):
        return ConfigError(f"the query cannot be run: {text}; tables are clean, dead_letter and the named queries")
    return ConfigError(f"the query cannot be run: {text}")
