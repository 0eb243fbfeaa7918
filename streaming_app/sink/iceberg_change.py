"""One change of an Iceberg table: which files it adds and which it takes out, made into one commit by pyiceberg.

Entries are made from files' footers by functions of pyiceberg.io.pyarrow that are open, but no documented interface; so is what
marks a compaction's snapshot as one that changes no rows. Hence exactly the version in setup.cfg.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import pyarrow.parquet as pq

from streaming_app.errors import SinkError

_EPOCH: Final = date(1970, 1, 1)
_THREADS: Final = 8


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


class Change:
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
            with ThreadPoolExecutor(_THREADS, "iceberg") as pool:
                entries = list(pool.map(self._data_file, files))
            for entry in entries:
                snapshot.append_data_file(entry)
        self._changed = True

    def replace(self, gone: Iterable[Any], new: Iterable[NewFile], *, same: bool) -> None:
        """Remove entries and add files; `same`: with the same rows. Raises SinkError where an engine has deleted single rows."""
        if any(deletes_of(self.table)):
            raise SinkError(
                "an engine has deleted or updated rows of the table by delete files, which name rows of the old files; first have"
                " Spark apply them (docs/iceberg.md, delete files)"
            )
        update = self._rewrite() if same else self._transaction.update_snapshot(self._summary).overwrite()
        with update as snapshot:
            for entry in gone:
                snapshot.delete_data_file(entry)
            for file in new:
                snapshot.append_data_file(self._data_file(file))
        self._changed = True

    def _rewrite(self) -> Any:
        """An overwrite that says of itself `replace`: readers of what was added since pass over it, instead of failing."""
        from pyiceberg.table.snapshots import Operation  # noqa: PLC0415 - see streaming_app/sink/iceberg.py
        from pyiceberg.table.update.snapshot import _OverwriteFiles  # noqa: PLC0415 - see above

        class Rewrite(_OverwriteFiles):
            def _summary(self, *arguments: Any) -> Any:
                summary = super()._summary(*arguments)  # which knows no operation but append, overwrite and delete
                return summary.model_copy(update={"operation": Operation.REPLACE})

        return Rewrite(Operation.OVERWRITE, self._transaction, self.table.io, snapshot_properties=self._summary)

    def expire(self, snapshots: list[int]) -> None:
        """Forget snapshots that no branch and no tag names."""
        from pyiceberg.table.update.snapshot import ExpireSnapshots  # noqa: PLC0415 - see above

        with ExpireSnapshots(self._transaction) as update:
            update.by_ids(snapshots)
        self._changed = True

    def set(self, key: str, value: str) -> None:
        """Set a property of the table."""
        self._transaction.set_properties({key: value})

    def entries(self, files: Sequence[NewFile]) -> list[Any]:
        """The entries that the current snapshot has of some files."""
        wanted = {self.path(file) for file in files}
        return [entry for entry in entries_of(self.table, self.table.current_snapshot()) if entry.file_path in wanted]

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


def entries_of(table: Any, snapshot: Any) -> Iterator[Any]:
    """The entries of a snapshot's files."""
    for manifest in snapshot.manifests(table.io) if snapshot else ():
        yield from (entry.data_file for entry in manifest.fetch_manifest_entry(table.io))


def deletes_of(table: Any) -> Iterator[Any]:
    """The current snapshot's manifests of delete files, by which engines take out single rows."""
    from pyiceberg.manifest import ManifestContent  # noqa: PLC0415 - see streaming_app/sink/iceberg.py

    snapshot = table.current_snapshot()
    for manifest in snapshot.manifests(table.io) if snapshot else ():
        live = (manifest.added_files_count or 0) + (manifest.existing_files_count or 0)
        if manifest.content == ManifestContent.DELETES and live:
            yield manifest


def expirable(table: Any, older_than: float) -> list[int]:
    """Snapshots that were not current at a moment (seconds) nor since, and that no branch and no tag names."""
    metadata, moment = table.metadata, older_than * 1000
    before = [entry.snapshot_id for entry in metadata.snapshot_log if entry.timestamp_ms < moment]
    kept = {*before[-1:], *(entry.snapshot_id for entry in metadata.snapshot_log if entry.timestamp_ms >= moment)}
    kept |= {reference.snapshot_id for reference in metadata.refs.values()}
    old = (each.snapshot_id for each in metadata.snapshots if each.timestamp_ms < moment)
    return [number for number in old if number not in kept]


def kept_snapshots(table: Any, expiring: float | None) -> list[Any]:
    """All snapshots but those that are `expirable` at a moment; None is none."""
    gone = set() if expiring is None else set(expirable(table, expiring))
    return [snapshot for snapshot in table.metadata.snapshots if snapshot.snapshot_id not in gone]


def needed_by(table: Any, snapshots: Sequence[Any]) -> tuple[set[str], set[str]]:
    """Addresses of the files, and of all metadata, that a table with these snapshots needs; reads each manifest once."""
    metadata = table.metadata
    needed = {table.metadata_location, *(entry.metadata_file for entry in metadata.metadata_log)}
    needed |= {file.statistics_path for file in (*metadata.statistics, *metadata.partition_statistics)}
    with ThreadPoolExecutor(_THREADS, "iceberg") as pool:
        lists = pool.map(lambda snapshot: snapshot.manifests(table.io), snapshots)
        manifests = {manifest.manifest_path: manifest for found in lists for manifest in found}
        entries = pool.map(lambda manifest: manifest.fetch_manifest_entry(table.io), manifests.values())
        files = {entry.data_file.file_path for found in entries for entry in found}
    return files, needed | manifests.keys() | {snapshot.manifest_list for snapshot in snapshots}
