from __future__ import annotations

import pickle
import threading
import time

import pytest

from streaming_app.errors import DataLossError, SourceError
from streaming_app.sources.kinesis.epochs import ShardTask, spread
from tests.kinesis_reading import STREAM, Query, context, credentials, task
from tests.strict_kinesis import strict_kinesis

FIRST = "shardId-000000000000"


@pytest.fixture(autouse=True)
def _credentials(monkeypatch):
    credentials(monkeypatch)


@pytest.fixture
def kinesis():
    with strict_kinesis() as server:
        yield server


@pytest.fixture
def query(kinesis, tmp_path):
    def make(**changes):
        return Query(lambda: context(kinesis.url, tmp_path, **changes))

    return make


def events(first: int, last: int) -> list[bytes]:
    return [b"event %d" % number for number in range(first, last)]


def test_everything_is_read_once_in_several_batches(kinesis, query):
    kinesis.create(STREAM, shards=3)
    sent = kinesis.put(STREAM, events(0, 100))
    reader = query(max_records_per_shard=10).run()
    assert sorted(reader.rows) == sorted(sent)
    assert len(reader.batches) > 3


def test_rows_of_a_shard_come_in_its_order(kinesis, query):
    kinesis.create(STREAM, shards=2)
    sent = kinesis.put(STREAM, events(0, 60))
    got = query(max_records_per_shard=7, max_tasks=1).run().rows
    for shard in kinesis.open_shards(STREAM):
        assert [row for row in got if row.startswith(shard)] == [row for row in sent if row.startswith(shard)]


def test_an_idle_stream_makes_no_batches_and_few_calls(kinesis, query):
    kinesis.create(STREAM, shards=2)
    kinesis.put(STREAM, events(0, 10))
    reader = query().run()
    reader.plan()
    before = kinesis.calls.copy()
    assert [reader.plan() for _ in range(5)] == [False] * 5
    assert kinesis.calls - before == {"GetRecords": 10}


def test_an_empty_stream_makes_no_batch(kinesis, query):
    kinesis.create(STREAM)
    assert query().run().batches == []


def test_probes_of_an_idle_shard_keep_their_distance(kinesis, query):
    kinesis.create(STREAM)
    reader = query(probe_interval=0.2).run()
    before, begun = kinesis.calls["GetRecords"], time.monotonic()
    while time.monotonic() < begun + 1:
        reader.plan()
    assert kinesis.calls["GetRecords"] - before <= 6


def test_the_first_record_after_a_pause_is_seen_within_a_second(kinesis, query):
    kinesis.create(STREAM)
    reader = query(fetch_interval=0.2, probe_interval=0.5).run()
    threading.Timer(0.3, kinesis.put, (STREAM, [b"late"])).start()
    begun = time.monotonic()
    while not reader.plan():
        assert time.monotonic() < begun + 2
    assert time.monotonic() - begun < 1.3


def test_a_restart_goes_on_where_the_last_batch_ended(kinesis, query):
    kinesis.create(STREAM, shards=2)
    sent = kinesis.put(STREAM, events(0, 20))
    reader = query().run().crash()
    sent += kinesis.put(STREAM, events(20, 40))
    assert sorted(reader.run().rows) == sorted(sent)


def test_a_batch_that_crashed_before_its_commit_gives_the_same_rows_again(kinesis, query):
    kinesis.create(STREAM, shards=2)
    kinesis.put(STREAM, events(0, 20))
    reader = query()
    reader.start()
    reader.plan()
    first = reader.read(keep=False)
    kinesis.put(STREAM, events(20, 40))
    reader.crash()
    assert sorted(reader.rows) == sorted(first)
    assert sorted(reader.run().rows) == sorted(kinesis.records(STREAM))


def test_a_batch_that_was_planned_but_never_read_is_read_after_the_restart(kinesis, query):
    kinesis.create(STREAM, shards=2)
    sent = kinesis.put(STREAM, events(0, 20))
    reader = query()
    reader.start()
    reader.plan()
    assert sorted(reader.crash().run().rows) == sorted(sent)


def test_a_batch_of_which_one_task_ended_before_the_crash_reads_that_range_again(kinesis, query):
    kinesis.create(STREAM, shards=2)
    sent = kinesis.put(STREAM, events(0, 20))
    reader = query()
    reader.start()
    reader.plan()
    done, _ = reader.epochs.partitions(*reader.offsets)
    first = task(reader.make(), done)
    sent += kinesis.put(STREAM, events(20, 40))
    reader.crash()
    assert {row for row in reader.rows if row.startswith(done.shards[0].shard)} == set(first)
    assert sorted(reader.run().rows) == sorted(sent)


def test_a_second_evaluation_of_a_batch_gives_the_same_rows(kinesis, query):
    kinesis.create(STREAM)
    kinesis.put(STREAM, events(0, 20))
    reader = query()
    reader.start()
    reader.plan()
    first = reader.read()
    kinesis.put(STREAM, events(20, 40))
    assert reader.read() == first


def test_split_and_merge_are_followed_without_loss_or_repetition(kinesis, query):
    first, second = kinesis.create(STREAM, shards=2)
    sent = kinesis.put(STREAM, events(0, 50))
    reader = query(max_records_per_shard=8).run(batches=1)
    left, right = kinesis.split(STREAM, first)
    sent += kinesis.put(STREAM, events(50, 100))
    reader.run(batches=2)
    kinesis.merge(STREAM, right, second)
    sent += kinesis.put(STREAM, events(100, 150))
    reader.crash().run(batches=3)
    kinesis.split(STREAM, left)
    sent += kinesis.put(STREAM, events(150, 200))
    assert sorted(reader.run().rows) == sorted(sent)
    assert set(reader.offsets[-1].shards) == set(kinesis.open_shards(STREAM))
    assert not reader.offsets[-1].finished


def test_a_parent_is_drained_before_its_children(kinesis, query):
    kinesis.create(STREAM)
    old = kinesis.put(STREAM, events(0, 30))
    kinesis.split(STREAM, FIRST)
    young = kinesis.put(STREAM, events(30, 60))
    rows = query(max_records_per_shard=4).run().rows
    assert max(map(rows.index, old)) < min(map(rows.index, young))


def test_an_expired_parent_is_no_loss(kinesis, query):
    kinesis.create(STREAM)
    kinesis.split(STREAM, FIRST)
    kinesis.expire_shard(STREAM, FIRST)
    sent = kinesis.put(STREAM, events(0, 10))
    assert sorted(query().run().rows) == sorted(sent)


def test_a_shard_that_vanished_unread_is_reported_as_lost(kinesis, query):
    kinesis.create(STREAM)
    kinesis.put(STREAM, events(0, 10))
    reader = query(max_records_per_shard=5).run(batches=1)
    kinesis.split(STREAM, FIRST)
    kinesis.expire_shard(STREAM, FIRST)
    with pytest.raises(
        DataLossError, match=rf"shard {FIRST}: Kinesis no longer knows it.*up to 20\d\d-\S+Z, .*0\.0 hours"
    ):
        reader.run()


def test_fail_on_data_loss_false_goes_on_with_the_children_of_a_lost_shard(kinesis, query, caplog):
    kinesis.create(STREAM)
    sent = kinesis.put(STREAM, events(0, 10))[:5]
    reader = query(max_records_per_shard=5, fail_on_data_loss=False).run(batches=1)
    kinesis.split(STREAM, FIRST)
    kinesis.expire_shard(STREAM, FIRST)
    sent += kinesis.put(STREAM, events(10, 30))
    assert sorted(reader.run().rows) == sorted(sent)
    assert "what it still held is lost" in caplog.text


def test_a_deleted_stream_is_an_error_and_no_loss(kinesis, query):
    kinesis.create(STREAM)
    kinesis.put(STREAM, events(0, 10))
    reader = query().run()
    kinesis.delete(STREAM)
    with pytest.raises(SourceError, match="does not exist"):
        reader.run()


def test_an_unknown_stream_is_an_error_that_names_it(kinesis, query):
    with pytest.raises(SourceError, match="'orders' does not exist"):
        query().run()


def test_latest_skips_what_was_there_and_is_pinned_for_restarts(kinesis, query):
    kinesis.create(STREAM, shards=2)
    kinesis.put(STREAM, events(0, 10))
    time.sleep(0.01)
    reader = query(starting_position="LATEST")
    reader.start()
    sent = kinesis.put(STREAM, events(10, 20))
    again = query(starting_position="LATEST").run()
    assert sorted(again.rows) == sorted(sent)
    assert again.offsets[0] == reader.offsets[0]


def test_latest_on_an_idle_stream_loses_nothing_that_comes_while_the_service_is_down(kinesis, query):
    kinesis.create(STREAM, shards=2)
    reader = query(starting_position="LATEST").run()
    sent = kinesis.put(STREAM, events(0, 10))
    assert sorted(reader.crash().run().rows) == sorted(sent)


def test_latest_on_a_stream_that_is_split_before_its_first_record(kinesis, query):
    kinesis.create(STREAM)
    kinesis.put(STREAM, events(0, 10))
    time.sleep(0.01)
    reader = query(starting_position="LATEST").run()
    kinesis.split(STREAM, FIRST)
    sent = kinesis.put(STREAM, events(10, 20))
    assert sorted(reader.run().rows) == sorted(sent)


def test_at_timestamp_begins_at_the_moment_also_in_children(kinesis, tmp_path, query):
    kinesis.create(STREAM)
    kinesis.put(STREAM, events(0, 10))
    kinesis.split(STREAM, FIRST)
    kinesis.put(STREAM, events(10, 20))
    time.sleep(0.02)
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now := time.time())) + f".{int(now % 1 * 1000):03d}+00:00"
    time.sleep(0.02)
    sent = kinesis.put(STREAM, events(20, 30))
    assert sorted(query(starting_position=f"AT_TIMESTAMP {moment}").run().rows) == sorted(sent)


def test_draining_hands_out_no_new_epoch(kinesis, query, tmp_path):
    kinesis.create(STREAM)
    drain = tmp_path / "drain"
    drain.touch()
    sent = kinesis.put(STREAM, events(0, 10))
    reader = query(drain_path=str(drain)).run()
    assert reader.rows == []
    drain.unlink()
    assert reader.run().rows == sent


def test_a_bounded_run_reads_what_was_there_and_then_stops(kinesis, query):
    kinesis.create(STREAM, shards=2)
    sent = kinesis.put(STREAM, events(0, 40))
    reader = query(available_now=True, max_records_per_shard=6)
    reader.run()
    kinesis.put(STREAM, events(40, 80))
    assert not reader.plan()
    assert sorted(reader.rows) == sorted(sent)


def test_a_bounded_run_ends_although_records_keep_coming(kinesis, query):
    kinesis.create(STREAM)
    sent = kinesis.put(STREAM, events(0, 10))
    reader = query(available_now=True, max_records_per_shard=6)
    number = 10
    reader.start()
    for _ in range(50):
        if not reader.plan():
            break
        reader.read()
        reader.commit()
        kinesis.put(STREAM, events(number, number + 3))
        number += 3
    assert set(sent) <= set(reader.rows)
    assert len(reader.batches) < 50


def test_a_bounded_run_reads_children_that_were_there_at_its_start(kinesis, query):
    kinesis.create(STREAM)
    sent = kinesis.put(STREAM, events(0, 10))
    kinesis.split(STREAM, FIRST)
    sent += kinesis.put(STREAM, events(10, 30))
    reader = query(available_now=True).run()
    assert sorted(reader.rows) == sorted(sent)


def test_shards_are_spread_over_at_most_max_tasks(kinesis, query):
    kinesis.create(STREAM, shards=7)
    sent = kinesis.put(STREAM, events(0, 50))
    reader = query(max_tasks=3)
    reader.start()
    reader.plan()
    partitions = reader.epochs.partitions(*reader.offsets)
    assert sorted(len(partition.shards) for partition in partitions) == [2, 2, 3]
    assert pickle.loads(pickle.dumps(partitions)) == partitions  # noqa: S301 - our own
    assert sorted(reader.read()) == sorted(sent)
    assert len(query(parallelism=2).epochs.partitions(*reader.offsets)) == 2


def test_shards_are_grouped_by_what_they_gave_last():
    tasks = [ShardTask(name, "TRIM_HORIZON") for name in "abcdef"]
    load = {"a": 90, "b": 50, "c": 40, "d": 1}
    groups = spread(tasks, load, 2)
    assert sorted(sum(load.get(task.shard, 0) for task in group) for group in groups) == [90, 91]
    assert sorted(len(group) for group in spread(tasks, {}, 4)) == [1, 1, 2, 2]


def test_no_more_is_asked_than_needed_in_the_steady_state(kinesis, query):
    """A look, a read with the iterator of that look, and an iterator for the next look: three calls a batch."""
    kinesis.create(STREAM)
    reader = query()
    for number in range(3):
        kinesis.put(STREAM, events(number, number + 1))
        before = kinesis.calls.copy()
        reader.run(batches=1)
    calls = kinesis.calls - before
    assert calls["GetRecords"] == 2
    assert calls["GetShardIterator"] <= 1
    assert calls["ListShards"] == 0


def test_a_query_that_leaves_rows_unread_is_told_so(kinesis, query):
    kinesis.create(STREAM)
    kinesis.put(STREAM, events(0, 10))
    reader = query()
    reader.start()
    reader.plan()
    reader.epochs.partitions(*reader.offsets)
    with pytest.raises(SourceError, match="did not consume the whole batch"):
        reader.plan()


def test_faults_of_every_kind_change_no_row(kinesis, query):
    first, _ = kinesis.create(STREAM, shards=2)
    kinesis.set(throttle=0.2, expire=0.1, internal=0.1, empty=0.2)
    reader = query(max_records_per_shard=20, throttle_timeout=60.0)
    sent = []
    for number in range(4):
        sent += kinesis.put(STREAM, events(100 * number, 100 * number + 30))
        reader.run(batches=2).crash()
    kinesis.split(STREAM, first)
    sent += kinesis.put(STREAM, events(1000, 1030))
    assert sorted(reader.run().rows) == sorted(sent)


def test_the_real_limits_of_a_shard_are_hardly_ever_hit(kinesis, query):
    kinesis.create(STREAM)
    kinesis.set(limits=True)
    sent = kinesis.put(STREAM, [b"x" * 100_000 + b"%d" % number for number in range(20)])
    reader = query(fetch_interval=0.2, bytes_per_second=2 << 20, records_per_fetch=4).run()
    assert reader.rows == sent
    assert kinesis.calls["over limit"] <= 1
