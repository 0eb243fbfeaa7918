"""What the lake's columns are, kept beside its checkpoints, so that a dataset that changes in a harmful way is refused at start.

A column may be added. Everything else would give files that are there another meaning, or make them unreadable: a type that
changes (Athena and Trino read a file's INT32 as nothing else), a column that is taken away or renamed (a rename is both), another
partition column, another time column or time zone (rows of one day would lie in two partitions).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from streaming_app.errors import ConfigError, Problem, SinkError
from streaming_app.schema import Dataset
from streaming_app.storage import Storage

_KEY: Final = "schema.json"
_FIXED: Final = {
    "time_column": "orders its rows and gives each its day",
    "partition_column": "is in the name of every folder",
    "time_zone": "decides in which day's partition a row lies",
}


def hold_schema(checkpoints: Storage, dataset: Dataset, file: str) -> list[str]:
    """Compare the dataset to what the lake was written with, and keep it; returns the columns that are new.

    `checkpoints` is the folder of all checkpoints, `file` the dataset's for messages. The first call keeps what it is given.
    Raises ConfigError, with nothing changed, for a change that is not safe.
    """
    record = {"columns": {column.name: column.type for column in dataset.columns}} | {
        name: getattr(dataset, name) for name in _FIXED
    }
    if checkpoints.put_if_absent(_KEY, _dump(record)):
        return []
    known = _read(checkpoints)
    problems = [Problem(file, key, message) for key, message in _changes(known, record).items()]
    if problems:
        raise ConfigError(problems)
    added = [name for name in record["columns"] if name not in known["columns"]]
    if added:
        checkpoints.put(_KEY, _dump(record))
    return added


def _changes(known: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """What is not safe, by the dataset's key."""
    found: dict[str, str] = {}
    for name, kind in known["columns"].items():
        if name not in now["columns"]:
            found[f"columns.{name}"] = (
                f"the lake has this column ({kind}) and the dataset has it no more. A column cannot be taken away or renamed: put"
                " it back (inputs may leave it out, unless it is required), and add the new name as a column of its own"
            )
        elif now["columns"][name] != kind:
            found[f"columns.{name}.type"] = (
                f"is {kind} in the lake and {now['columns'][name]} here. A type cannot change, as readers would fail on the"
                " files that are there: restore it, and add a column with another name for the new type"
            )
    for name, why in _FIXED.items():
        if now[name] != known[name]:
            found[name] = (
                f"is {known[name]} in the lake and {now[name]} here; it {why}. Restore it, or write to another lake"
                " (lake.root) and load what is here into it by backfill"
            )
    return found


def _read(checkpoints: Storage) -> dict[str, Any]:
    data = checkpoints.get(_KEY)
    try:
        found = json.loads(data or b"")
        columns = {str(name): str(kind) for name, kind in found["columns"].items()}
        return {"columns": columns, **{name: str(found[name]) for name in _FIXED}}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SinkError(
            f"{checkpoints.uri}/{_KEY}, which says what the lake's columns are, cannot be read ({error!r}): restore it from a backup,"
            " or delete it when you are sure that the dataset has not changed since the last start"
        ) from error


def _dump(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, indent=1).encode()
