"""The commit is cut off at every storage call there is; afterwards the lake holds every row exactly once."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streaming_app.errors import DataLossError, SinkError
from streaming_app.journal.keys import KeyLog
from streaming_app.journal.ledger import Ledger
from streaming_app.journal.read_log import ReadLog, UnitRead
from streaming_app.sink.commit import Committer
from streaming_app.sink.datasource import TaskWriter
from streaming_app.sink.options import SinkOptions

MUTATING = {"put", "put_if_absent", "delete", "publish", "discard"}
NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Crash(BaseException):
    """The process dies here."""


class Dying:
    """A storage that dies at its n-th change, just before or just after it took effect."""

    def __init__(self, storage, counter):
        self._storage, self._counter = storage, counter

    def __getattr__(self, name):
        method = getattr(self._storage, name)
        if name not in MUTATING:
            return method

        def call(*arguments):
            if self._counter.due(before=True):
                raise Crash
            result = method(*arguments)
            if self._counter.due(before=False):
                raise Crash
            return result

        return call


class Counter:
    def __init__(self, at: int | None, *, before: bool = True):
        self.at, self.before, self.calls = at, before, 0

    def due(self, *, before: bool) -> bool:
        self.calls += before
        return self.calls == self.at and before is self.before


def committer(options: SinkOptions, counter: Counter) -> Committer:
    made = Committer(options)
    made._lake = Dying(made._lake, counter)
    made._checkpoint = Dying(made._checkpoint, counter)
    made._ledger = Ledger(made._checkpoint)
    made._keys = KeyLog(made._checkpoint)
    return made


def batch(orders, begin: int, count: int) -> pa.RecordBatch:
    """Rows of the judged layout over two days, every fifth a dead letter, each with a key of its own."""
    rows = range(begin, begin + count)
    columns = {column.name: pa.array([None] * count, pa.string()) for column in orders.columns}
    columns["quantity"] = pa.array([1] * count, pa.int32())
    columns["amount"] = pa.nulls(count, pa.decimal128(10, 2))
    columns["order_ts"] = pa.array([NOW] * count, pa.timestamp("us", tz="UTC"))
    dead = [row % 5 == 0 for row in rows]
    columns |= {
        "rescued_data": pa.nulls(count, pa.string()),
        "source_position": pa.array([f"s:{row}" for row in rows]),
        "arrived_at": columns["order_ts"],
        "order_date": pa.array([date(2026, 3, 1 + row % 2) for row in rows], pa.date32()),
        "stage": pa.array(["rule" if is_dead else None for is_dead in dead]),
        "reasons": pa.array([["r"] if is_dead else None for is_dead in dead], pa.list_(pa.string())),
        "raw": pa.array(["x" if is_dead else None for is_dead in dead]),
        "raw_encoding": pa.array(["utf-8" if is_dead else None for is_dead in dead]),
        "__key_hash": pa.array([None if row % 5 == 0 else -row for row in rows], pa.int64()),
        "__key_check": pa.array([None if row % 5 == 0 else row for row in rows], pa.int64()),
    }
    return pa.RecordBatch.from_arrays(list(columns.values()), names=[str(name) for name in columns])


def prepare(folder: Path, orders, read: int = 20) -> SinkOptions:
    """A checkpoint in which Spark has planned batch 0 and the source has read epoch 1."""
    options = SinkOptions(
        lake=str(folder / "lake"),
        checkpoint=str(folder / "checkpoint"),
        source="test",
        owner="test",
        input_source="stream",
        dataset=orders.to_option(),
        suite_fingerprint="f",
    )
    checkpoint = options.open_checkpoint()
    checkpoint.put("offsets/0", b'v1\n{}\n{"epoch": 1}')
    ReadLog(checkpoint).put_if_absent(1, UnitRead("s", read, 0))
    return options


def write(options: SinkOptions, orders) -> list:
    """Two tasks of ten rows each."""
    results = []
    for task in range(2):
        writer = TaskWriter(options)
        writer.add(batch(orders, task * 10, 10))
        results.append(writer.finish())
    return results


def positions(options: SinkOptions) -> list[str]:
    """Every row that a reader of the lake sees."""
    visible = [file for table in ("clean", "dead_letter") for file in Path(options.lake, table).rglob("*.parquet")]
    return sorted(
        position for file in visible for position in pq.ParquetFile(file).read()["source_position"].to_pylist()
    )


EXPECTED = sorted(f"s:{row}" for row in range(20))


def repeated(options: SinkOptions, orders) -> int:
    """How many rows the sink finds to be repetitions when all come again as a next batch; 16 of them are clean."""
    return sum(result.by_stage.get("duplicate", 0) for result in write(options, orders))


def restart(options: SinkOptions, orders, counter: Counter) -> None:
    """What the service does after a crash: recover; Spark runs batch 0 again, since its commit log lacks it."""
    made = committer(options, counter)
    made.recover()
    made.commit(write(options, orders), 0)


def run_until_done(options: SinkOptions, orders, crashes: list[Counter], *, abort: bool) -> None:
    for counter in crashes:
        results = write(options, orders)
        made = committer(options, counter)
        try:
            made.recover()
            made.commit(results, 0)
        except Crash:
            if abort:  # commit failed but the process lives on: Spark calls abort with the same messages
                Committer(options).abort(results, 0)
    restart(options, orders, Counter(None))
    Committer(options).recover()


def test_without_a_crash_every_row_is_visible_once(tmp_path, orders):
    options = prepare(tmp_path, orders)
    restart(options, orders, Counter(None))
    assert positions(options) == EXPECTED
    assert repeated(options, orders) == 16


def test_batch_that_is_run_again_after_its_commit_changes_nothing(tmp_path, orders):
    options = prepare(tmp_path, orders)
    restart(options, orders, Counter(None))
    before = sorted(Path(options.lake).rglob("*.parquet"))
    restart(options, orders, Counter(None))
    assert sorted(Path(options.lake).rglob("*.parquet")) == before


def test_a_batch_that_comes_again_with_another_epoch_is_not_taken_for_written(tmp_path, orders):
    options = prepare(tmp_path, orders)
    restart(options, orders, Counter(None))
    checkpoint = options.open_checkpoint()
    checkpoint.put("offsets/0", b'v1\n{}\n{"epoch": 2}')
    ReadLog(checkpoint).put_if_absent(2, UnitRead("s", 20, 0))
    with pytest.raises(SinkError, match="epoch 2"):
        restart(options, orders, Counter(None))
    assert positions(options) == EXPECTED


@pytest.mark.parametrize("abort", [False, True])
@pytest.mark.parametrize("before", [True, False])
def test_every_single_crash_point(tmp_path, orders, before, abort):
    total = Counter(None)
    options = prepare(tmp_path / "count", orders)
    restart(options, orders, total)
    assert total.calls >= 7  # entry, five files or more, published mark
    for at in range(1, total.calls + 1):
        options = prepare(tmp_path / str(at), orders)
        run_until_done(options, orders, [Counter(at, before=before)], abort=abort)
        assert positions(options) == EXPECTED, at
        assert not list(Path(options.lake, "_staging").rglob("*.staged")), at
        assert repeated(options, orders) == 16, at


crash = st.builds(lambda at, before: Counter(at, before=before), st.integers(1, 12), st.booleans())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(crashes=st.lists(crash, min_size=1, max_size=5), abort=st.booleans(), lose=st.booleans())
def test_crashes_on_crashes_with_staged_files_lost_in_between(tmp_path_factory, orders, crashes, abort, lose):
    options = prepare(tmp_path_factory.mktemp("lake"), orders)
    for number, counter in enumerate(crashes):
        run = Counter(counter.at, before=counter.before)
        results = write(options, orders)
        made = committer(options, run)
        try:
            made.recover()
            made.commit(results, 0)
        except Crash:
            if abort:
                Committer(options).abort(results, 0)
        if lose and number % 2 == 0:  # a lifecycle rule aborted what was staged
            for file in Path(options.lake, "_staging").rglob("*.staged"):
                file.unlink()
    run_until_done(options, orders, [], abort=False)
    assert positions(options) == EXPECTED
    assert repeated(options, orders) == 16


def test_rows_read_and_rows_written_must_be_equal(tmp_path, orders):
    options = prepare(tmp_path, orders, read=21)
    with pytest.raises(DataLossError, match=r"21 rows were read.*16 clean \+ 4 dead.*= 20"):
        Committer(options).commit(write(options, orders), 0)
    assert positions(options) == []


def test_staged_files_that_are_gone_after_spark_committed_are_reported_as_lost(tmp_path, orders):
    options = prepare(tmp_path, orders)
    with pytest.raises(Crash):
        committer(options, Counter(1, before=False)).commit(write(options, orders), 0)  # right after the entry
    options.open_checkpoint().put("commits/0", b"v1\n{}")
    for file in Path(options.lake, "_staging").rglob("*.staged"):
        file.unlink()
    with pytest.raises(DataLossError, match="batch 0"):
        Committer(options).recover()


def test_abort_never_touches_what_the_ledger_owns(tmp_path, orders):
    options = prepare(tmp_path, orders)
    results = write(options, orders)
    Committer(options).commit(results, 0)
    Committer(options).abort(results, 0)
    assert positions(options) == EXPECTED


def test_ledger_entry_says_what_the_batch_was(tmp_path, orders):
    options = prepare(tmp_path, orders)
    Committer(options).commit(write(options, orders), 0)
    entry = Ledger(options.open_checkpoint()).get(0)
    assert (entry.epoch, entry.counts.read, entry.counts.clean, entry.counts.dead) == (1, 20, 16, 4)
    assert (entry.counts.by_reason, entry.counts.by_stage) == ({"r": 4}, {"rule": 4})
    assert json.loads(json.dumps(entry.to_json())) == entry.to_json()


def test_warnings_are_counted_by_rule_and_marked_in_clean_rows(tmp_path, orders):
    options = prepare(tmp_path, orders, read=10)
    lists = pa.list_(pa.string())
    rows = batch(orders, 0, 10)
    rows = rows.append_column("quality_warnings", pa.array([["w"], ["w", "v"], None, None, None] * 2, lists))
    rows = rows.append_column("quality_infos", pa.array([None, None, ["i"], None, None] * 2, lists))
    writer = TaskWriter(options)
    writer.add(rows)
    Committer(options).commit([writer.finish()], 0)
    counts = Ledger(options.open_checkpoint()).get(0).counts
    assert (counts.by_warning, counts.by_info, counts.by_reason) == ({"w": 4, "v": 2}, {"i": 2}, {"r": 2})
    marked = {}
    for file in Path(options.lake, "clean").rglob("*.parquet"):
        marked |= {row["source_position"]: row["quality_warnings"] for row in pq.ParquetFile(file).read().to_pylist()}
    assert len(marked) == 8
    assert {position: found for position, found in marked.items() if found} == {"s:1": ["w", "v"], "s:6": ["w", "v"]}


def test_clean_files_have_the_warnings_column_also_without_such_rules(tmp_path, orders):
    options = prepare(tmp_path, orders)
    Committer(options).commit(write(options, orders), 0)
    file = next(Path(options.lake, "clean").rglob("*.parquet"))
    assert pq.ParquetFile(file).read()["quality_warnings"].null_count == pq.read_metadata(file).num_rows


def test_temporary_files_of_a_killed_spark_do_not_stand_in_the_way(tmp_path, orders):
    options = prepare(tmp_path, orders)
    offsets = Path(options.checkpoint, "offsets")
    for name in (".1.8c18bd1a.tmp", "..1.8c18bd1a.tmp.crc"):
        (offsets / name).touch()
    Committer(options).recover()
    assert [path.name for path in offsets.iterdir()] == ["0"]
