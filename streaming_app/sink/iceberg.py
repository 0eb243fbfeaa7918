"""The lake's tables as Apache Iceberg tables (v2): the sink's own files, and one table commit for each batch.

Files are written, staged, entered into the ledger and published as for plain Parquet; then the batch's files become part of the
table in one Iceberg commit, so a reader of the table sees all of a batch's clean rows or none. The table is partitioned by
the day of its time and by `input_source`, hidden from queries: their values come with the files' entries, not from the files.

Guarantee: a batch is in the table once. Its number stands in the snapshot's summary and, for the checkpoint it belongs to, in
the table's properties, which change in the same commit; a batch that is there already is left out. That holds when snapshots
expire and when two services commit at once: a commit that lost against another one is begun anew, from that question on.

Needs pyiceberg (`pip install qsr-ingest[iceberg]`), exactly the version in setup.cfg: entries are made from files' footers by
functions of pyiceberg.io.pyarrow that are open, but no documented interface.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from streaming_app.errors import ConfigError, SinkError
from streaming_app.journal.ledger import LedgerFile
from streaming_app.schema import CLEAN, DEAD_LETTER, INGESTED_AT, INPUT_SOURCE, Dataset
from streaming_app.sink.layout import DEAD_LETTER_SCHEMA, clean_schema
from streaming_app.sink.options import SinkOptions
from streaming_app.storage import Storage, StorageOptions, is_s3

_EPOCH: Final = date(1970, 1, 1)
_LOST: Final = 20  # commits in a row, against other ones
_FAILURES: Final = 5  # of the catalog or the storage, in one commit
_WAIT: Final = 2.0  # seconds at most between two attempts
_THROUGH: Final = "qsr.through."
_PROPERTIES: Final = {
    "format-version": "2",  # Athena reads no other (facts.md)
    "write.parquet.compression-codec": "zstd",
    "commit.manifest-merge.enabled": "true",
    "commit.retry.num-retries": "0",  # pyiceberg's own retry would not ask again whether the batch is there
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}


@dataclass(frozen=True)
class NewFile:
    """A published file: key below the lake's root, `column=value` of its day, and how its rows came in."""

    key: str
    partition: str
    input_source: str

    @property
    def day(self) -> date:
        """The day of all of its rows."""
        return date.fromisoformat(self.partition.partition("=")[2])


@dataclass(frozen=True)
class Mark:
    """Which batch of which checkpoint a commit is; the greatest one of a checkpoint is kept in the table."""

    checkpoint: str
    batch_id: int
    source: str

    @property
    def summary(self) -> dict[str, str]:
        """For the snapshot."""
        return {"qsr.source": self.source, "qsr.batch": str(self.batch_id)}


class IcebergTables:
    """Both tables of one lake. `settings` are the configuration's (`IcebergConfig.to_options`)."""

    def __init__(self, settings: Mapping[str, str], lake: str, dataset: Dataset, storage: StorageOptions) -> None:
        self._settings, self._storage, self._dataset = settings, storage, dataset
        self._root = _address(lake)
        self._catalog: Any = None

    def commit(self, files: Mapping[str, Sequence[NewFile]], mark: Mark) -> None:
        """Make a batch's files by table part of the tables, once. Raises ConfigError, SinkError."""
        for name in (CLEAN, DEAD_LETTER):
            if files.get(name):
                self._once(name, mark, lambda change, name=name: change.append(files[name]))  # type: ignore[misc]

    def add(self, files: Mapping[str, Sequence[NewFile]], summary: Mapping[str, str]) -> int:
        """Make files part of the tables that are not yet, for writers without batches; returns how many. Reads the manifests."""
        return sum(self._add(name, files[name], summary) for name in (CLEAN, DEAD_LETTER) if files.get(name))

    def replace(self, name: str, old: Sequence[NewFile], new: Sequence[NewFile], summary: Mapping[str, str]) -> None:
        """Put files in other files' place, in one commit; nothing where that was done. Raises SinkError.

        The old files stay where they are: readers of earlier snapshots still need them.
        """

        def change(change: _Change) -> None:
            gone = change.entries(old)
            if len(gone) == len(old):
                change.replace(gone, new)
            elif gone or len(change.entries(new)) != len(new):
                raise SinkError(f"{self._title(name)} holds some of the files to replace and not others; run audit")

        self._transact(name, summary, change)

    def referenced(self, name: str) -> set[str]:
        """Keys (below the lake's root) of every file that any snapshot of a table needs."""
        table = self._load(name)
        found = set()
        for snapshot in table.metadata.snapshots:
            for manifest in snapshot.manifests(table.io):
                found |= {entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io)}
        return {path.removeprefix(f"{self._root}/") for path in found}

    def expire(self, older_than: float) -> int:
        """Forget snapshots from before a moment (seconds since 1970), but never the newest; returns how many."""
        gone = 0
        for name in (CLEAN, DEAD_LETTER):
            table = self._load(name)
            current = table.metadata.current_snapshot_id
            old = [
                each.snapshot_id
                for each in table.metadata.snapshots
                if each.timestamp_ms < older_than * 1000 and each.snapshot_id != current
            ]
            if old:
                table.maintenance.expire_snapshots().by_ids(old).commit()
                gone += len(old)
        return gone

    def _once(self, name: str, mark: Mark, work: Callable[[_Change], None]) -> None:
        key = _THROUGH + mark.checkpoint

        def change(change: _Change) -> None:
            if int(change.table.properties.get(key, -1)) < mark.batch_id:
                work(change)
                change.set(key, str(mark.batch_id))

        self._transact(name, mark.summary, change)

    def _add(self, name: str, files: Sequence[NewFile], summary: Mapping[str, str]) -> int:
        new: list[NewFile] = []

        def change(change: _Change) -> None:
            known = {entry.file_path for entry in change.entries(files)}
            new[:] = [file for file in files if change.path(file) not in known]
            if new:
                change.append(new)

        self._transact(name, summary, change)
        return len(new)

    def _transact(self, name: str, summary: Mapping[str, str], work: Callable[[_Change], None]) -> None:
        """One commit; begun anew, from the table as it is then, when it lost against another one or its fate is unknown."""
        from pyiceberg.exceptions import CommitFailedException  # noqa: PLC0415

        failures, lost = 0, 0
        while True:
            try:
                change = _Change(self._load(name), self._root, dict(summary))
                work(change)
                change.commit()
            except (ConfigError, SinkError):
                raise
            except CommitFailedException as error:
                lost += 1
                if lost >= _LOST:
                    raise self._error(name, error) from error
            except Exception as error:
                failures += 1
                if failures >= _FAILURES:
                    raise self._error(name, error) from error
            else:
                return
            time.sleep(random.uniform(0, min(_WAIT, 0.05 * 2 ** (lost + failures))))

    def _load(self, name: str) -> Any:
        """The table as it is now, made or given the dataset's new columns where that is needed."""
        from pyiceberg.exceptions import NoSuchTableError  # noqa: PLC0415

        try:
            table = self._open().load_table((self._settings["namespace"], name))
        except NoSuchTableError:
            table = self._create(name)
        wanted = self._schema(name)
        if set(wanted.names) - {field.name for field in table.schema().fields}:
            with table.update_schema() as update:
                update.union_by_name(wanted)
            table = table.refresh()
        return table

    def _create(self, name: str) -> Any:
        from pyiceberg.exceptions import TableAlreadyExistsError  # noqa: PLC0415
        from pyiceberg.transforms import DayTransform  # noqa: PLC0415

        catalog, identifier = self._open(), (self._settings["namespace"], name)
        catalog.create_namespace_if_not_exists(self._settings["namespace"])
        time_column = self._dataset.time_column if name == CLEAN else INGESTED_AT
        try:
            begun = catalog.create_table_transaction(
                identifier, self._schema(name), location=f"{self._root}/iceberg/{name}", properties=_PROPERTIES
            )
            with begun.update_spec() as spec:
                spec.add_field(time_column, DayTransform(), f"{time_column}_day")
                spec.add_identity(INPUT_SOURCE)
            mapping = begun.table_metadata.schema().name_mapping.model_dump_json()
            begun.set_properties({"schema.name-mapping.default": mapping})  # our files carry no field ids
            begun.commit_transaction()
        except TableAlreadyExistsError:  # the other source has just made it
            pass
        return catalog.load_table(identifier)

    def _schema(self, name: str) -> pa.Schema:
        files = clean_schema(self._dataset) if name == CLEAN else DEAD_LETTER_SCHEMA
        return files.append(pa.field(INPUT_SOURCE, pa.string()))

    def _open(self) -> Any:
        if self._catalog is None:
            try:
                from pyiceberg.catalog import load_catalog  # noqa: PLC0415 - takes a second, and only this sink needs it
            except ImportError:
                raise ConfigError("sink.format: iceberg needs pyiceberg: pip install 'qsr-ingest[iceberg]'") from None
            self._catalog = load_catalog("qsr", **self._properties())
        return self._catalog

    def _properties(self) -> dict[str, Any]:
        settings, storage = self._settings, self._storage
        found = {
            "type": settings["type"],
            "uri": settings.get("uri", "") if settings["type"] == "rest" else "",
            "warehouse": settings.get("warehouse", ""),
            "glue.region": settings.get("region", ""),
            "glue.endpoint": settings.get("endpoint_url", ""),
            # A request that boto3 sent again after its answer got lost would be refused for its own success, and pyiceberg
            # would remove the snapshot's files, which are in use by then (seen on 0.12.0). We ask the table instead.
            "glue.max-retries": 1,
            "s3.region": storage.region,
            "s3.endpoint": storage.endpoint_url,
        }
        return {key: value for key, value in found.items() if value}

    def _title(self, name: str) -> str:
        return f"Iceberg table {self._settings['namespace']}.{name}"

    def _error(self, name: str, error: Exception) -> SinkError:
        return SinkError(
            f"{self._title(name)}: {type(error).__name__}: {error}; the batch's files are published, and the commit is made up"
            " for when the source starts again"
        )


def open_tables(options: SinkOptions) -> IcebergTables | None:
    """The tables of a sink's lake, None where it writes plain Parquet."""
    if not options.iceberg:
        return None
    return IcebergTables(
        options.iceberg, options.lake, options.load_dataset(), StorageOptions.from_options(options.storage)
    )


def by_table(files: Iterable[LedgerFile], input_source: str) -> dict[str, list[NewFile]]:
    """A ledger entry's files, by table."""
    found: dict[str, list[NewFile]] = {}
    for file in files:
        found.setdefault(file.table, []).append(NewFile(file.staged.key, file.partition, input_source))
    return found


def checkpoint_id(checkpoint: Storage) -> str:
    """What tells a checkpoint from one that is made anew in its place: Spark's own id of it, else its address."""
    data = checkpoint.get("metadata")
    try:
        found = json.loads(data)["id"] if data else checkpoint.uri
    except (KeyError, TypeError, ValueError):
        found = checkpoint.uri
    return hashlib.sha256(str(found).encode()).hexdigest()[:16]


def _address(lake: str) -> str:
    """As Iceberg's readers write it."""
    if is_s3(lake):
        return lake.rstrip("/").replace("s3a://", "s3://", 1)
    return Path(lake.removeprefix("file://")).absolute().as_uri()


class _Change:
    """One transaction on a table under way."""

    def __init__(self, table: Any, root: str, summary: dict[str, str]) -> None:
        self.table, self._root, self._summary = table, root, summary
        self._transaction = table.transaction()
        self._changed = False

    def path(self, file: NewFile) -> str:
        """The file's address, as the table has it."""
        return f"{self._root}/{file.key}"

    def append(self, files: Iterable[NewFile]) -> None:
        """Add files."""
        with self._transaction.update_snapshot(self._summary).merge_append() as snapshot:
            for file in files:
                snapshot.append_data_file(self._data_file(file))
        self._changed = True

    def replace(self, gone: Iterable[Any], new: Iterable[NewFile]) -> None:
        """Remove entries and add files."""
        with self._transaction.update_snapshot(self._summary).overwrite() as snapshot:
            for entry in gone:
                snapshot.delete_data_file(entry)
            for file in new:
                snapshot.append_data_file(self._data_file(file))
        self._changed = True

    def set(self, key: str, value: str) -> None:
        """Set a property of the table."""
        self._transaction.set_properties({key: value})

    def entries(self, files: Sequence[NewFile]) -> list[Any]:
        """The entries that the current snapshot has of some files."""
        wanted = {self.path(file) for file in files}
        snapshot = self.table.current_snapshot()
        manifests = snapshot.manifests(self.table.io) if snapshot else []
        found = (entry.data_file for each in manifests for entry in each.fetch_manifest_entry(self.table.io))
        return [entry for entry in found if entry.file_path in wanted]

    def commit(self) -> None:
        """Commit what was changed, all at once."""
        if self._changed:
            self._transaction.commit_transaction()

    def _data_file(self, file: NewFile) -> Any:
        from pyiceberg.io import pyarrow as io  # noqa: PLC0415
        from pyiceberg.manifest import DataFile, DataFileContent, FileFormat  # noqa: PLC0415
        from pyiceberg.typedef import Record  # noqa: PLC0415

        metadata = self._transaction.table_metadata
        source = self.table.io.new_input(self.path(file))
        with source.open() as stream:
            footer = pq.read_metadata(stream)
        statistics = io.data_file_statistics_from_parquet_metadata(
            parquet_metadata=footer,
            stats_columns=io.compute_statistics_plan(metadata.schema(), metadata.properties),
            parquet_column_mapping=io.parquet_path_to_id_mapping(metadata.schema()),
        )
        return DataFile.from_args(
            content=DataFileContent.DATA,
            file_path=self.path(file),
            file_format=FileFormat.PARQUET,
            partition=Record((file.day - _EPOCH).days, file.input_source),
            file_size_in_bytes=len(source),
            sort_order_id=None,
            spec_id=metadata.default_spec_id,
            equality_ids=None,
            key_metadata=None,
            **statistics.to_serialized_dict(),
        )
