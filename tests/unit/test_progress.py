from __future__ import annotations

import json
import logging
from types import SimpleNamespace

import pytest

from streaming_app.journal.ledger import Counts, Entry, Ledger
from streaming_app.journal.read_log import ReadLog, UnitRead
from streaming_app.progress import Lag, ProgressListener, Standing, log_batch
from tests.memory_storage import MemoryStorage

ENTRY = Entry(4, 9, "kinesis:orders", "f", "t", Counts(read=6, clean=5, dead=1), (), (100.0, 101.0), 102.5)


def event(batch_id=4, **durations):
    """Spark's progress event, as far as the listener reads it."""
    document = {
        "name": "kinesis",
        "batchId": batch_id,
        "durationMs": durations or {"addBatch": 7, "triggerExecution": 9},
    }
    return SimpleNamespace(progress=SimpleNamespace(json=json.dumps(document)))


@pytest.fixture
def storage():
    storage = MemoryStorage()
    Ledger(storage).append_if_absent(ENTRY)
    return storage


@pytest.fixture
def batches():
    return []


@pytest.fixture
def listener(storage, batches):
    return ProgressListener({"kinesis": Ledger(storage)}, batches.append, {"kinesis": ReadLog(storage)})


def test_a_micro_batch_comes_with_its_ledger_entry_and_the_lag_of_each_shard(listener, batches, storage):
    for shard, behind in (("shard-1", 0), ("shard-2", 900)):
        ReadLog(storage).put_if_absent(9, UnitRead(shard, 3, 30, {"millis_behind": behind}))
    listener.onQueryProgress(event())
    (batch,) = batches
    assert batch.entry == ENTRY
    assert batch.standing.lag.by_shard == {"shard-1": 0, "shard-2": 900}
    assert batch.standing.lag.worst == ("shard-2", 900)
    assert not batch.standing.lag.idle


def test_a_stream_read_to_all_its_tips_is_idle(listener, batches, storage):
    for shard in ("shard-1", "shard-2"):
        ReadLog(storage).put_if_absent(9, UnitRead(shard, 3, 30, {"millis_behind": 0, "at_tip": True}))
    listener.onQueryProgress(event())
    assert batches[0].standing.lag.idle


def test_idle_is_what_the_lag_or_the_waiting_files_say():
    behind = Lag({"a": 0, "b": 5}, frozenset({"a"}))
    assert [Standing(lag=lag).idle for lag in (behind, Lag({"a": 0}, frozenset({"a"})))] == [False, True]
    assert [Standing(waiting={"files": files}).idle for files in (3, 0)] == [False, True]
    assert Standing().idle is None


def test_an_idle_query_is_told_of_by_its_name(storage):
    told = []
    listener = ProgressListener({"kinesis": Ledger(storage)}, told.append, heard=told.append, idle=told.append)
    listener.onQueryStarted(SimpleNamespace(runId="r", name="kinesis"))
    listener.onQueryIdle(SimpleNamespace(runId="r"))
    assert told == ["kinesis", "kinesis"]


def test_a_source_without_lag_has_none(listener, batches, storage):
    ReadLog(storage).put_if_absent(9, UnitRead("orders.csv", 6, 60, {}))
    listener.onQueryProgress(event())
    assert batches[0].standing.lag is None


def test_a_trigger_without_data_and_an_unknown_batch_are_no_batches(listener, batches):
    listener.onQueryProgress(event(triggerExecution=1))
    listener.onQueryProgress(event(batch_id=5))
    assert batches == []


def test_an_error_of_the_report_is_logged_and_harms_nothing(listener, caplog):
    listener.onQueryProgress(SimpleNamespace(progress=SimpleNamespace(json="{}")))
    assert "a micro-batch could not be reported" in caplog.text


def test_the_log_line_names_the_shard_that_is_furthest_behind(listener, batches, storage, caplog):
    caplog.set_level(logging.INFO)
    ReadLog(storage).put_if_absent(9, UnitRead("shard-2", 6, 60, {"millis_behind": 900}))
    listener.onQueryProgress(event())
    log_batch(batches[0])
    assert "shard-2" in str(caplog.records[-1].__dict__)
    assert "900" in str(caplog.records[-1].__dict__)


def test_a_micro_batch_comes_with_its_reads_and_when_it_ended(listener, batches, storage):
    read = UnitRead("shard-1", 3, 30, {"millis_behind": 0, "calls": 2})
    ReadLog(storage).put_if_absent(9, read)
    progress = json.loads(event().progress.json) | {"timestamp": "2026-03-01T00:00:00.500Z"}
    listener.onQueryProgress(SimpleNamespace(progress=SimpleNamespace(json=json.dumps(progress))))
    assert batches[0].standing.reads == {"shard-1": read}
    assert batches[0].ended_at == pytest.approx(1772323200.509)
    assert batches[0].standing.waiting is None


def test_files_that_wait_come_from_the_plan(listener, batches, storage):
    waiting = {"files": 3, "bytes": 300, "oldest": 5}
    ReadLog(storage).put_plan_if_absent(9, {"files": [], "waiting": waiting})
    ReadLog(storage).put_if_absent(9, UnitRead("orders.csv", 6, 60, {}))
    listener.onQueryProgress(event())
    assert batches[0].standing.waiting == waiting


def test_a_source_is_heard_of_with_and_without_rows_to_read(storage):
    heard = []
    listener = ProgressListener({"kinesis": Ledger(storage)}, lambda _: None, heard=heard.append)
    listener.onQueryStarted(SimpleNamespace(runId="r1", name="csv"))
    listener.onQueryIdle(SimpleNamespace(runId="r1"))
    listener.onQueryProgress(event(triggerExecution=1))
    assert heard == ["csv", "kinesis"]
