"""Duplicates against a model that remembers everything, over micro-batches, tasks, restarts and crashes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming_app.errors import SinkError
from streaming_app.journal.keys import FINAL_KEYS, KeyLog, Keys, Segment
from streaming_app.schema import Deduplicate
from streaming_app.sink.duplicates import Duplicates
from tests.memory_storage import MemoryStorage

HOUR = 3600.0
DAY = datetime(2026, 3, 1, tzinfo=UTC)
BEGAN = DAY.timestamp()


def dataset(orders, within: float = HOUR):
    return orders.model_copy(update={"deduplicate": Deduplicate(keys=("order_id",), within=within)})


def rows(keys: list[tuple[int | None, float]]) -> pa.RecordBatch:
    """Rows of the judged layout, as far as the question goes: a key (None in a dead row) and a time in seconds."""
    count = len(keys)
    return pa.RecordBatch.from_pydict(
        {
            "order_ts": pa.array([DAY + timedelta(seconds=time) for _, time in keys], pa.timestamp("us", tz="UTC")),
            "order_date": pa.array([date(2026, 3, 1)] * count),
            "stage": pa.array(["rule" if key is None else None for key, _ in keys], pa.string()),
            "reasons": pa.array([["r"] if key is None else None for key, _ in keys], pa.list_(pa.string())),
            "__key_hash": pa.array([None if key is None else key // 2 for key, _ in keys], pa.int64()),  # pairs collide
            "__key_check": pa.array([None if key is None else key for key, _ in keys], pa.int64()),
        }
    )


class Sink:
    """The part of the sink that looks for duplicates: tasks, then the commit."""

    def __init__(self, storage, orders, within: float = HOUR) -> None:
        self.storage, self.dataset, self.log = storage, dataset(orders, within), KeyLog(storage)
        self.batch = 0

    def task(self, *batches: list[tuple[int | None, float]]) -> tuple[list[bool], list[Segment]]:
        """Which rows are duplicates, and what the task has kept."""
        duplicates = Duplicates(self.storage, self.dataset)
        stages = [duplicates.mark(rows(batch)).column("stage").to_pylist() for batch in batches]
        return [stage == "duplicate" for part in stages for stage in part], duplicates.finish()

    def commit(self, segments: list[Segment], after: float = 0.0) -> None:
        self.log.advance(self.batch, segments, BEGAN + after, self.dataset.deduplicate.within)
        self.batch += 1

    def run(self, *batches: list[tuple[int | None, float]], after: float = 0.0) -> list[bool]:
        found, segments = self.task(*batches)
        self.commit(segments, after)
        return found


@pytest.fixture
def sink(orders):
    return Sink(MemoryStorage(), orders)


keys = st.tuples(st.none() | st.integers(-6, 6), st.floats(0, 3 * HOUR))
batches = st.lists(st.lists(st.lists(keys, max_size=12), min_size=1, max_size=3), min_size=1, max_size=12)


@settings(max_examples=150, deadline=None)
@given(history=batches, crashes=st.lists(st.booleans(), min_size=12, max_size=12))
def test_what_is_found_is_what_a_model_finds_that_forgets_nothing(orders, history, crashes):
    sink = Sink(MemoryStorage(), orders, within=HOUR)
    accepted: list[tuple[int, float]] = []
    for batch, crash in zip(history, crashes, strict=False):
        if crash:  # a task that ran, kept its keys, and whose batch was never committed
            sink.task(*batch)
            sink.log.remove_orphans()
        found = sink.run(*batch)  # all within the time that keys are kept: `after` stays 0
        expected = []
        for key, time in (row for part in batch for row in part):
            again = key is not None and any(key == k and abs(time - t) <= HOUR for k, t in accepted)
            expected.append(again)
            if key is not None and not again:
                accepted.append((key, time))
        assert found == expected


def test_a_row_is_repeated_only_within_the_time(sink):
    assert sink.run([(1, 0.0)]) == [False]
    assert sink.run([(1, HOUR)]) == [True]
    assert sink.run([(1, HOUR + 0.000001)]) == [False]  # held against the first, which alone was accepted
    assert sink.run([(1, 2 * HOUR)]) == [True]


def test_the_first_of_a_task_is_kept_and_dead_rows_repeat_nothing(sink):
    assert sink.run([(1, 0.0), (None, 0.0), (1, 0.0), (2, 0.0)], [(2, 5.0), (None, 0.0)]) == [
        False, False, True, False, True, False,
    ]  # fmt: skip


def test_a_rejected_row_has_stage_and_reason_and_the_others_stay_as_they_are(sink):
    duplicates = Duplicates(sink.storage, sink.dataset)
    marked = duplicates.mark(rows([(1, 0.0), (None, 0.0), (1, 0.0)]))
    assert marked.column("stage").to_pylist() == [None, "rule", "duplicate"]
    assert marked.column("reasons").to_pylist() == [None, ["r"], ["duplicate"]]
    assert not {"__key_hash", "__key_check"} & set(marked.schema.names)


def test_a_batch_that_is_committed_again_counts_once(sink):
    _, segments = sink.task([(1, 0.0)])
    sink.commit(segments)
    before = sink.log.index()
    sink.log.advance(0, segments, BEGAN, HOUR)
    assert sink.log.index() == before


def test_keys_are_forgotten_when_both_clocks_say_so(sink):
    sink.run([(1, 0.0)], after=0.0)
    sink.run([(2, 3 * HOUR)], after=60.0)  # by the orders' own time the first is too old, by the commits' it is not
    assert sink.task([(1, 0.0)])[0] == [True]
    sink.run([(3, 3 * HOUR)], after=2 * HOUR)
    assert sink.task([(1, 0.0)])[0] == [False]
    assert sink.task([(2, 3 * HOUR)])[0] == [True]  # the other way round: committed long ago, and its time is recent


def test_what_is_kept_stays_bounded_and_small_in_number(sink):
    per_batch, count = 3000, 200
    for batch in range(count):
        at = batch * HOUR / 50  # fifty batches an hour
        sink.run([(batch * per_batch + row, at) for row in range(per_batch)], after=at)
        index = sink.log.index()
        assert len(index.segments) < 16
    kept = sum(segment.keys for segment in index.segments)
    assert 50 * per_batch <= kept <= 4 * 50 * per_batch
    stored = {item.key for item in sink.storage.list("dedup/segments")}
    assert len(stored) <= len(index.segments) + len(index.retired)
    assert len(list(sink.storage.list("dedup/index"))) <= 2


def test_a_large_segment_is_left_alone(sink):
    log = sink.log
    big = np.arange(FINAL_KEYS, dtype=np.uint64)
    (segment,) = [log.write(Keys(big, big, np.zeros(FINAL_KEYS, np.int64)))]
    log.advance(0, [segment], BEGAN, HOUR)
    for batch in range(1, 9):
        small = np.array([batch], np.uint64)
        log.advance(batch, [log.write(Keys(small, small, np.zeros(1, np.int64)))], BEGAN, HOUR)
    assert log.index().segments[0].key == segment.key
    assert len(log.index().segments) < 5


def test_an_index_of_a_late_service_is_not_in_force(sink):
    for key in range(3):
        sink.run([(key, 0.0)])
    slept = KeyLog(sink.storage)
    newest = sink.log.index()
    slept.advance(1, [], BEGAN, HOUR)  # it was about to commit batch 1 when its successor took over
    assert sink.log.index() == newest


@pytest.mark.parametrize("data", [b"", b"QSRKEYS1", b"something else entirely that is longer than a header"])
def test_a_broken_segment_says_what_to_do(sink, data):
    sink.run([(1, 0.0)])
    (segment,) = sink.log.index().segments
    sink.storage.put(segment.key, data)
    with pytest.raises(SinkError, match="remove its folder dedup/"):
        sink.log.read(segment)


def test_a_broken_index_and_a_lost_segment_say_what_to_do(sink):
    sink.run([(1, 0.0)])
    index = sink.log.index()
    sink.storage.delete([index.segments[0].key])
    with pytest.raises(SinkError, match=r"is gone; .*remove its folder dedup/"):
        sink.log.read(index.segments[0])
    (place,) = [item.key for item in sink.storage.list("dedup/index")]
    sink.storage.put(place, b"{}")
    with pytest.raises(SinkError, match="remove its folder dedup/"):
        sink.log.index()


@pytest.mark.parametrize(
    ("count", "level"), [(1, 0), (1024, 0), (1025, 1), (4096, 1), (4097, 2), (16384, 2), (16385, 3)]
)
def test_levels_grow_with_each_four_times_as_many_keys(count, level):
    assert Segment("", count, 0, 0).level == level
