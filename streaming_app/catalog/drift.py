"""How a table in the catalog differs from what the dataset wants, and which of it can be mended without harm.

Safe: columns added at the end (files from before read as null there), and projection's own properties. Everything else would
change what readers see of files that are there, and is for a person to decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from streaming_app.catalog.tables import Mode, Table

_ENABLED: Final = "projection.enabled"


@dataclass(frozen=True)
class Drift:
    """`added`: columns that the catalog lacks; `settings`: properties to set; `refused`: what is not mended, and what to do."""

    added: tuple[tuple[str, str, str], ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    refused: tuple[str, ...] = ()

    @property
    def safe(self) -> bool:
        """Whether there is something to mend."""
        return bool(self.added or self.settings)


def drift(table: Table, wanted: Mapping[str, str], found: Mapping[str, Any]) -> Drift:
    """Compare the table as it should be, with `wanted` properties, to Glue's."""
    described = found["StorageDescriptor"]
    have = {column["Name"].lower(): _kind(column.get("Type", "")) for column in described["Columns"]}
    added = tuple(column for column in table.columns if column[0] not in have)
    refused = [*_columns(table, have), *_partition_keys(table, found), *_place(table, described)]
    properties = {str(key): str(value) for key, value in found.get("Parameters", {}).items()}
    other_mode = _mode(properties) is not _mode(wanted)
    if other_mode:
        refused.append(
            f"{table.name} finds partitions by {_mode(properties).value} in the catalog, by {_mode(wanted).value} in the"
            " configuration: change catalog.partitions, or drop the table (its files stay) and run sync again"
        )
    settings = () if other_mode else tuple(item for item in wanted.items() if properties.get(item[0]) != item[1])
    return Drift(added, settings, tuple(refused))


def _columns(table: Table, have: Mapping[str, str]) -> list[str]:
    wanted = {name: _kind(kind) for name, kind, _ in table.columns}
    other = [
        f"{table.name}.{name} is {have[name]} in the catalog and {kind} in the dataset: a type cannot change in place. Restore it"
        " in the dataset, or give the column with the new type another name"
        for name, kind in wanted.items()
        if name in have and have[name] != kind
    ]
    gone = [
        f"{table.name}.{name} is in the catalog and not in the dataset: put it back (it may be null), or, when nobody needs its old"
        " values, remove it from the table by hand"
        for name in have
        if name not in wanted
    ]
    return other + gone


def _partition_keys(table: Table, found: Mapping[str, Any]) -> list[str]:
    have = [(key["Name"], _kind(key.get("Type", ""))) for key in found.get("PartitionKeys", [])]
    wanted = [(name, kind) for name, kind, _ in table.partitions]
    if have == wanted:
        return []
    text = (
        f"{table.name} is partitioned by {_list(have)} in the catalog and by {_list(wanted)} in the dataset: restore"
        " partition_column, or write to another lake and another database"
    )
    return [text]


def _place(table: Table, described: Mapping[str, Any]) -> list[str]:
    found = str(described.get("Location", "")).rstrip("/").replace("s3a://", "s3://", 1)
    if found != table.location.rstrip("/"):
        text = (
            f"{table.name} is at {found} in the catalog and at {table.location} in the configuration: name another"
            " catalog.database for this lake, or drop the table (its files stay) and run sync again"
        )
        return [text]
    serde = str(described.get("SerdeInfo", {}).get("SerializationLibrary", ""))
    if "parquet" not in serde.lower():
        return [
            f"{table.name} is read by {serde or 'no serde'} in the catalog, not as Parquet: drop the table, run sync again"
        ]
    return []


def _mode(properties: Mapping[str, str]) -> Mode:
    return Mode.PROJECTION if properties.get(_ENABLED, "").lower() == "true" else Mode.REGISTERED


def _kind(text: str) -> str:
    return "".join(text.lower().split())


def _list(columns: list[tuple[str, str]]) -> str:
    return ", ".join(f"{name} {kind}" for name, kind in columns) or "nothing"
