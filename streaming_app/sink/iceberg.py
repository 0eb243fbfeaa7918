"""The lake's tables as Apache Iceberg tables (v2): the sink's own files, and one table commit for each batch.

Files are written, staged, entered into the ledger and published as for plain Parquet; then the batch's files become part of the
table in one Iceberg commit, so a reader of the table sees all of a batch's clean rows or none. The table is partitioned by
the day of its time and by `input_source`, hidden from queries: their values come with the files' entries, not from the files.

Guarantee: a batch is in the table once. Its number stands in the snapshot's summary and, for the checkpoint it belongs to, in
the table's properties, which change in the same commit; a batch that is there already is left out. That holds when snapshots
expire and when two services commit at once: a commit that lost against another one is begun anew, from that question on.

Needs pyiceberg (`pip install qsr-ingest[iceberg]`), exactly the version in setup.cfg (iceberg_change.py says why).
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from streaming_app.errors import ConfigError, SinkError
from streaming_app.journal.ledger import LedgerFile
from streaming_app.schema import CLEAN, DEAD_LETTER, INGESTED_AT, INPUT_SOURCE, Dataset
from streaming_app.sink.iceberg_change import (
    Change,
    NewFile,
    deletes_of,
    entries_of,
    expirable,
    kept_snapshots,
    needed_by,
)
from streaming_app.sink.layout import DEAD_LETTER_SCHEMA, clean_schema
from streaming_app.sink.options import SinkOptions
from streaming_app.storage import Storage, StorageOptions, is_s3, open_storage

_LOST: Final = 20  # commits in a row, against other ones
_FAILURES: Final = 5  # of the catalog or the storage, in one commit
_WAIT: Final = 2.0  # seconds at most between two attempts
_BATCH: Final = "the batch's files are published, and the commit is made up for when the source starts again"
_AGAIN: Final = "run it again: it goes on where it was"
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
class Mark:
    """Which batch of which checkpoint a commit is; the greatest one of a checkpoint is kept in the table."""

    checkpoint: str
    batch_id: int
    source: str

    @property
    def summary(self) -> dict[str, str]:
        """For the snapshot."""
        return {"qsr.source": self.source, "qsr.batch": str(self.batch_id)}


@dataclass(frozen=True)
class Needed:
    """Keys (below the lake's root) of the files and of the metadata that some snapshots of a table need."""

    files: frozenset[str]
    metadata: frozenset[str]


class IcebergTables:
    """Both tables of one lake. `settings` are the configuration's (`IcebergConfig.to_options`)."""

    def __init__(self, settings: Mapping[str, str], lake: str, dataset: Dataset, storage: StorageOptions) -> None:
        self._settings, self._storage, self._dataset = settings, storage, dataset
        self._root = _address(lake)
        self._catalog: Any = None
        self._current: dict[str, tuple[str, frozenset[str]]] = {}

    def commit(self, files: Mapping[str, Sequence[NewFile]], mark: Mark) -> None:
        """Make a batch's files by table part of the tables, once. Raises ConfigError, SinkError."""
        for name in (CLEAN, DEAD_LETTER):
            if files.get(name):
                self._once(name, mark, lambda change, name=name: change.append(files[name]))  # type: ignore[misc]

    def add(self, files: Mapping[str, Sequence[NewFile]], summary: Mapping[str, str]) -> int:
        """Make files part of the tables that are not yet, in one commit for each; returns how many. Reads the manifests."""
        return sum(self._add(name, files[name], summary) for name in (CLEAN, DEAD_LETTER) if files.get(name))

    def replace(
        self,
        name: str,
        old: Sequence[NewFile],
        new: Sequence[NewFile],
        summary: Mapping[str, str],
        *,
        same: bool = True,
    ) -> bool:
        """Put files in other files' place, in one commit; True when they are there then, also where they were before.

        False when the table names neither these nor those: it has gone on since. `same`: they hold the same rows, and the commit
        says so. The old files stay where they are, as readers of earlier snapshots still need them. Raises SinkError, and
        changes nothing, where the table names some of the files only, or where an engine has deleted single rows.
        """
        stands = False

        def change(change: Change) -> None:
            nonlocal stands
            gone, there = change.entries(old), change.entries(new)
            stands = bool(gone) or len(there) == len(new)
            if gone and (len(gone) < len(old) or there):
                raise SinkError(f"{self._title(name)} holds some of the files to replace and not others; run audit")
            if gone:
                change.replace(gone, new, same=same)

        self._transact(name, summary, change, _AGAIN)
        return stands

    def current(self, name: str) -> frozenset[str]:
        """Keys (below the lake's root) of the files that readers of a table see now. Changes nothing; SinkError.

        Asked again, it reads the manifests only where the table has changed.
        """
        for version in self._asked(name, lambda table: [table.metadata_location]):
            if self._current.get(name, ("",))[0] != version:
                found = self._asked(name, lambda table: entries_of(table, table.current_snapshot()))
                keys = self._below(entry.file_path for entry in found)
                if len(keys) < len(found):
                    raise SinkError(
                        f"{self._title(name)} has {len(found) - len(keys)} files outside {self._root}, which an engine wrote; only"
                        " engines can read it whole"
                    )
                self._current[name] = (version, keys)
            return self._current[name][1]
        return frozenset()

    def is_empty(self, name: str) -> bool:
        """Whether a table is not there, or never had a commit. SinkError."""
        return not self._asked(name, lambda table: table.metadata.snapshots)

    def deletes_rows(self, name: str) -> bool:
        """Whether an engine has taken single rows out of a table's files, which only readers of the table know. SinkError."""
        return bool(self._asked(name, deletes_of))

    def needed(self, name: str, expiring: float | None = None) -> Needed:
        """What all snapshots of a table need, or those that would be left after `expire` at that moment. SinkError."""
        found = self._asked(name, lambda table: [needed_by(table, kept_snapshots(table, expiring))])
        return Needed(*(self._below(paths) for paths in found[0])) if found else Needed(frozenset(), frozenset())

    def metadata_folder(self, name: str) -> str:
        """Where a table's metadata is, below the lake's root; empty without a table, or where that is elsewhere. SinkError."""
        found = self._below(self._asked(name, lambda table: [table.metadata_location]))
        return next(iter(found)).rpartition("/")[0] if found else ""

    def expire(self, older_than: float, *, dry_run: bool = False) -> int:
        """Forget snapshots that readers have not been given since a moment (seconds since 1970); returns how many.

        What was current at that moment stays, so a query that began since finds its files, and whoever asks for the table as
        of any later time; so does what a branch or a tag names.
        """
        return sum(self._expire(name, older_than, dry_run=dry_run) for name in (CLEAN, DEAD_LETTER))

    def _expire(self, name: str, older_than: float, *, dry_run: bool) -> int:
        gone = self._asked(name, lambda table: expirable(table, older_than))

        def change(change: Change) -> None:
            gone[:] = expirable(change.table, older_than)
            if gone:
                change.expire(gone)

        if gone and not dry_run:
            self._transact(name, {}, change, _AGAIN)
        return len(gone)

    def _asked(self, name: str, question: Callable[[Any], Iterable[Any]]) -> list[Any]:
        """What a table says; nothing where there is none yet."""
        from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError  # noqa: PLC0415

        for attempt in range(1, _FAILURES + 1):
            try:
                return list(question(self._open().load_table((self._settings["namespace"], name))))
            except (NoSuchTableError, NoSuchNamespaceError):
                break
            except (ConfigError, SinkError):
                raise
            except Exception as error:
                if attempt == _FAILURES:
                    raise SinkError(f"{self._title(name)} cannot be read: {type(error).__name__}: {error}") from error
            _pause(attempt)
        return []

    def _below(self, paths: Iterable[str]) -> frozenset[str]:
        """Keys of what lies in the lake."""
        root = f"{self._root}/"
        return frozenset(path.removeprefix(root) for path in paths if path.startswith(root))

    def _once(self, name: str, mark: Mark, work: Callable[[Change], None]) -> None:
        key = _THROUGH + mark.checkpoint

        def change(change: Change) -> None:
            if int(change.table.properties.get(key, -1)) < mark.batch_id:
                work(change)
                change.set(key, str(mark.batch_id))

        self._transact(name, mark.summary, change, _BATCH)

    def _add(self, name: str, files: Sequence[NewFile], summary: Mapping[str, str]) -> int:
        new: list[NewFile] = []

        def change(change: Change) -> None:
            known = {entry.file_path for entry in change.entries(files)}
            new[:] = [file for file in files if change.path(file) not in known]
            if new:
                change.append(new)

        self._transact(name, summary, change, _AGAIN)
        return len(new)

    def _transact(self, name: str, summary: Mapping[str, str], work: Callable[[Change], None], advice: str) -> None:
        """One commit; begun anew, from the table as it is then, when it lost against another one or its fate is unknown."""
        from pyiceberg.exceptions import CommitFailedException  # noqa: PLC0415

        failures, lost = 0, 0
        while True:
            try:
                change = Change(self._load(name), self._root, dict(summary))
                work(change)
                change.commit()
            except (ConfigError, SinkError):
                raise
            except CommitFailedException as error:
                lost += 1
                if lost >= _LOST:
                    raise self._error(name, error, advice) from error
            except Exception as error:
                failures += 1
                if failures >= _FAILURES:
                    raise self._error(name, error, advice) from error
            else:
                return
            _pause(lost + failures)

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
            hadoop = self._settings["type"] == "hadoop"  # there a table's place follows from its name
            place = None if hadoop else f"{self._root}/iceberg/{name}"
            begun = catalog.create_table_transaction(identifier, self._schema(name), place, properties=_PROPERTIES)
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
            hadoop = self._settings["type"] == "hadoop"
            self._catalog = self._hadoop() if hadoop else load_catalog("qsr", **self._properties())
        return self._catalog

    def _hadoop(self) -> Any:
        from streaming_app.sink.iceberg_hadoop import HadoopCatalog  # noqa: PLC0415 - pyiceberg

        warehouse = self._settings.get("warehouse") or f"{self._root}/iceberg"
        storage = open_storage(warehouse, self._storage)
        return HadoopCatalog("qsr", _address(warehouse), storage, **self._properties())

    def _properties(self) -> dict[str, Any]:
        settings, storage = self._settings, self._storage
        found = {
            "type": settings["type"],  # of ours pyiceberg knows nothing
            "uri": settings.get("uri", "") if settings["type"] == "rest" else "",
            "warehouse": settings.get("warehouse", "") if settings["type"] == "rest" else "",
            "glue.region": settings.get("region", ""),
            "glue.endpoint": settings.get("endpoint_url", ""),
            # A request that boto3 sent again after its answer got lost would be refused for its own success, and pyiceberg
            # would remove the snapshot's files, which are in use by then (seen on 0.12.0). We ask the table instead.
            "glue.max-retries": 0,
            "s3.region": storage.region,
            "s3.endpoint": storage.endpoint_url,
            **self._own_io(),
        }
        return {key: value for key, value in found.items() if value != ""}

    def _own_io(self) -> dict[str, str]:
        """Pyiceberg's own FileIO knows neither a KMS key nor who pays (0.12.0), and keeps credentials that a REST catalog gives."""
        if not is_s3(self._root) or not (self._storage.sse_kms_key_id or self._storage.requester_pays):
            return {}
        from streaming_app.sink.iceberg_io import FILE_IO  # noqa: PLC0415 - pyiceberg

        return {"py-io-impl": FILE_IO, **self._storage.to_options()}

    def _title(self, name: str) -> str:
        return f"Iceberg table {self._settings['namespace']}.{name}"

    def _error(self, name: str, error: Exception, advice: str) -> SinkError:
        return SinkError(f"{self._title(name)}: {type(error).__name__}: {error}; {advice}")


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


def _pause(attempts: int) -> None:
    time.sleep(random.uniform(0, min(_WAIT, 0.05 * 2**attempts)))


def _address(lake: str) -> str:
    """As Iceberg's readers write it."""
    if is_s3(lake):
        return lake.rstrip("/").replace("s3a://", "s3://", 1)
    return Path(lake.removeprefix("file://")).absolute().as_uri()
