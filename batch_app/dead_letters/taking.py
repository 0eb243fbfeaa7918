"""Taking dead letters out of the open ones: what replay and discard share, and discard itself."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batch_app.dead_letters.book import Action, AlreadyTakenError, Book, Ids
from batch_app.dead_letters.selection import Selection
from batch_app.dead_letters.table import ID, DeadLetters, fixed_ids
from streaming_app.schema import Judged

CHUNK: Final = 100_000  # dead letters of one action: what is in memory at a time


@dataclass
class Outcome:
    """What a replay or discard did, or a dry run would do. `taken`: another command was faster.

    `passing` and `failing` count by the reason a row was rejected for at first, `still` by why it fails today.
    `not_rows`: dead letters about a file or a piece of a line. `unknown_headers`: files read in the dataset's column order.
    """

    dry_run: bool
    selected: int = 0
    passed: int = 0
    failed: int = 0
    not_rows: int = 0
    taken: int = 0
    passing: Counter[str] = field(default_factory=Counter)
    failing: Counter[str] = field(default_factory=Counter)
    still: Counter[str] = field(default_factory=Counter)
    actions: list[int] = field(default_factory=list)
    finished: list[int] = field(default_factory=list)
    unknown_headers: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """A JSON object; the keys are the attributes."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def discard(
    letters: DeadLetters, book: Book, selection: Selection, reason: str, *, dry_run: bool = False, chunk: int = CHUNK
) -> Outcome:
    """Mark what is selected as not worth a replay, with the reason for the record; once at most, as a replay."""
    outcome = Outcome(dry_run)
    if dry_run:
        outcome.selected = outcome.passed = sum(rows.num_rows for _, rows in letters.scan(selection, (ID,)))
        return outcome
    outcome.finished = [action.number for action in book.finish()]
    waiting: list[pa.Table] = []
    for _, table in letters.scan(selection, (ID, Judged.REASONS.value)):
        outcome.selected += table.num_rows
        waiting.append(table)
        if sum(part.num_rows for part in waiting) >= chunk:
            _discard_all(book, waiting, reason, outcome, chunk)
            waiting = []
    _discard_all(book, waiting, reason, outcome, chunk)
    return outcome


def _discard_all(book: Book, parts: list[pa.Table], reason: str, outcome: Outcome, chunk: int) -> None:
    if not parts:
        return
    rows = pa.concat_tables(parts).combine_chunks()
    for begin in range(0, rows.num_rows, chunk):
        _discard_some(book, each_once(rows.slice(begin, chunk)), reason, outcome)


def _discard_some(book: Book, rows: pa.Table, reason: str, outcome: Outcome) -> None:
    while rows.num_rows:
        action = Action("discard", uuid.uuid4().hex, time.time(), by_reason=reason_counts(rows), reason=reason)
        try:
            written = book.commit(action, fixed_ids(rows.column(ID)))
        except AlreadyTakenError as error:
            outcome.taken += int(error.mask.sum())
            rows = rows.filter(pa.array(~error.mask))
        else:
            outcome.passed += rows.num_rows
            outcome.actions.append(written.number)
            return


def each_once(rows: pa.Table) -> pa.Table:
    """One row an id; a second one is a difference that the audit reports."""
    ids: Ids = fixed_ids(rows.column(ID))
    _, places = np.unique(ids, return_index=True)
    return rows if len(places) == rows.num_rows else rows.take(np.sort(places))


def reason_counts(rows: pa.Table) -> dict[str, int]:
    """How many rows have each reason."""
    found = pc.value_counts(rows.column(Judged.REASONS.value).combine_chunks().flatten()).to_pylist()
    return {item["values"]: item["counts"] for item in found}
