"""The AWS Glue Data Catalog: database, tables and partitions, by the calls that Glue documents.

BatchCreatePartition takes 100 partitions at most; one UpdatePartition call moves a partition's location, and a reader sees the
old one or the new one, never both. Glue keeps no order between two writers: sync from one place at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any, Final

import boto3
from botocore.config import Config as BotoConfig
from botocore.exceptions import BotoCoreError, ClientError

from streaming_app.catalog.tables import TABLES, Mode, Partition, Table, properties, table_of
from streaming_app.config import Config
from streaming_app.config.models import CatalogConfig
from streaming_app.errors import ConfigError, IngestError, SinkError
from streaming_app.schema import Dataset

_BATCH: Final = 100  # partitions of one BatchCreatePartition call, Glue's limit
_ATTEMPTS: Final = 5
_CONNECT_SECONDS: Final = 5
_READ_SECONDS: Final = 20
_COMMENT: Final = 255  # characters, Glue's limit
_ABSENT: Final = "EntityNotFoundException"
_EXISTS: Final = "AlreadyExistsException"
_DENIED: Final = frozenset({"AccessDeniedException", "AccessDenied"})
_FORMAT: Final[dict[str, Any]] = {
    "InputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
    "OutputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
    "SerdeInfo": {
        "SerializationLibrary": "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
        "Parameters": {"serialization.format": "1"},
    },
}
_TABLE_INPUT: Final = (  # what UpdateTable takes of what GetTable gives
    "Name",
    "Description",
    "Owner",
    "Retention",
    "StorageDescriptor",
    "PartitionKeys",
    "ViewOriginalText",
    "ViewExpandedText",
    "TableType",
    "Parameters",
    "TargetTable",
)


def open_catalog(config: Config, dataset: Dataset, client: Any = None) -> GlueCatalog | None:
    """The catalog of the configuration, None where there is none (`catalog.type: none`)."""
    if config.catalog.type == "none":
        return None
    tables = {name: table_of(name, dataset, config.lake.root) for name in TABLES}
    return GlueCatalog(config.catalog, tables, client)


class GlueCatalog:
    """One database with the lake's tables. Guarantee: every call may be repeated; none removes anything.

    Raises ConfigError for what somebody has to mend and SinkError for a request that did not come through.
    """

    def __init__(self, config: CatalogConfig, tables: Mapping[str, Table], client: Any = None) -> None:
        self._config, self.tables = config, tables
        self.database, self.mode = config.database, Mode(config.partitions)
        self._client = client

    @property
    def _glue(self) -> Any:
        if self._client is None:
            self._client = _connect(self._config)
        return self._client

    def create_database(self) -> bool:
        """Make the database unless it is there; True when this call made it."""
        with _explained(self.database):
            try:
                self._glue.create_database(DatabaseInput={"Name": self.database})
            except ClientError as error:
                if _code(error) == _EXISTS:
                    return False
                raise
        return True

    def has_database(self) -> bool:
        """Whether the database is there."""
        return self._found(lambda: self._glue.get_database(Name=self.database)) is not None

    def table(self, name: str) -> dict[str, Any] | None:
        """The table as Glue has it, None when there is none."""
        found = self._found(lambda: self._glue.get_table(DatabaseName=self.database, Name=name))
        return found["Table"] if found else None

    def create_table(self, name: str) -> None:
        """Make a table as the dataset and the configuration want it; one that is there is left as it is."""
        with _explained(f"{self.database}.{name}"):
            try:
                self._glue.create_table(DatabaseName=self.database, TableInput=self._table_input(self.tables[name]))
            except ClientError as error:
                if _code(error) != _EXISTS:
                    raise

    def alter_table(
        self, name: str, columns: Sequence[tuple[str, str, str]] = (), settings: Mapping[str, str] | None = None
    ) -> None:
        """Add columns at the table's end, and set properties; all else stays as Glue has it."""
        found = self._required(name)
        changed = {key: found[key] for key in _TABLE_INPUT if key in found}
        described = dict(changed["StorageDescriptor"])
        described["Columns"] = [*described["Columns"], *map(_column, columns)]
        changed["StorageDescriptor"] = described
        changed["Parameters"] = {**changed.get("Parameters", {}), **(settings or {})}
        with _explained(f"{self.database}.{name}"):
            self._glue.update_table(DatabaseName=self.database, TableInput=changed)

    def partitions(self, name: str) -> dict[Partition, str]:
        """Every registered partition that the sink could have written, with its location (no slash at its end)."""
        pages = self._glue.get_paginator("get_partitions")
        found: dict[Partition, str] = {}
        with _explained(f"{self.database}.{name}"):
            for page in pages.paginate(DatabaseName=self.database, TableName=name, ExcludeColumnSchema=True):
                for item in page["Partitions"]:
                    partition = Partition.of_values(name, item["Values"])
                    if partition:
                        found[partition] = str(item["StorageDescriptor"]["Location"]).rstrip("/")
        return found

    def location(self, partition: Partition) -> str | None:
        """Where readers look for a partition's files (no slash at its end), None when it is not registered."""
        found = self._partition(partition)
        return str(found["StorageDescriptor"]["Location"]).rstrip("/") if found else None

    def register(self, partitions: Iterable[Partition]) -> list[Partition]:
        """Make partitions known at the folder the sink writes to; returns those that were not yet.

        Idempotent: one that is registered stays as it is, its location too. In mode projection there is nothing to do.
        """
        if self.mode is Mode.PROJECTION:
            return []
        made: list[Partition] = []
        for name, group in groupby(sorted(set(partitions)), lambda partition: partition.table):
            like = self._required(name)["StorageDescriptor"]
            some = list(group)
            for begin in range(0, len(some), _BATCH):
                made += self._create(name, some[begin : begin + _BATCH], like)
        return made

    def switch(self, partition: Partition, location: str) -> None:
        """Point a partition to another folder, by one UpdatePartition call: a reader sees the old files or the new ones.

        One that is not registered is registered there. Raises ConfigError in mode projection, where readers never ask.
        """
        if self.mode is Mode.PROJECTION:
            raise ConfigError("catalog.partitions: projection computes where partitions are; only registered ones move")
        found = self._partition(partition)
        if found is None:
            like = {**self._required(partition.table)["StorageDescriptor"], "Location": location}
            if not self._create(partition.table, [partition], like, location):
                raise SinkError(f"{self._name(partition)} was registered meanwhile; run it again")
            return
        kept = {"Values": partition.values, "Parameters": found.get("Parameters", {})}
        described = {**found["StorageDescriptor"], "Location": location}
        with _explained(self._name(partition)):
            self._glue.update_partition(
                DatabaseName=self.database,
                TableName=partition.table,
                PartitionValueList=partition.values,
                PartitionInput={**kept, "StorageDescriptor": described},
            )

    def _create(
        self, name: str, partitions: Sequence[Partition], like: Mapping[str, Any], location: str = ""
    ) -> list[Partition]:
        """One BatchCreatePartition call. Columns are the table's own in Glue, so that their order agrees."""
        table = self.tables[name]
        inputs = [
            {"Values": one.values, "StorageDescriptor": {**like, "Location": location or table.folder(one)}}
            for one in partitions
        ]
        with _explained(f"{self.database}.{name}"):
            answer = self._glue.batch_create_partition(
                DatabaseName=self.database, TableName=name, PartitionInputList=inputs
            )
        refused = {tuple(item["PartitionValues"]): item["ErrorDetail"] for item in answer.get("Errors", [])}
        for values, detail in refused.items():
            if detail.get("ErrorCode") != _EXISTS:
                raise SinkError(
                    f"{self.database}.{name} {'/'.join(values)} could not be registered: {detail.get('ErrorMessage')}"
                    f" ({detail.get('ErrorCode')})"
                )
        return [one for one in partitions if tuple(one.values) not in refused]

    def _partition(self, partition: Partition) -> dict[str, Any] | None:
        found = self._found(
            lambda: self._glue.get_partition(
                DatabaseName=self.database, TableName=partition.table, PartitionValues=partition.values
            )
        )
        return found["Partition"] if found else None

    def _required(self, name: str) -> dict[str, Any]:
        found = self.table(name)
        if found is None:
            raise ConfigError(
                f"Glue has no table {self.database}.{name}; make it by `python -m batch_app catalog sync`"
            )
        return found

    def _name(self, partition: Partition) -> str:
        return f"{self.database}.{partition.table} {'/'.join(partition.values)}"

    def _table_input(self, table: Table) -> dict[str, Any]:
        return {
            "Name": table.name,
            "TableType": "EXTERNAL_TABLE",
            "Parameters": {"EXTERNAL": "TRUE", **self.settings(table)},
            "PartitionKeys": [_column(column) for column in table.partitions],
            "StorageDescriptor": {
                **_FORMAT,
                "Columns": [_column(column) for column in table.columns],
                "Location": table.location,
            },
        }

    def settings(self, table: Table) -> dict[str, str]:
        """The properties that the configuration wants."""
        return properties(table, self.mode, self._config.since)

    def _found(self, call: Any) -> dict[str, Any] | None:
        with _explained(self.database):
            try:
                return dict(call())
            except ClientError as error:
                if _code(error) == _ABSENT:
                    return None
                raise


def _column(column: tuple[str, str, str]) -> dict[str, str]:
    name, kind, comment = column
    text = " ".join(comment.split())[:_COMMENT]
    return {"Name": name, "Type": kind, **({"Comment": text} if text else {})}


def _connect(config: CatalogConfig) -> Any:
    settings = BotoConfig(
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
    )
    try:
        return boto3.session.Session().client(
            "glue", region_name=config.region or None, endpoint_url=config.endpoint_url or None, config=settings
        )
    except (BotoCoreError, ValueError) as error:
        raise ConfigError(f"Glue cannot be reached: {error}; check catalog.region and catalog.endpoint_url") from error


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise _explanation(error, what) from error


def _explanation(error: BotoCoreError | ClientError, what: str) -> IngestError:
    code = _code(error)
    if code == _ABSENT:
        return ConfigError(f"Glue has no {what}; make it by `python -m batch_app catalog sync` ({error})")
    if code in _DENIED:
        return SinkError(
            f"Glue denies access to {what}; the role needs glue:GetDatabase, GetTable, GetPartition, GetPartitions,"
            f" BatchCreatePartition and UpdatePartition, for `catalog sync` CreateDatabase, CreateTable and UpdateTable, too: {error}"
        )
    return SinkError(f"Glue, {what}: {error}")


def _code(error: BaseException) -> str:
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""
