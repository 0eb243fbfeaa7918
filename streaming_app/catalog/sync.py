"""What `catalog sync` would do, and does: tables first, then the partitions that the lake has and the catalog lacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from streaming_app.catalog.drift import Drift, drift
from streaming_app.catalog.glue import GlueCatalog
from streaming_app.catalog.tables import Mode, Partition, Table
from streaming_app.errors import ConfigError
from streaming_app.storage import Storage


@dataclass(frozen=True)
class TableState:
    """One table on either side. `missing`: partitions that the lake has and the catalog lacks; `unknown`: the other way round.

    `moved`: registered at another folder than the sink's, as compaction does. In mode projection there are no partitions.
    """

    table: Table
    exists: bool
    drift: Drift
    registered: int = 0
    missing: tuple[Partition, ...] = ()
    unknown: tuple[Partition, ...] = ()
    moved: tuple[tuple[Partition, str], ...] = ()

    @property
    def in_step(self) -> bool:
        """Whether there is nothing to do."""
        return self.exists and not (self.drift.safe or self.drift.refused or self.missing)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "table": self.table.name,
            "exists": self.exists,
            "in_step": self.in_step,
            "added_columns": [{"name": name, "type": kind} for name, kind, _ in self.drift.added],
            "properties": dict(self.drift.settings),
            "refused": list(self.drift.refused),
            "registered": self.registered,
            "missing": ["/".join(one.values) for one in self.missing],
            "unknown": ["/".join(one.values) for one in self.unknown],
            "moved": {"/".join(one.values): location for one, location in self.moved},
        }


@dataclass(frozen=True)
class CatalogState:
    """The database and its tables, compared to the lake."""

    database: str
    mode: Mode
    exists: bool
    tables: tuple[TableState, ...]

    @property
    def refused(self) -> list[str]:
        """What a person has to decide."""
        return [text for table in self.tables for text in table.drift.refused]

    @property
    def in_step(self) -> bool:
        """Whether there is nothing to do."""
        return self.exists and all(table.in_step for table in self.tables)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "database": self.database,
            "mode": self.mode.value,
            "exists": self.exists,
            "in_step": self.in_step,
            "tables": [table.to_json() for table in self.tables],
        }


def compare(catalog: GlueCatalog, lake: Storage) -> CatalogState:
    """Look at both sides; one listing of each table's files, and nothing is changed. Raises ConfigError and SinkError."""
    exists = catalog.has_database()
    states = tuple(_compare(catalog, lake, table) for table in catalog.tables.values())
    return CatalogState(catalog.database, catalog.mode, exists, states)


def _compare(catalog: GlueCatalog, lake: Storage, table: Table) -> TableState:
    found = catalog.table(table.name)
    different = drift(table, catalog.settings(table), found) if found else Drift()
    if catalog.mode is Mode.PROJECTION:
        return TableState(table, found is not None, different)
    there = lake_partitions(lake, table.name)
    known = catalog.partitions(table.name) if found else {}
    moved = {one: place for one, place in known.items() if place != table.folder(one).rstrip("/")}
    return TableState(
        table,
        found is not None,
        different,
        registered=len(known),
        missing=tuple(sorted(there - known.keys())),
        unknown=tuple(sorted(known.keys() - there - moved.keys())),
        moved=tuple(sorted(moved.items())),
    )


def lake_partitions(lake: Storage, table: str) -> set[Partition]:
    """Every partition of a table with a visible file in it."""
    found = (Partition.of_key(item.key) for item in lake.list(table))
    return {partition for partition in found if partition}


def mend(catalog: GlueCatalog, state: CatalogState) -> None:
    """Make the catalog as the lake is, by what is safe. Raises ConfigError, with nothing changed, when something is not."""
    if state.refused:
        raise ConfigError("the catalog differs in what sync does not change: " + "; ".join(state.refused))
    if not state.exists:
        catalog.create_database()
    for table in state.tables:
        if not table.exists:
            catalog.create_table(table.table.name)
        elif table.drift.safe:
            catalog.alter_table(table.table.name, table.drift.added, dict(table.drift.settings))
        catalog.register(table.missing)
