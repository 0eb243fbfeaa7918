"""Dead letters counted: by day, source, stage, reason and store, and how the newest day compares with the one before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batch_app.dead_letters.book import Book
from batch_app.dead_letters.decoding import RowDecoders, raw_bytes
from batch_app.dead_letters.listing import DeadFile
from batch_app.dead_letters.selection import Selection
from batch_app.dead_letters.table import ACTION, SOURCE, DeadLetters
from streaming_app.schema import Dataset, Decoded, InputSource, Judged

STORE: Final = "store_id"
UNKNOWN: Final = "(not readable)"
_RAW: Final = (Judged.RAW.value, Judged.RAW_ENCODING.value, Decoded.POSITION.value, Decoded.ARRIVED_AT.value)
Values = Callable[[pa.Table, DeadFile], Any]


@dataclass(frozen=True)
class Group:
    """One value of what is counted by: in all, on the newest day, on the day before."""

    name: str
    total: int
    latest: int
    before: int


@dataclass
class Summary:
    """Counts of what was selected. Days are days of rejection (UTC). A row with three reasons counts for each of them.

    `groups`: source, stage, reason and, where the dataset has such a column, its values (`store_id`). `open`, `replayed`,
    `discarded`: dead letters by state.
    """

    open: int = 0
    replayed: int = 0
    discarded: int = 0
    latest: str = ""
    before: str = ""
    days: dict[str, int] = field(default_factory=dict)
    groups: dict[str, list[Group]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A JSON object; the keys are the attributes."""
        groups = {by: [vars(group) for group in found] for by, found in self.groups.items()}
        return {**vars(self), "groups": groups}


def summarize(
    letters: DeadLetters,
    book: Book,
    selection: Selection,
    dataset: Dataset,
    decoders: RowDecoders,
    *,
    everything: bool = False,
    by: str | None = STORE,
) -> Summary:
    """Count what is selected: open dead letters, or all of them with `everything`. `by`: a column of the dataset."""
    column = by if by in dataset.column_names else None
    counters: dict[str, Callable[[pa.Table, DeadFile], Iterable[tuple[str | None, int]]]] = {
        "source": lambda table, _: _value_counts(table.column(SOURCE)),
        "stage": lambda table, _: _value_counts(table.column(Judged.STAGE.value)),
        "reason": lambda table, _: _value_counts(table.column(Judged.REASONS.value).combine_chunks().flatten()),
    }
    if column:
        values = _Column(column, decoders)
        counters[column] = lambda table, file: _value_counts(values.of(table, file))
    counts: dict[str, Counter[tuple[str, str]]] = {name: Counter() for name in counters}
    summary, days = Summary(), Counter[str]()
    discards = [number for number, action in book.actions.items() if action.kind == "discard"]
    needed = (SOURCE, Judged.STAGE.value, Judged.REASONS.value, ACTION, *(_RAW if column else ()))
    for file, found in letters.scan(selection, needed, state="any"):
        numbers = found.column(ACTION).to_numpy()
        is_open = numbers < 0
        summary.open += int(is_open.sum())
        summary.discarded += int(np.isin(numbers, discards).sum())
        table = found if everything else found.filter(pa.array(is_open))
        days[file.day] += table.num_rows
        for name, count in counters.items():
            for value, rows in count(table, file):
                counts[name][UNKNOWN if value is None else value, file.day] += rows
        summary.replayed += len(numbers)
    summary.replayed -= summary.open + summary.discarded
    summary.days = {day: days[day] for day in sorted(days, reverse=True) if days[day]}
    if summary.days:
        summary.latest = next(iter(summary.days))
        summary.before = (date.fromisoformat(summary.latest) - timedelta(days=1)).isoformat()
        summary.groups = {name: _groups(found, summary) for name, found in counts.items()}
    return summary


def _groups(counts: Counter[tuple[str, str]], summary: Summary) -> list[Group]:
    totals = Counter[str]()
    for (value, _), rows in counts.items():
        totals[value] += rows
    return [
        Group(value, total, counts[value, summary.latest], counts[value, summary.before])
        for value, total in sorted(totals.items(), key=lambda item: (-item[1], item[0]))
    ]


def _value_counts(values: Any) -> list[tuple[str | None, int]]:
    return [(item["values"], item["counts"]) for item in pc.value_counts(values).to_pylist()]


class _Column:
    """The values of one column in raw texts. Of a JSON event that column alone is read: 0.5 microseconds each."""

    def __init__(self, name: str, decoders: RowDecoders) -> None:
        self._name, self._decoders = name, decoders
        event = msgspec.defstruct("Event", [("value", Any, msgspec.field(default=None, name=name))], gc=False)
        self._decode = msgspec.json.Decoder(event).decode

    def of(self, table: pa.Table, file: DeadFile) -> Any:
        """One text a row, null where there is none to be read."""
        if file.input_source is InputSource.BATCH:
            return self._decoders.decode(table, file.input_source).column(self._name)
        raws = table.column(Judged.RAW.value).to_pylist()
        encodings = table.column(Judged.RAW_ENCODING.value)
        if encodings.null_count or not pc.all(pc.equal(encodings, "utf-8")).as_py():
            raws = [raw_bytes(raw, code) for raw, code in zip(raws, encodings.to_pylist(), strict=True)]
        return pa.array([self._value(raw) for raw in raws], pa.string())

    def _value(self, raw: str | bytes) -> str | None:
        try:
            value = self._decode(raw).value  # type: ignore[attr-defined]
        except (ValueError, RecursionError):
            return None
        return (
            value if isinstance(value, str) else None if value is None or isinstance(value, list | dict) else str(value)
        )
