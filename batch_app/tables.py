"""Which files of the lake its readers see: all that a listing shows, or in an Iceberg lake those that the tables name.

There, files that a compaction has replaced stay for readers of earlier snapshots, and a batch's files are no rows of the table
before its commit; so whoever counts rows must not go by a listing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, cast

from streaming_app.config import Loaded
from streaming_app.errors import ConfigError, SinkError
from streaming_app.schema import CLEAN, DEAD_LETTER
from streaming_app.storage import ObjectInfo, Storage

if TYPE_CHECKING:
    from streaming_app.sink.iceberg import IcebergTables


def open_iceberg(loaded: Loaded) -> IcebergTables | None:
    """The tables of an Iceberg lake, None where it is plain Parquet."""
    config = loaded.config
    if config.sink.format != "iceberg":
        return None
    from streaming_app.sink.iceberg import IcebergTables  # noqa: PLC0415 - pyspark: only where it is needed

    storage = config.lake.s3.storage_options()
    return IcebergTables(config.iceberg.to_options(), config.lake.root, loaded.dataset, storage)


def as_read(lake: Storage, tables: IcebergTables | None) -> Storage:
    """The lake as its readers see it, for reading only."""
    return cast("Storage", _AsRead(lake, tables)) if tables else lake


def require_whole_files(tables: IcebergTables | None, what: str, names: Sequence[str] = (CLEAN, DEAD_LETTER)) -> None:
    """Raise SinkError where an engine has taken single rows out of files, which `what` would bring back."""
    for name in names:
        if tables and tables.deletes_rows(name):
            raise SinkError(
                f"the Iceberg table {name} has delete files: an engine has deleted or updated single rows, and {what} reads"
                " whole files; ask the engine itself, or first have Spark apply them (docs/iceberg.md, delete files)"
            )


def require_one_kind_of_reader(loaded: Loaded) -> None:
    """Raise ConfigError where replaced files, which stay for earlier snapshots, would be read twice by plain tables."""
    if loaded.config.sink.format == "iceberg" and loaded.config.catalog.type == "glue":
        raise ConfigError(
            "catalog.type is glue beside sink.format: iceberg: plain tables read every file in a folder, and those that are"
            " replaced stay there for the Iceberg tables' earlier snapshots; set catalog.type: none and drop the plain tables"
        )


def refuse_plain_tables(loaded: Loaded, advice: str) -> NoReturn:
    """Raise ConfigError for a command about plain tables on an Iceberg lake."""
    raise ConfigError(
        "sink.format is iceberg: a plain table over these folders would read files that are replaced, too, and count their rows"
        f" twice. Engines read the Iceberg tables of {loaded.config.iceberg.namespace!r} in their own catalog"
        f" ({loaded.config.iceberg.type}), which the service or `catalog sync` makes; {advice}"
    )


class _AsRead:
    """Reads of the storage, but for a listing of a table's folder and for `info`, which know only what the table names.

    A listing asks each table once; `info` looks again for a file that was not there then.
    """

    def __init__(self, storage: Storage, tables: IcebergTables) -> None:
        self._storage, self._tables = storage, tables
        self._known: dict[str, frozenset[str]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Files that the table names and that are there."""
        table = prefix.strip("/").split("/")[0]
        if table not in (CLEAN, DEAD_LETTER):
            yield from self._storage.list(prefix)
            return
        if table not in self._known:
            self._known[table] = self._tables.current(table)
        yield from (info for info in self._storage.list(prefix) if info.key in self._known[table])

    def info(self, key: str) -> ObjectInfo | None:
        """None also for a file that the table does not name."""
        table = key.split("/", maxsplit=1)[0]
        if table in (CLEAN, DEAD_LETTER) and key not in self._known.get(table, ()):
            self._known[table] = self._tables.current(table)
            if key not in self._known[table]:
                return None
        return self._storage.info(key)
