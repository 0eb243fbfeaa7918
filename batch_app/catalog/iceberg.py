"""`catalog sync` of an Iceberg lake: its tables are made, and an empty one gets the files of a lake that was plain Parquet before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from batch_app.compaction.book import CompactionBook
from batch_app.compaction.run import in_doubt
from batch_app.compaction.vacuum import owned
from batch_app.output import cell, console
from batch_app.tables import require_one_kind_of_reader
from streaming_app.catalog import Partition
from streaming_app.config import Loaded
from streaming_app.errors import ConfigError
from streaming_app.places import compactions_of, hold_lake_schema
from streaming_app.schema import CLEAN, DEAD_LETTER
from streaming_app.sink.iceberg import IcebergTables
from streaming_app.sink.iceberg_change import NewFile
from streaming_app.storage import open_storage

_SUMMARY: Final = {"qsr.source": "sync"}


@dataclass
class Adopted:
    """Files by table that became part of it, or would. `kept`: tables that have rows already, to which nothing is added."""

    dry_run: bool
    files: dict[str, int] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """A JSON object; the keys are the attributes."""
        return {"dry_run": self.dry_run, "files": self.files, "kept": self.kept}


def adopt(loaded: Loaded, tables: IcebergTables, *, dry_run: bool) -> Adopted:
    """Add every file that an entry of the books owns, in one commit for each empty table. Raises ConfigError, SinkError.

    Files of a batch that is not published are left to its recovery. A table with rows is not touched: what it lacks may
    have been taken out on purpose.
    """
    require_one_kind_of_reader(loaded)
    done = Adopted(dry_run)
    if not dry_run:
        hold_lake_schema(loaded)
    found = _files(loaded)
    for name in (CLEAN, DEAD_LETTER):
        if not tables.is_empty(name):
            done.kept.append(name)
            continue
        files = [file for file in found if file.key.startswith(f"{name}/")]
        done.files[name] = len(files) if dry_run else tables.add({name: files}, _SUMMARY)
    return done


def _files(loaded: Loaded) -> list[NewFile]:
    config = loaded.config
    options = config.lake.s3.storage_options()
    lake = open_storage(config.lake.root, options)
    book = CompactionBook(open_storage(compactions_of(config), options), lake)
    if book.unfinished():
        raise ConfigError(
            "a compaction was cut off: finish it first, by `compact` or `vacuum` with sink.format: parquet"
        )
    listed = {info.key for name in (CLEAN, DEAD_LETTER) for info in lake.list(name)}
    listed -= in_doubt(config, lake)
    return [_file(key) for key in sorted(listed.intersection(owned(config, lake, book)))]


def _file(key: str) -> NewFile:
    partition = Partition.of_key(key)
    if partition is None:
        raise ConfigError(f"{key} lies in no partition of the lake; `audit` says more")
    return NewFile(key, key.split("/")[2], partition.values[0])


def show_adopted(done: Adopted) -> None:
    """The report for people."""
    out = console()
    for line in _lines(done):
        out.print(cell(line))


def _lines(done: Adopted) -> Iterable[str]:
    for name, count in done.files.items():
        yield f"{name}: {count:,} files {'would be' if done.dry_run else 'were'} added to the Iceberg table"
    for name in done.kept:
        yield f"{name}: the Iceberg table has rows already; nothing is added to it"
