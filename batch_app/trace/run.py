"""`trace`: finds the rows, asks the books about each, prints what they say."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

from batch_app.dead_letters.book import Action
from batch_app.dead_letters.opened import Opened, open_letters
from batch_app.dead_letters.selection import Selection, parse_day
from batch_app.tables import as_read, open_iceberg
from batch_app.trace.books import Books, Committed, Read, is_position
from batch_app.trace.rows import Days, Found, clean_rows, dead_rows
from batch_app.trace.show import show
from streaming_app.arguments import load_all
from streaming_app.config import Loaded
from streaming_app.errors import ConfigError
from streaming_app.schema import CLEAN, DEAD_LETTER, Decoded
from streaming_app.storage import open_storage

NOT_FOUND: Final = 1
_MOST: Final = 1000  # rows that are traced; --column can name very many


@dataclass(frozen=True)
class Wanted:
    """A value of a column; `source_position` is one of them."""

    column: str
    value: str
    days: Days = field(default_factory=Days)

    @property
    def is_position(self) -> bool:
        """Whether the value says by itself where the row came from."""
        return self.column == Decoded.POSITION.value


def run(options: argparse.Namespace) -> int:
    """Trace and print; 1 when there is no trace. Raises ConfigError and SinkError."""
    loaded, suite = load_all(options.config, options.overrides)
    opened = open_letters(loaded, suite, Selection())
    found = Tracer(loaded, opened).trace(_wanted(options, loaded))
    if options.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))  # noqa: T201 - the command's output
    else:
        show(
            found,
            opened.words(
                {reason for row in found["rows"] for place in row["places"] for reason in place.get("reasons", ())}
            ),
        )
    return 0 if found["rows"] else NOT_FOUND


def _wanted(options: argparse.Namespace, loaded: Loaded) -> Wanted:
    names = loaded.dataset.column_names
    if options.column and options.column not in names:
        raise ConfigError(f"--column: there is no {options.column}; the dataset has {', '.join(names)}")
    days = Days(*(parse_day(text) if text else None for text in (options.since, options.until)))
    position = not options.column and is_position(options.what)
    return Wanted(Decoded.POSITION.value if position else options.column or names[0], options.what, days)


class Tracer:
    """Traces rows of one lake. Changes nothing; a service may be running."""

    def __init__(self, loaded: Loaded, opened: Opened) -> None:
        config = loaded.config
        self._opened, self._dataset = opened, loaded.dataset
        lake = open_storage(config.lake.root, config.lake.s3.storage_options())
        self._lake = as_read(lake, open_iceberg(loaded))
        self._books = Books(config, lake)
        self._replays = {file.staged.key: action for action in opened.book.actions.values() for file in action.files}

    def trace(self, wanted: Wanted) -> dict[str, Any]:
        """Everything that is known, as JSON: a row for each position, with its read, its batch and where it is now."""
        reads = self._books.reads([wanted.value])[wanted.value] if wanted.is_position else []
        places: dict[str, list[Found]] = {wanted.value: []} if reads else {}
        for found in [*self._clean(wanted, reads), *dead_rows(self._opened, wanted.column, wanted.value)]:
            places.setdefault(found.position, []).append(found)
        shown = dict(islice(places.items(), _MOST))
        by_position = self._books.reads(shown)
        rows = [self._row(position, by_position[position], found) for position, found in shown.items()]
        return {"column": wanted.column, "value": wanted.value, "rows": rows, "more": len(places) - len(rows)}

    def _clean(self, wanted: Wanted, reads: Sequence[Read]) -> Iterator[Found]:
        """By position only the partitions that its batch wrote to: compaction and replay leave a row's partition as it is."""
        partition, folders = self._dataset.partition_column, [CLEAN]
        if reads:
            batches = self._books.batches(reads)
            replayed = {file.staged.key.rpartition("/")[0] for batch in batches for file in self._replayed(batch)}
            folders = sorted({key.rpartition("/")[0] for key in _clean_keys(batches)} | replayed)
        return clean_rows(
            self._lake, wanted.column, wanted.value, partition=partition, days=wanted.days, folders=folders
        )

    def _replayed(self, batch: Committed) -> Iterator[Any]:
        """Files of replays that may hold a dead letter of this batch."""
        for action in self._opened.book.actions.values():
            if action.at >= batch.entry.committed_at:
                yield from action.files

    def _row(self, position: str, reads: Sequence[Read], places: Iterable[Found]) -> dict[str, Any]:
        return {
            "position": position,
            "reads": [_read(read) for read in reads],
            "batches": [_batch(batch) for batch in self._books.batches(reads)],
            "places": [self._place(found) for found in places],
        }

    def _place(self, found: Found) -> dict[str, Any]:
        place: dict[str, Any] = {"table": found.table, "file": found.key, "ingested_at": found.ingested_at}
        compaction = self._books.made_by(found.key)
        if compaction:
            place["compaction"] = {
                "entry": compaction.number,
                "at": _moment(compaction.at),
                "files_before": len(compaction.inputs),
                "files_after": len(compaction.outputs),
            }
        if found.table == DEAD_LETTER:
            place |= {
                "dead_letter_id": found.id,
                "stage": found.stage,
                "reasons": list(found.reasons),
                "raw": found.raw,
            }
        action = self._opened.book.actions.get(found.action) if found.action >= 0 else self._replays.get(found.key)
        return place | ({"action": _action(action)} if action else {})


def _clean_keys(batches: Iterable[Committed]) -> Iterator[str]:
    return (file.staged.key for batch in batches for file in batch.entry.files if file.table == CLEAN)


def _read(read: Read) -> dict[str, Any]:
    return {"source": read.source, "epoch": read.epoch, "unit": read.unit, "range": read.range, "rows": read.rows}


def _batch(batch: Committed) -> dict[str, Any]:
    entry = batch.entry
    return {
        "source": batch.source,
        "batch": entry.batch_id,
        "committed_at": _moment(entry.committed_at),
        "published": batch.published,
        "suite": entry.suite_fingerprint,
        "read": entry.counts.read,
        "clean": entry.counts.clean,
        "dead": entry.counts.dead,
        "duplicates": entry.counts.duplicates,
    }


def _action(action: Action) -> dict[str, Any]:
    return {
        "number": action.number,
        "kind": action.kind,
        "at": _moment(action.at),
        "suite": action.suite,
        "reason": action.reason,
        "repair": dict(action.repair),
    }


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
