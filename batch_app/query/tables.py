"""The lake's two tables as pyarrow datasets: local folders and S3, the declared schema, visible files only.

The schema is the dataset's, not that of the first file, so a file from before a column was added reads as null there.
Times are in UTC with their zone, as the files have them: pyarrow compares a condition with the statistics of row groups, and
refuses to where one side has no zone.

Guarantee: each row that was visible when the listing began is in the tables once, whatever a compaction does meanwhile
(seen_once.py; in an Iceberg lake the table itself names its files). A file that it removes between the listing and the reading makes the query fail, never count less.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs

from batch_app.compaction.book import CompactionBook
from batch_app.compaction.seen_once import listed_once
from batch_app.tables import open_iceberg, require_whole_files
from streaming_app.config import Loaded
from streaming_app.errors import ConfigError, SinkError
from streaming_app.places import compactions_of
from streaming_app.schema import CLEAN, DEAD_DATE, DEAD_LETTER, INPUT_SOURCE, Dataset
from streaming_app.sink.layout import DEAD_LETTER_SCHEMA, clean_schema
from streaming_app.storage import StorageOptions, is_s3, open_storage

if TYPE_CHECKING:
    from streaming_app.sink.iceberg import IcebergTables

_HIDDEN: Final = (".", "_")


def open_tables(loaded: Loaded) -> dict[str, Any]:
    """`clean` and `dead_letter`, empty where nothing was written yet. Raises ConfigError and SinkError."""
    config = loaded.config
    options = config.lake.s3.storage_options()
    files, root = _file_system(config.lake.root, options)
    lake = open_storage(config.lake.root, options)
    days = {CLEAN: loaded.dataset.partition_column, DEAD_LETTER: DEAD_DATE}
    iceberg = open_iceberg(loaded)
    require_whole_files(iceberg, "query")

    def opened() -> dict[str, Any]:
        return {
            table: _open(_Place(files, root, table, iceberg), schema_of(table, loaded.dataset), day)
            for table, day in days.items()
        }

    book = CompactionBook(open_storage(compactions_of(config), options), lake)
    made = opened() if iceberg else _once(opened, root, book)
    if is_s3(config.lake.root) and not any(_files(table) for table in made.values()):
        next(lake.list(CLEAN), None)  # says what is wrong
    return made


def _once(listed: Callable[[], dict[str, Any]], root: str, book: CompactionBook) -> dict[str, Any]:
    """Tables without the files whose rows stand in other files of the same listing, too. Raises SinkError."""

    def keys(tables: dict[str, Any]) -> set[str]:
        return {path.removeprefix(f"{root}/") for table in tables.values() for path in _files(table)}

    tables, left_out = listed_once(book, listed, keys)
    out = {f"{root}/{key}" for key in left_out}
    return {name: _without(table, out) for name, table in tables.items()}


def _files(table: Any) -> list[str]:
    return table.files if isinstance(table, ds.FileSystemDataset) else []


def _without(table: Any, out: set[str]) -> Any:
    if out.isdisjoint(_files(table)):
        return table
    kept = [fragment for fragment in table.get_fragments() if fragment.path not in out]
    return ds.FileSystemDataset(kept, table.schema, table.format, table.filesystem)


def schema_of(table: str, dataset: Dataset) -> pa.Schema:
    """A table's columns without its partitions."""
    schema = clean_schema(dataset) if table == CLEAN else DEAD_LETTER_SCHEMA
    return pa.schema([field.with_metadata(None) for field in schema])


@dataclass(frozen=True)
class _Place:
    """Where a table's files are: all in its folder, or those that its Iceberg table names."""

    files: Any
    root: str
    table: str
    iceberg: IcebergTables | None

    @property
    def folder(self) -> str:
        """The table's."""
        return f"{self.root}/{self.table}"

    def source(self) -> str | list[str]:
        """As pyarrow takes it. Raises FileNotFoundError where there is nothing yet."""
        if self.iceberg is None:
            return self.folder
        found = sorted(f"{self.root}/{key}" for key in self.iceberg.current(self.table))
        if not found:
            raise FileNotFoundError(self.folder)
        return found


def _open(place: _Place, schema: pa.Schema, day: str) -> Any:
    folder = place.folder
    partitions = pa.schema([(INPUT_SOURCE, pa.string()), (day, pa.date32())])
    whole = pa.schema([*schema, *partitions])
    try:
        source = place.source()
    except FileNotFoundError:
        return ds.dataset(whole.empty_table())
    try:
        return ds.dataset(
            source,
            schema=whole,
            format="parquet",
            filesystem=place.files,
            partition_base_dir=folder,
            partitioning=ds.partitioning(partitions, flavor="hive"),
            ignore_prefixes=list(_HIDDEN),
        )
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, FileNotFoundError) and not place.iceberg:
            return ds.dataset(whole.empty_table())
        raise SinkError(f"{folder} cannot be read: {' '.join(str(error).split())[:300]}") from error


def _file_system(root: str, options: StorageOptions) -> tuple[Any, str]:
    if not is_s3(root):
        return pafs.LocalFileSystem(), str(Path(root.removeprefix("file://")).absolute())
    return _s3(options), root.partition("://")[2].rstrip("/")


def _s3(options: StorageOptions) -> Any:
    """The same credentials as everywhere else: boto3's, taken once; a query that outlives them fails."""
    import boto3  # noqa: PLC0415 - 0.3 s, for S3 only
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - see above

    if options.requester_pays:
        raise ConfigError("lake.s3.requester_pays: DuckDB cannot query such a bucket here; use --engine athena")
    try:
        session = boto3.session.Session(region_name=options.region or None)
        credentials = session.get_credentials()
    except BotoCoreError as error:
        raise ConfigError(f"S3 cannot be reached: {error}") from error
    if credentials is None:
        raise ConfigError("there are no AWS credentials; set AWS_PROFILE, or the variables of the AWS command line")
    frozen = credentials.get_frozen_credentials()
    more: dict[str, Any] = {}
    if options.endpoint_url:
        scheme, _, host = options.endpoint_url.partition("://")
        # The bucket goes into the path, as boto3 has it with an endpoint of one's own, whatever path_style says.
        more = {"endpoint_override": host.rstrip("/"), "scheme": scheme}
    return pafs.S3FileSystem(
        access_key=frozen.access_key,
        secret_key=frozen.secret_key,
        session_token=frozen.token,
        region=session.region_name or "us-east-1",
        **more,
    )
