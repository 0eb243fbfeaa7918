"""Which clean rows of a task repeat an earlier one: of the micro-batches before, by their keys' index, or of this task.

Equal keys of a micro-batch come to one task (pipeline.py), and micro-batches come one after the other, so nothing else can
hold the first one. The index is read when the task begins: it holds the keys of exactly the micro-batches before, or, when
this one runs again after its commit, its own too, and then the ledger keeps what was committed first.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from streaming_app.journal.keys import KeyLog, Keys, Segment
from streaming_app.schema import Dataset, Judged, Keyed, Stage
from streaming_app.storage import Storage

REASON: Final = "duplicate"
_MOST_PARTS: Final = 16  # of this task's own keys, before they are put together
_open: dict[tuple[str, str], Keys] = {}  # segments that this process has mapped; it lives for many micro-batches

Mask = npt.NDArray[np.bool_]


class Duplicates:
    """The duplicates of one task. Use `mark` for each batch of rows, then `finish`."""

    def __init__(self, checkpoint: Storage, dataset: Dataset) -> None:
        if dataset.deduplicate is None:
            raise ValueError("the dataset has no deduplicate")
        self._within = int(dataset.deduplicate.within * 1_000_000)
        self._time_column = dataset.time_column
        self._log = KeyLog(checkpoint)
        self._before = _segments(self._log, checkpoint.uri)
        self._mine: list[Keys] = []

    def mark(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch without the columns of `Keyed`; a row that repeats another is of stage duplicate."""
        asked = np.flatnonzero(batch.column(Keyed.HASH).is_valid().to_numpy(zero_copy_only=False))
        rest = batch.drop_columns([Keyed.HASH.value, Keyed.CHECK.value])
        repeated = asked[self._repeated(batch.take(pa.array(asked)))] if len(asked) else asked
        return _rejected(rest, repeated) if len(repeated) else rest

    def finish(self) -> list[Segment]:
        """Keep the keys of the rows that repeated nothing; durable."""
        return [self._log.write(Keys.together(self._mine))] if self._mine else []

    def discard(self, segments: list[Segment]) -> None:
        """Throw away what `finish` kept."""
        self._log.discard(segments)

    def _repeated(self, rows: pa.RecordBatch) -> Mask:
        hashes, checks = (rows.column(name).to_numpy().view(np.uint64) for name in (Keyed.HASH, Keyed.CHECK))
        times = rows.column(self._time_column).cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy()
        order = np.argsort(hashes, kind="stable")  # neighbours are looked up in neighbouring places
        keys = Keys(hashes, checks, times).take(order)
        known = np.zeros(len(keys), np.bool_)
        for segment, before in self._before:
            if segment.last + self._within >= times.min() and segment.first - self._within <= times.max():
                known |= before.has(keys.hashes, keys.checks, keys.times, self._within)
        for mine in self._mine:
            known |= mine.has(keys.hashes, keys.checks, keys.times, self._within)
        known |= _again(keys, known, self._within)
        self._keep(keys.take(~known))
        found = np.zeros(len(keys), np.bool_)
        found[order] = known
        return found

    def _keep(self, keys: Keys) -> None:
        if len(keys):
            self._mine.append(keys)
        if len(self._mine) >= _MOST_PARTS:
            self._mine = [Keys.together(self._mine)]


def _again(keys: Keys, known: Mask, within: int) -> Mask:
    """Which keys repeat one that stands before them in the same batch; those that are known already repeat nothing."""
    again = np.zeros(len(keys), np.bool_)
    same = keys.hashes[1:] == keys.hashes[:-1]
    if not same.any():
        return again
    for place in _runs(same):
        accepted: dict[int, list[int]] = {}
        for at in place:
            if known[at]:
                continue
            times, time = accepted.setdefault(int(keys.checks[at]), []), int(keys.times[at])
            spot = bisect_left(times, time)
            again[at] = any(abs(other - time) <= within for other in times[max(spot - 1, 0) : spot + 1])
            if not again[at]:
                times.insert(spot, time)
    return again


def _runs(same: Mask) -> list[range]:
    """Places of neighbours that are equal: `same` says of each place but the last whether the next one is."""
    padded = np.concatenate(([False], same, [False]))
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    return [range(begin, end + 1) for begin, end in zip(edges[::2], edges[1::2], strict=True)]


def _segments(log: KeyLog, uri: str) -> list[tuple[Segment, Keys]]:
    """The index's segments, each mapped once in a process."""
    segments = log.index().segments
    wanted = {(uri, segment.key) for segment in segments}
    for place in [place for place in _open if place[0] == uri and place not in wanted]:
        del _open[place]
    for segment in segments:
        if (uri, segment.key) not in _open:
            _open[uri, segment.key] = log.read(segment)
    return [(segment, _open[uri, segment.key]) for segment in segments]


def _rejected(batch: pa.RecordBatch, places: npt.NDArray[Any]) -> pa.RecordBatch:
    mask = np.zeros(batch.num_rows, np.bool_)
    mask[places] = True
    chosen = pa.array(mask)
    for name, value in (
        (Judged.STAGE.value, pa.scalar(Stage.DUPLICATE.value, pa.string())),
        (Judged.REASONS.value, pa.scalar([REASON], pa.list_(pa.string()))),
    ):
        column = batch.column(name)
        batch = batch.set_column(
            batch.schema.get_field_index(name), name, pc.if_else(chosen, value.cast(column.type), column)
        )
    return batch
