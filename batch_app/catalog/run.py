"""`catalog sync` and `catalog show`: look at both sides, change what is safe, say the rest."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from batch_app.output import cell, console, print_fitting, status, table
from batch_app.tables import open_iceberg, refuse_plain_tables
from streaming_app.arguments import load_all
from streaming_app.catalog import GlueCatalog, Mode, Partition, open_catalog
from streaming_app.catalog.sync import CatalogState, TableState, compare, mend
from streaming_app.config import Loaded
from streaming_app.errors import ConfigError
from streaming_app.storage import Storage, open_storage

if TYPE_CHECKING:
    from streaming_app.sink.iceberg import IcebergTables

_NAMED: Final = 5  # partitions of a list that people see; JSON has all


def sync(options: argparse.Namespace) -> int:
    """`catalog sync`. Raises ConfigError, with nothing changed, for drift that is not safe to mend."""
    loaded, _ = load_all(options.config, options.overrides)
    tables = open_iceberg(loaded)
    if tables:
        return _adopt(options, loaded, tables)
    catalog, lake = _open(options)
    with status("comparing the catalog with the lake"):
        state = compare(catalog, lake)
        if not options.dry_run:
            mend(catalog, state)
    document = {"dry_run": options.dry_run, **state.to_json()}
    _print(options, document, lambda: _print_sync(state, dry_run=options.dry_run))
    return 0


def _adopt(options: argparse.Namespace, loaded: Loaded, tables: IcebergTables) -> int:
    from batch_app.catalog.iceberg import adopt, show_adopted  # noqa: PLC0415 - pyspark: only where it is needed

    done = adopt(loaded, tables, dry_run=options.dry_run)
    _print(options, done.to_json(), lambda: show_adopted(done))
    return 0


def show(options: argparse.Namespace) -> int:
    """`catalog show`. Raises ConfigError on an Iceberg lake, whose tables the service itself keeps in step."""
    loaded, _ = load_all(options.config, options.overrides)
    if loaded.config.sink.format == "iceberg":
        refuse_plain_tables(loaded, "a column that the dataset gains is added with the next commit")
    catalog, lake = _open(options)
    with status("comparing the catalog with the lake"):
        state = compare(catalog, lake)
    _print(options, state.to_json(), lambda: _print_state(state))
    return 0


def _open(options: argparse.Namespace) -> tuple[GlueCatalog, Storage]:
    loaded, _ = load_all(options.config, options.overrides)
    catalog = open_catalog(loaded.config, loaded.dataset)
    if catalog is None:
        raise ConfigError("catalog.type is none: set catalog.type: glue and catalog.database")
    return catalog, _lake(loaded)


def _lake(loaded: Loaded) -> Storage:
    return open_storage(loaded.config.lake.root, loaded.config.lake.s3.storage_options())


def _print(options: argparse.Namespace, document: dict[str, Any], people: Any) -> None:
    if options.json:
        print(json.dumps(document, indent=2))  # noqa: T201 - the command's output
    else:
        people()


def _print_sync(state: CatalogState, *, dry_run: bool) -> None:
    out = console()
    will = "would " if dry_run else ""
    steps = [] if state.exists else [f"{will}make database {state.database}"]
    for one in state.tables:
        steps += [f"{will}{step}" for step in _steps(one)]
    for step in steps or [f"{state.database} is as the lake is; there is nothing to do"]:
        out.print(cell(step))
    for text in state.refused:
        out.print(cell(f"cannot be mended: {text}", "red"))


def _steps(state: TableState) -> list[str]:
    name = state.table.name
    made = [] if state.exists else [f"make table {name}"]
    made += [f"add column {name}.{column} {kind}" for column, kind, _ in state.drift.added]
    made += [f"set {name}'s {key} to {value}" for key, value in state.drift.settings]
    if state.missing:
        made.append(f"register {len(state.missing)} partitions of {name}: {_some(state.missing)}")
    return made


def _print_state(state: CatalogState) -> None:
    out = console()
    out.print(f"database {state.database}{'' if state.exists else ' (is not there)'}, partitions by {state.mode.value}")
    made = table(
        "table", "", "registered", "only in the lake", "only in the catalog", "elsewhere", numbers=(2, 3, 4, 5)
    )
    for one in state.tables:
        word = "not there" if not one.exists else "in step" if one.in_step else "differs"
        counts = (one.registered, len(one.missing), len(one.unknown), len(one.moved))
        made.add_row(
            one.table.name, word, *(f"{count:,}" if state.mode is Mode.REGISTERED else "-" for count in counts)
        )
    print_fitting(out, made)
    for one in state.tables:
        for text in _details(one):
            out.print(cell(text))


def _details(state: TableState) -> list[str]:
    name = state.table.name
    found = [f"{name}: the catalog lacks column {column} {kind}" for column, kind, _ in state.drift.added]
    found += [f"{name}: {key} should be {value}" for key, value in state.drift.settings]
    found += list(state.drift.refused)
    for what, partitions in (("not registered", state.missing), ("registered, without files", state.unknown)):
        if partitions:
            found.append(f"{name}: {what}: {_some(partitions)}")
    if state.moved:
        found.append(f"{name}: registered at another folder: {_some([one for one, _ in state.moved])}")
    return found


def _some(partitions: Sequence[Partition]) -> str:
    more = f" and {len(partitions) - _NAMED:,} more" if len(partitions) > _NAMED else ""
    return ", ".join("/".join(one.values) for one in partitions[:_NAMED]) + more
