"""Rows in order of their time, in bounded memory: sorted runs on the disk, merged a piece at a time.

Memory: about three times `budget` while runs are made, and about `budget` while they are merged. Disk: the rows as Arrow has
them, in the machine's folder for temporary files; nothing where all rows fit the budget.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

BUDGET: Final = 96 << 20  # Arrow bytes that are held and sorted at once
_PIECES: Final = 64  # of one run: what is read of it at a time
_LAST: Final = np.iinfo(np.int64).max  # rows without a time come last


class SortedRows:
    """Takes tables in any order, gives their rows in order of `column`, equal times of one table in their order."""

    def __init__(self, column: str, schema: pa.Schema, budget: int = BUDGET) -> None:
        self._column, self._schema, self._budget = column, schema, budget
        self._held: list[pa.Table] = []
        self._held_bytes = 0
        self._runs: list[Path] = []
        self._stack = ExitStack()
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="compact-")))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def add(self, table: pa.Table) -> None:
        """Take rows of the schema."""
        if not table.num_rows:
            return
        self._held.append(table)
        self._held_bytes += table.nbytes
        if self._held_bytes >= self._budget:
            self._spill()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows in order; call it once."""
        if not self._runs:
            yield from self._sorted().to_batches(max_chunksize=1 << 16)
            return
        self._spill()
        runs = [_Run(self._stack.enter_context(pa.OSFile(str(path))), self._column) for path in self._runs]
        while True:
            bound = min((run.bound for run in runs), default=_LAST)
            parts = [part for run in runs if (part := run.take(bound)).num_rows]
            if parts:
                yield _in_order(pa.concat_tables(parts), self._column).to_batches()[0]
            runs = [run for run in runs if not run.empty]
            if not runs:
                return

    def _sorted(self) -> pa.Table:
        table = pa.concat_tables(self._held) if self._held else self._schema.empty_table()
        self._held, self._held_bytes = [], 0
        return _in_order(table, self._column)

    def _spill(self) -> None:
        if not self._held:
            return
        table = self._sorted()
        path = self._folder / f"{len(self._runs)}.arrow"
        rows = max(1, table.num_rows // _PIECES)
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, self._schema) as writer:
            writer.write_table(table, max_chunksize=rows)
        self._runs.append(path)


@dataclass
class _Run:
    """One sorted run and the piece of it that is in memory."""

    file: Any
    column: str

    def __post_init__(self) -> None:
        self._reader = pa.ipc.open_file(self.file)
        self._next = 0
        self._read()

    def _read(self) -> None:
        self._piece = pa.Table.from_batches([self._reader.get_batch(self._next)])
        self._keys = _keys(self._piece.column(self.column))
        self._next += 1

    @property
    def _over(self) -> bool:
        return bool(self._next == self._reader.num_record_batches)

    @property
    def empty(self) -> bool:
        """Whether nothing is left."""
        return self._over and not len(self._keys)

    @property
    def bound(self) -> int:
        """Up to which time everything of this run is in memory."""
        return _LAST if self._over else int(self._keys[-1])

    def take(self, bound: int) -> pa.Table:
        """The rows in memory up to a time; reads on when none is left."""
        count = int(np.searchsorted(self._keys, bound, "right"))
        taken = self._piece.slice(0, count)
        self._piece, self._keys = self._piece.slice(count), self._keys[count:]
        if not len(self._keys) and not self._over:
            self._read()
        return taken


def _in_order(table: pa.Table, column: str) -> pa.Table:
    """The rows in one piece, sorted; equal times stay in their order."""
    whole = table.combine_chunks()
    return whole.take(pa.array(np.argsort(_keys(whole.column(column)), kind="stable"))).combine_chunks()


def _keys(column: Any) -> Any:
    """Times as NumPy's int64."""
    numbers = pc.fill_null(column.cast(pa.int64()), _LAST)
    return numbers.to_numpy()
