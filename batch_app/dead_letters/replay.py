"""Replay: select, judge again, stage what passes, and take it from the dead letters in one step.

Work goes in chunks, each an action of its own in the book, so that a command that is cut off has done a whole number of
them and the next one goes on. A row that still fails stays the dead letter it was; nothing of it is written.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batch_app.dead_letters.book import Action, AlreadyTakenError, Book
from batch_app.dead_letters.decoding import NOT_A_ROW
from batch_app.dead_letters.judging import Judge
from batch_app.dead_letters.selection import Selection
from batch_app.dead_letters.table import ID, SOURCE, DeadLetters, fixed_ids
from batch_app.dead_letters.taking import CHUNK, Outcome, each_once, reason_counts
from streaming_app.errors import DataLossError
from streaming_app.journal.ledger import LedgerFile
from streaming_app.schema import Decoded, InputSource, Judged, Stage
from streaming_app.sink.datasource import TaskWriter
from streaming_app.sink.options import SinkOptions
from streaming_app.storage import Storage

_COLUMNS: Final = (
    *(ID, SOURCE, Judged.REASONS.value, Judged.RAW.value, Judged.RAW_ENCODING.value),
    *(Decoded.POSITION.value, Decoded.ARRIVED_AT.value),
)
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Replayer:
    """Replays dead letters. Guarantee: each is published once at most, whatever is cut off and however many run at once."""

    letters: DeadLetters
    book: Book
    lake: Storage
    judge: Judge
    options: Mapping[InputSource, SinkOptions]
    repair: Mapping[str, str] = field(default_factory=dict)
    chunk: int = CHUNK

    def run(self, selection: Selection, *, dry_run: bool = False, progress: Progress | None = None) -> Outcome:
        """Replay what is selected and open. Duplicates only when their stage is asked for: their orders are in the lake."""
        outcome = Outcome(dry_run)
        if not dry_run:
            outcome.finished = [action.number for action in self.book.finish()]
        for source, rows in self._chunks(selection.without_stage(Stage.DUPLICATE)):
            self._one(source, rows, outcome)
            if progress:
                progress(rows.num_rows)
        return outcome

    def _chunks(self, selection: Selection) -> Iterator[tuple[InputSource, pa.Table]]:
        """Rows of one source each, `chunk` at most."""
        waiting: dict[tuple[InputSource, str], list[pa.Table]] = {}
        for file, table in self.letters.scan(selection, _COLUMNS):
            for label in table.column(SOURCE).unique().to_pylist():
                place = (file.input_source, label)
                waiting.setdefault(place, []).append(table.filter(pc.equal(table.column(SOURCE), label)))
                if sum(part.num_rows for part in waiting[place]) >= self.chunk:
                    yield from self._cut(place[0], waiting.pop(place))
        for (source, _), parts in waiting.items():
            yield from self._cut(source, parts)

    def _cut(self, source: InputSource, parts: list[pa.Table]) -> Iterator[tuple[InputSource, pa.Table]]:
        rows = pa.concat_tables(parts).combine_chunks()
        for begin in range(0, rows.num_rows, self.chunk):
            yield source, rows.slice(begin, self.chunk).combine_chunks()

    def _one(self, source: InputSource, rows: pa.Table, outcome: Outcome) -> None:
        """One chunk: judged once; staged again only when another command took some of it meanwhile."""
        outcome.selected += rows.num_rows
        rows = each_once(rows)
        no_row = _any_reason(rows, NOT_A_ROW) if "raw" not in self.repair else np.zeros(rows.num_rows, bool)
        outcome.not_rows += int(no_row.sum())
        rows = rows.filter(pa.array(~no_row))
        if not rows.num_rows:
            return
        judged = self._judged(rows, source)
        passes = judged.column(Judged.STAGE.value).is_null().to_numpy()
        self._note(rows, judged, passes, outcome)
        rows, judged = rows.filter(pa.array(passes)), judged.filter(pa.array(passes))
        if outcome.dry_run:
            outcome.passed += rows.num_rows
            return
        while rows.num_rows:
            try:
                action = self._commit(source, rows, judged)
            except AlreadyTakenError as error:
                outcome.taken += int(error.mask.sum())
                free = pa.array(~error.mask)
                rows, judged = rows.filter(free), judged.filter(free)
            else:
                outcome.passed += rows.num_rows
                outcome.actions.append(action.number)
                return

    def _judged(self, rows: pa.Table, source: InputSource) -> pa.Table:
        """Judged rows in the order of `rows`."""
        judged = self.judge.judge(rows, source).combine_chunks()
        name = Decoded.POSITION.value
        order = pc.index_in(rows.column(name), value_set=judged.column(name).combine_chunks())
        if judged.num_rows != rows.num_rows or order.null_count:
            raise DataLossError(
                f"{rows.num_rows} dead letters were judged again and {judged.num_rows} came back; nothing was replayed"
            )
        return judged.take(order)

    @staticmethod
    def _note(rows: pa.Table, judged: pa.Table, passes: npt.NDArray[np.bool_], outcome: Outcome) -> None:
        outcome.failed += int((~passes).sum())
        for counter, table, mask in (
            (outcome.passing, rows, passes),
            (outcome.failing, rows, ~passes),
            (outcome.still, judged, ~passes),
        ):
            counter.update(reason_counts(table.filter(pa.array(mask))))

    def _commit(self, source: InputSource, rows: pa.Table, judged: pa.Table) -> Action:
        token = uuid.uuid4().hex
        owner = self.book.begin(token)
        files = self._stage(replace(self.options[source], owner=owner), judged)
        action = Action(
            "replay",
            token,
            time.time(),
            by_reason=reason_counts(rows),
            files=files,
            input_source=source.value,
            source=rows.column(SOURCE)[0].as_py(),
            suite=self.options[source].suite_fingerprint,
            repair=dict(self.repair),
        )
        try:
            written = self.book.commit(action, fixed_ids(rows.column(ID)))
        except AlreadyTakenError:
            for file in files:
                self.lake.discard(file.staged)
            self.book.end(token)
            raise
        self.book.end(token)
        return written

    def _stage(self, options: SinkOptions, judged: pa.Table) -> tuple[LedgerFile, ...]:
        writer = TaskWriter(options)
        try:
            for batch in judged.to_batches():
                writer.add(batch)
            files = writer.finish().files
        except BaseException:
            writer.abort()
            raise
        written = sum(file.rows for file in files)
        if written != judged.num_rows:
            raise DataLossError(f"{judged.num_rows} rows passed and {written} were written; nothing was replayed")
        return files


def _any_reason(rows: pa.Table, reasons: frozenset[str]) -> npt.NDArray[np.bool_]:
    lists = rows.column(Judged.REASONS.value).combine_chunks()
    hit = pc.is_in(lists.flatten(), pa.array(sorted(reasons)))
    mask = np.zeros(rows.num_rows, bool)
    mask[pc.list_parent_indices(lists).filter(hit).to_numpy()] = True
    return mask
