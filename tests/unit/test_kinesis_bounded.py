from __future__ import annotations

from datetime import UTC, datetime

import pytest

from streaming_app.config.models import parse_past
from streaming_app.errors import DataLossError
from streaming_app.sources.kinesis.clock import SystemClock
from tests.kinesis_reading import STREAM, Query, context, credentials
from tests.strict_kinesis import strict_kinesis

FIRST = "shardId-000000000000"


class OwnClock(SystemClock):
    """Hours pass when the test says so."""

    def __init__(self) -> None:
        self.start, self.hours = 1_700_000_000.0, 0.0

    def now(self) -> float:
        return self.start + self.hours * 3600

    def moment(self, hours: float) -> str:
        return datetime.fromtimestamp(self.start + hours * 3600, UTC).isoformat()


@pytest.fixture
def clock():
    return OwnClock()


@pytest.fixture
def kinesis(clock, monkeypatch):
    credentials(monkeypatch)
    with strict_kinesis(clock.now, iterator_life=1e9) as server:
        server.create(STREAM, shards=2)
        yield server


@pytest.fixture
def query(kinesis, tmp_path, clock):
    def make(folder="one", **changes):
        (tmp_path / folder).mkdir(exist_ok=True)
        return Query(lambda: context(kinesis.url, tmp_path / folder, clock, **changes))

    return make


def put(kinesis, clock, hour, count=20):
    clock.hours = hour
    return kinesis.put(STREAM, [b"%d at %s" % (number, str(hour).encode()) for number in range(count)])


def test_a_run_until_a_moment_ends_before_the_first_record_that_came_then(kinesis, query, clock):
    sent = [put(kinesis, clock, hour) for hour in range(4)]
    reader = query(until=clock.moment(2), max_records_per_shard=7).run()
    assert sorted(reader.rows) == sorted(sent[0] + sent[1])
    assert not reader.plan()


def test_what_comes_during_the_run_is_left_out_and_a_restart_ends_at_the_same_records(kinesis, query, clock):
    sent = put(kinesis, clock, 0, count=40)
    clock.hours = 2.5
    reader = query(until=clock.moment(2), max_records_per_shard=5).run(batches=2)
    put(kinesis, clock, 3)  # neither shard had a record later than the moment when the bound was decided
    assert sorted(reader.crash().run().rows) == sorted(sent)


def test_shards_are_followed_to_the_bound_and_no_younger_shard_is_read(kinesis, query, clock):
    sent = put(kinesis, clock, 0)
    kinesis.split(STREAM, FIRST)
    sent += put(kinesis, clock, 1)
    put(kinesis, clock, 3)
    reader = query(until=clock.moment(2), max_records_per_shard=5).run(batches=1)
    kinesis.split(STREAM, kinesis.open_shards(STREAM)[0])
    put(kinesis, clock, 4)
    assert sorted(reader.run().rows) == sorted(sent)


def test_a_shard_that_was_resharded_after_the_moment_ends_at_its_bound(kinesis, query, clock):
    sent = put(kinesis, clock, 0)
    put(kinesis, clock, 3)
    kinesis.split(STREAM, FIRST)
    put(kinesis, clock, 4)
    reader = query(until=clock.moment(2)).run(batches=12)
    assert sorted(reader.rows) == sorted(sent)
    assert not reader.plan()
    assert reader.batches == [20]


def test_a_run_that_is_started_again_after_a_reshard_ends_at_its_bound(kinesis, query, clock):
    sent = put(kinesis, clock, 0)
    put(kinesis, clock, 3)
    reader = query(until=clock.moment(2), max_records_per_shard=5).run(batches=1)
    kinesis.split(STREAM, FIRST)
    put(kinesis, clock, 4)
    reader.crash().run(batches=15)
    assert sorted(reader.rows) == sorted(sent)
    assert not reader.crash().plan()
    assert reader.batches[-1]


def test_what_came_after_the_moment_does_not_count_as_read(kinesis, query, clock):
    """The read before the bound ended looks at an answer that goes beyond it, up to the tip."""
    put(kinesis, clock, 0)
    put(kinesis, clock, 10)
    clock.hours = 20
    reader = query(until=clock.moment(2)).run()
    for shard in kinesis.open_shards(STREAM):
        kinesis.trim(STREAM, shard, 15)
    clock.hours = 36
    following = query()
    following.offsets, following.committed = reader.offsets, reader.committed
    with pytest.raises(DataLossError, match="has expired unread"):
        following.crash().run()


def test_a_service_goes_on_where_a_run_until_a_moment_ended(kinesis, query, clock):
    sent = [put(kinesis, clock, hour) for hour in range(4)]
    reader = query(until=clock.moment(2)).run()
    following = query()
    following.offsets, following.committed, following.rows = reader.offsets, reader.committed, reader.rows
    assert sorted(following.crash().run().rows) == sorted(place for hour in sent for place in hour)


def test_the_bound_is_decided_once_and_logged(kinesis, query, clock, caplog):
    caplog.set_level("INFO")
    put(kinesis, clock, 0)
    put(kinesis, clock, 3)
    reader = query(until=clock.moment(2), max_records_per_shard=5).run(batches=1)
    reader.crash().run()
    assert caplog.text.count("reading up to") == 1
    assert f"{FIRST} before 49" in caplog.text


def test_a_moment_in_the_future_is_refused():
    with pytest.raises(ValueError, match="lies in the future"):
        parse_past("2999-01-01T00:00:00Z")
    assert parse_past("2026-03-01T01:00:00+01:00") == "2026-03-01T00:00:00Z"


def test_shards_share_the_limits_of_the_micro_batch(kinesis, query, clock):
    sent = put(kinesis, clock, 0, count=200)
    reader = query(max_records_per_batch=30).run()
    assert max(reader.batches) <= 30
    assert sorted(reader.rows) == sorted(sent)
    bytes_limited = query("two", max_bytes_per_batch=60, records_per_fetch=1).run()
    assert max(bytes_limited.batches) <= 2 * (30 // len(b"1 at 0") + 1)
