from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from streaming_app.errors import DataLossError
from streaming_app.journal.losses import Losses
from streaming_app.sources.kinesis.clock import SystemClock
from tests.kinesis_reading import STREAM, Query, context, credentials, settled_latest, task
from tests.strict_kinesis import strict_kinesis

FIRST = "shardId-000000000000"


class LaterClock(SystemClock):
    """The machine's clock, some hours on."""

    def __init__(self, hours: float = 0.0) -> None:
        self.hours = hours

    def now(self) -> float:
        return super().now() + self.hours * 3600


@pytest.fixture
def clock():
    return LaterClock()


@pytest.fixture
def kinesis(clock, monkeypatch):
    credentials(monkeypatch)
    with strict_kinesis(clock.now) as server:
        server.set(iterator_life=1e9)
        server.create(STREAM)
        yield server


@pytest.fixture
def query(kinesis, tmp_path, clock):
    def make(**changes):
        return Query(lambda: context(kinesis.url, tmp_path, clock, **changes))

    return make


def events(count: int) -> list[bytes]:
    return [b"event %d" % number for number in range(count)]


def read_ten_then_go_down(kinesis, query, clock, hours, trimmed, **changes):
    """Ten records are read; five more come while nobody reads, and retention takes the oldest."""
    kinesis.put(STREAM, events(10))
    reader = query(**changes).run()
    kinesis.put(STREAM, events(5))
    kinesis.trim(STREAM, FIRST, trimmed)
    clock.hours = hours
    return reader


def test_records_that_expired_while_nobody_read_stop_the_source(kinesis, query, clock):
    reader = read_ten_then_go_down(kinesis, query, clock, hours=30, trimmed=12)
    with pytest.raises(
        DataLossError, match=rf"shard {FIRST} was read up to .*6.0 hours has expired.*fail_on_data_loss=false"
    ):
        reader.crash().run()


def test_a_batch_that_was_planned_but_not_read_is_not_read_with_a_hole(kinesis, query, clock):
    kinesis.put(STREAM, events(10))
    reader = query().run()
    kinesis.put(STREAM, events(5))
    assert reader.plan()
    kinesis.trim(STREAM, FIRST, 12)
    clock.hours = 30
    with pytest.raises(DataLossError, match="has expired unread"):
        reader.crash()


def test_children_whose_first_records_may_be_gone_stop_the_source(kinesis, query, clock):
    kinesis.put(STREAM, events(10))
    reader = query().run()
    kinesis.split(STREAM, FIRST)
    reader.run(batches=1)  # the parent's end
    kinesis.put(STREAM, events(20))
    for shard in (FIRST, *kinesis.open_shards(STREAM)):
        kinesis.trim(STREAM, shard, 10 if shard == FIRST else 3)
    clock.hours = 30
    with pytest.raises(DataLossError, match=f"shard {FIRST}, whose children follow, was read up to"):
        reader.crash().run()


def read_a_parent_late(kinesis, reader, clock, *, to_its_end: bool):
    """It was split 23 hours before its last records are read; its children have had records since."""
    kinesis.put(STREAM, events(10))
    reader.run(batches=1)
    kinesis.split(STREAM, FIRST)
    kinesis.put(STREAM, events(40))
    clock.hours = 23
    reader.run(batches=2 if to_its_end else 1)
    assert len(reader.rows) == 10


@pytest.mark.parametrize("to_its_end", [True, False])
def test_children_of_a_parent_that_was_read_late_may_have_lost_what_came_before_its_end_was_read(
    kinesis, query, clock, to_its_end
):
    reader = query(max_records_per_shard=5)
    read_a_parent_late(kinesis, reader, clock, to_its_end=to_its_end)
    clock.hours = 30
    kinesis.trim(STREAM, FIRST, 10)
    for shard in kinesis.open_shards(STREAM):
        kinesis.trim(STREAM, shard, 5)
    with pytest.raises(DataLossError, match=rf"{FIRST}.*6\.0 hours has expired"):
        reader.crash().run()


def test_children_of_a_parent_that_was_read_late_are_whole_while_its_last_record_is_kept(kinesis, query, clock):
    reader = query(max_records_per_shard=5)
    read_a_parent_late(kinesis, reader, clock, to_its_end=True)
    kinesis.set(retention_hours=48)
    clock.hours = 40
    assert len(reader.crash().run().rows) == 50


def test_a_split_of_a_shard_that_was_idle_for_days_is_no_loss(kinesis, query, clock):
    kinesis.put(STREAM, events(10))
    reader = query().run()
    for hours in range(0, 75, 5):
        clock.hours = hours
        assert not reader.plan()
    kinesis.trim(STREAM, FIRST, 10)
    kinesis.split(STREAM, FIRST)
    sent = kinesis.put(STREAM, events(20))
    assert sorted(reader.crash().run().rows[10:]) == sorted(sent)


@pytest.mark.parametrize("begun", [True, False])
def test_a_shard_that_gave_nothing_since_latest_may_have_lost_what_came(kinesis, query, clock, begun):
    reader = query(starting_position="LATEST").run()
    kinesis.put(STREAM, events(20))
    if begun:
        assert reader.plan()
    kinesis.trim(STREAM, FIRST, 5)
    clock.hours = 30
    with pytest.raises(DataLossError, match="has expired unread"):
        reader.crash().run()


def test_a_restart_that_follows_soon_on_latest_loses_nothing(kinesis, query, clock):
    reader = query(starting_position="LATEST").run()
    clock.hours = 23
    sent = kinesis.put(STREAM, events(20))
    assert reader.crash().run().rows == sent


def test_a_batch_of_a_stream_made_anew_meanwhile_is_not_read_from_the_new_one(kinesis, query, clock):
    kinesis.put(STREAM, events(10))
    reader = query()
    reader.start()
    assert reader.plan()
    make_anew(kinesis, clock)
    kinesis.put(STREAM, events(5))
    with pytest.raises(DataLossError, match="deleted and made again"):
        reader.crash()
    assert not reader.rows


def test_accepted_losses_are_noted_once_and_what_is_left_is_read(kinesis, query, clock, caplog, tmp_path):
    reader = read_ten_then_go_down(kinesis, query, clock, hours=30, trimmed=12, fail_on_data_loss=False)
    for _ in range(2):
        reader.crash().run()
    assert len(reader.rows) == 10 + 3
    assert caplog.text.count("has expired unread") == 1
    (lost,) = Losses(context(kinesis.url, tmp_path).read_log).all()
    assert lost.detail["where"] == f"shard {FIRST}"
    assert lost.detail["until"] - lost.detail["since"] == pytest.approx(6 * 3600, abs=60)


@pytest.mark.parametrize("given", [(30, 9, 24), (20, 12, 24), (30, 12, 48)])
def test_no_loss_while_the_last_record_is_kept_or_the_time_is_shorter(kinesis, query, clock, given):
    hours, trimmed, retention = given
    kinesis.set(retention_hours=retention)
    reader = read_ten_then_go_down(kinesis, query, clock, hours, trimmed)
    reader.crash().run()
    assert len(reader.rows) == min(15, 10 + 15 - trimmed)


def test_an_idle_stream_that_was_watched_all_the_time_has_lost_nothing(kinesis, query, clock):
    kinesis.put(STREAM, events(10))
    reader = query().run()
    for hours in range(0, 100, 5):
        clock.hours = hours
        assert not reader.plan()
    kinesis.trim(STREAM, FIRST, 10)
    sent = kinesis.put(STREAM, events(5))
    assert reader.crash().run().rows[10:] == sent


def test_a_reader_that_falls_behind_retention_is_stopped_while_it_runs(kinesis, query, clock):
    kinesis.put(STREAM, events(10))
    reader = query(max_records_per_shard=5).run(batches=1)
    clock.hours = 30
    kinesis.trim(STREAM, FIRST, 8)
    with pytest.raises(DataLossError, match="has expired unread"):
        reader.run()


def make_anew(kinesis, clock):
    """The same name, another stream: its sequence numbers begin anew too."""
    kinesis.delete(STREAM)
    clock.hours += 1
    kinesis.create(STREAM, shards=2)


def test_a_stream_made_anew_under_the_same_name_stops_the_source(kinesis, query, clock):
    kinesis.put(STREAM, events(10))
    reader = query().run()
    make_anew(kinesis, clock)
    kinesis.put(STREAM, events(5))
    with pytest.raises(DataLossError, match=r"deleted and made again.*Start with a new checkpoint"):
        reader.crash().run()


def test_where_losses_are_accepted_a_stream_made_anew_is_read_from_its_beginning_once(kinesis, query, clock, caplog):
    kinesis.put(STREAM, events(10))
    reader = query(fail_on_data_loss=False).run()
    make_anew(kinesis, clock)
    sent = kinesis.put(STREAM, events(20))
    reader.crash()
    settled_latest(reader.epochs)  # decided, but Spark died before it wrote the offset
    for _ in range(3):
        reader.crash().run()
    assert sorted(reader.rows[10:]) == sorted(sent)
    assert caplog.text.count("reading the new stream from its beginning") == 1


@pytest.mark.parametrize("start", ["TRIM_HORIZON", "LATEST"])
@pytest.mark.parametrize("was", ["unread in its first batch", "unread", "read in part", "read"])
def test_an_uncommitted_batch_of_a_stream_made_anew_is_lost_where_that_is_accepted(kinesis, query, clock, was, start):
    reader = query(fail_on_data_loss=False, max_records_per_shard=5, starting_position=start)
    reader.start()
    kinesis.split(STREAM, FIRST)
    kinesis.put(STREAM, events(40))
    if was != "unread in its first batch":
        reader.run(batches=2)
    before = len(reader.rows)
    assert reader.plan()
    parts = reader.epochs.partitions(*reader.offsets[-2:])
    for part in {"read": parts, "read in part": parts[:1]}.get(was, []):
        task(reader.make(), part)
    make_anew(kinesis, clock)
    sent = kinesis.put(STREAM, events(20))
    reader.crash()
    assert len(reader.rows) == before
    for _ in range(3):
        reader.crash().run()
    assert sorted(reader.rows[before:]) == sorted(sent)
    names = [loss.name for loss in Losses(reader.make().read_log).all()]
    assert len([name for name in names if name.startswith("stream-")]) == 1
    assert len([name for name in names if "epoch-" in name]) == {"read": 2, "read in part": 2}.get(was, 1)


def test_a_start_before_all_that_is_kept_is_a_loss(kinesis, query, clock):
    clock.hours = 100
    early = (datetime.now(UTC) + timedelta(hours=100 - 30)).isoformat()
    with pytest.raises(DataLossError, match="keeps 24 hours and cannot be read from"):
        query(starting_position=f"AT_TIMESTAMP {early}").run()
    sent = kinesis.put(STREAM, events(3))
    assert query(starting_position=f"AT_TIMESTAMP {early}", fail_on_data_loss=False).run().rows == sent


def test_a_start_before_the_stream_was_created_is_its_beginning(kinesis, query):
    sent = kinesis.put(STREAM, events(3))
    assert query(starting_position="AT_TIMESTAMP 2020-01-01T00:00:00Z").run().rows == sent
