from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta

import pytest

from streaming_app.errors import SourceError
from streaming_app.sources.kinesis.access import Endpoint
from streaming_app.sources.kinesis.client import KinesisClient
from streaming_app.sources.kinesis.failures import TemporaryError
from streaming_app.sources.kinesis.interleave import interleave
from streaming_app.sources.kinesis.limiter import Limiters, ShardLimiter
from streaming_app.sources.kinesis.lineage import Offset, ShardEnd, leaves, plan, start_at_roots
from streaming_app.sources.kinesis.positions import at_timestamp, iterator_arguments
from streaming_app.sources.kinesis.retry import Calls, Retry
from streaming_app.sources.kinesis.shard import ITERATOR_LIFE, Iterators, Place
from streaming_app.sources.kinesis.start import by_server_clock, first_offset
from tests.kinesis_reading import STREAM, Query, context, credentials
from tests.strict_kinesis import strict_kinesis

AT = "AT_TIMESTAMP:2026-03-01T00:00:00.000Z"


class OwnedClock:
    """Time that passes only when somebody sleeps."""

    def __init__(self, time: float = 1000.0) -> None:
        self.time = time

    def monotonic(self) -> float:
        return self.time

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture
def clock():
    return OwnedClock()


# Limits.


def test_calls_on_a_shard_keep_their_interval(clock):
    limiter = ShardLimiter(0.2, 0, clock)
    for _ in range(6):
        limiter.acquire()
    assert clock.time == pytest.approx(1001.0)


def test_bytes_put_the_next_call_off(clock):
    limiter = ShardLimiter(0.2, 2 << 20, clock)
    limiter.acquire()
    limiter.received(10 << 20)
    limiter.acquire()
    assert clock.time == pytest.approx(1005.0)


def test_a_call_of_another_process_counts(clock):
    limiter = ShardLimiter(0.2, 0, clock)
    limiter.called_at(clock.now() - 0.05)
    limiter.acquire()
    assert clock.time == pytest.approx(1000.15)


def test_a_foreign_clock_that_is_ahead_costs_one_interval_at_most(clock):
    limiter = ShardLimiter(0.2, 0, clock)
    limiter.called_at(clock.now() + 3600)
    limiter.acquire()
    assert clock.time <= 1000.2


def test_a_shard_has_one_limiter_in_a_process(clock):
    limiters = Limiters()
    assert limiters.of("a", 0.2, 0, clock) is limiters.of("a", 0.2, 0, clock)
    assert limiters.of("a", 0.2, 0, clock) is not limiters.of("b", 0.2, 0, clock)


# Retries.


def test_backoff_grows_with_full_jitter_up_to_a_bound(clock):
    bounds = []

    def jitter(low, high):
        bounds.append((low, high))
        return high

    failures = iter([TemporaryError("busy")] * 8)

    def action():
        error = next(failures, None)
        if error:
            raise error
        return "done"

    calls = Calls()
    assert Retry(300.0, clock, jitter).call(action, calls) == "done"
    assert bounds == [(0.0, high) for high in (0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0)]
    assert (calls.made, calls.throttles) == (9, 8)


def test_only_temporary_errors_are_tried_again(clock):
    calls = Calls()
    with pytest.raises(SourceError, match="denied"):
        Retry(300.0, clock).call(lambda: (_ for _ in ()).throw(SourceError("denied")), calls)
    assert calls.made == 1


# Iterators.


def test_an_iterator_is_kept_for_as_long_as_it_lives():
    iterators, place = Iterators(), Place(Endpoint("s"), "shard", "AFTER:1")
    iterators.keep(place, "it", 0.0)
    assert iterators.take(place._replace(position="AFTER:2"), 1.0) is None
    assert iterators.take(place, 1.0) == "it"
    assert iterators.take(place, 1.0) is None
    iterators.keep(place, "it", 0.0)
    assert iterators.take(place, ITERATOR_LIFE + 1) is None


# Credentials.


def test_credentials_that_cannot_be_had_for_a_moment_are_no_end(monkeypatch, tmp_path):
    """They expire within the time in which botocore renews them at each call."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    soon = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    given, config = tmp_path / "credentials.json", tmp_path / "config"
    text = json.dumps({"Version": 1, "AccessKeyId": "key", "SecretAccessKey": "secret", "Expiration": soon})
    given.write_text(text)
    config.write_text(f"[default]\ncredential_process = cat {given}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with strict_kinesis() as kinesis:
        kinesis.create(STREAM)
        client = KinesisClient(Endpoint(STREAM, "us-east-1", kinesis.url))
        assert client.list_shards()
        given.unlink()
        with pytest.raises(TemporaryError, match="cannot be had"):
            client.list_shards()
        given.write_text(text)
        assert client.list_shards()


# Interleaving.


def test_interleaved_parts_all_arrive_each_in_its_order():
    got = list(interleave([iter(range(100)), iter(range(1000, 1100))]))
    assert [item for item in got if item < 1000] == list(range(100))
    assert [item for item in got if item >= 1000] == list(range(1000, 1100))


def test_an_early_end_leaves_no_thread_behind():
    before = threading.active_count()
    rows = interleave([iter(range(10_000)), iter(range(10_000))])
    next(rows)
    rows.close()
    deadline = datetime.now(UTC) + timedelta(seconds=5)
    while threading.active_count() > before and datetime.now(UTC) < deadline:
        threading.Event().wait(0.02)
    assert threading.active_count() == before


# Positions and where to start.


def test_an_unknown_position_is_an_error_that_says_why():
    with pytest.raises(SourceError, match="newer version"):
        iterator_arguments("SOMEWHERE:1")


def test_a_moment_survives_as_a_position():
    moment = datetime(2026, 3, 1, 7, 30, 15, 123000, tzinfo=UTC)
    assert at_timestamp(moment) == "AT_TIMESTAMP:2026-03-01T07:30:15.123Z"
    assert iterator_arguments(at_timestamp(moment))["Timestamp"] == moment


@pytest.mark.parametrize(
    ("local_ahead", "expected_ahead"), [(0.0, 0.0), (0.9, 0.9), (1.5, 0.0), (3600.0, 0.0), (-1.5, -1.5), (-60.0, 0.0)]
)
def test_a_wrong_clock_gives_way_to_the_servers(local_ahead, expected_ahead):
    server = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
    pinned = by_server_clock(server + timedelta(seconds=local_ahead), "Sun, 01 Mar 2026 12:00:00 GMT")
    assert pinned == server + timedelta(seconds=expected_ahead)


def test_without_a_server_date_our_clock_holds():
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    assert by_server_clock(moment, None) == moment


def test_latest_on_a_machine_whose_clock_is_ahead_skips_nothing(monkeypatch, tmp_path):
    credentials(monkeypatch)
    with strict_kinesis(clock_skew=-3600.0) as kinesis:
        kinesis.create(STREAM)
        offset = first_offset(context(kinesis.url, tmp_path, starting_position="LATEST"))
        (position,) = offset.shards.values()
        assert datetime.fromisoformat(position.removeprefix("AT_TIMESTAMP:")) < datetime.now(UTC) - timedelta(
            minutes=59
        )


def test_latest_on_a_machine_whose_clock_is_a_little_ahead_waits_for_the_service(monkeypatch, tmp_path):
    """Within the second that the header leaves open nobody knows; Kinesis refuses a moment that it has not reached."""
    credentials(monkeypatch)
    clock = OwnedClock(1_700_000_000.6)
    with strict_kinesis(lambda: clock.time - 0.5, iterator_life=1e9) as kinesis:
        kinesis.create(STREAM)
        reader = Query(lambda: context(kinesis.url, tmp_path, clock, starting_position="LATEST"))
        reader.start()
        assert not reader.plan()
        sent = kinesis.put(STREAM, [b"one"])
        assert reader.run().rows == sent


def test_trim_horizon_begins_at_the_oldest_listed_shards():
    listing = {"b": ("a",), "c": ("b",), "d": ()}
    assert start_at_roots(listing, AT).shards == {"b": AT, "d": AT}


def test_latest_begins_at_a_shard_that_was_closed_but_whose_children_are_not_listed():
    assert leaves({"a": (), "b": (), "c": ("b",)}) == ["a", "c"]


# Lineage, case by case (the properties are in tests/property).


def closed(position: str = "AFTER:1", **children: tuple[str, ...]) -> ShardEnd:
    return ShardEnd(position, closed=True, children=children)


def test_a_child_of_a_shard_that_gave_nothing_begins_at_the_same_moment():
    following = plan(Offset(1, {"a": AT}), {"a": closed(AT, b=("a",))}, {})
    assert following == Offset(2, {"b": AT})


def test_a_child_of_a_shard_that_gave_records_begins_at_its_own_beginning():
    following = plan(Offset(1, {"a": AT}), {"a": closed(b=("a",))}, {})
    assert following.shards == {"b": "TRIM_HORIZON"}


def test_the_child_of_a_merge_waits_for_both_parents_and_remembers_the_first():
    listing = {"a": (), "b": (), "c": ("a", "b")}
    waiting = plan(Offset(1, {"a": AT, "b": AT}), {"a": closed(AT), "b": ShardEnd(AT)}, listing)
    assert waiting == Offset(2, {"b": AT}, {"a": AT})
    assert plan(waiting, {"b": closed(AT)}, listing) == Offset(3, {"c": AT})
    assert plan(waiting, {"b": closed()}, listing) == Offset(3, {"c": "TRIM_HORIZON"})


def test_the_child_of_a_merge_waits_for_a_parent_that_has_not_started_itself():
    listing = {"a": (), "b": (), "b1": ("b",), "b2": ("b",), "c": ("a", "b1")}
    first = plan(
        Offset(1, {"a": "TRIM_HORIZON", "b": "TRIM_HORIZON"}), {"a": closed(), "b": ShardEnd("AFTER:2")}, listing
    )
    assert first.shards == {"b": "AFTER:2"}
    second = plan(first, {"b": closed()}, listing)
    assert set(second.shards) == {"b1", "b2"}
    third = plan(second, {"b1": closed(), "b2": ShardEnd("AFTER:3")}, listing)
    assert third.shards == {"b2": "AFTER:3", "c": "TRIM_HORIZON"}


def test_a_finished_shard_without_known_children_is_remembered():
    following = plan(Offset(1, {"a": "TRIM_HORIZON"}), {"a": closed()}, {"a": ()})
    assert following == Offset(2, {}, {"a": "AFTER:1"})
    assert plan(following, {}, {"a": (), "b": ("a",)}) == Offset(3, {"b": "TRIM_HORIZON"})


def test_a_still_listed_shard_that_was_read_is_not_read_again():
    listing = {"a": (), "b": ("a",), "c": ("b",), "d": ("b",)}
    assert plan(Offset(5, {"b": "AFTER:1"}), {"b": closed("AFTER:9")}, listing).shards.keys() == {"c", "d"}


def test_after_a_loss_the_ancestors_of_other_shards_are_not_read_again():
    listing = {"r": (), "r1": ("r",), "x": ("gone",), "x1": ("x",)}
    ends = {"a": ShardEnd("AFTER:1", lost=True), "r1": ShardEnd("AFTER:2")}
    following = plan(Offset(4, {"a": "AFTER:1", "r1": "AFTER:2"}), ends, listing)
    assert following.shards == {"r1": "AFTER:2", "x": "TRIM_HORIZON"}


def test_a_foreign_offset_is_an_error_that_says_so():
    with pytest.raises(SourceError, match="another source"):
        Offset.from_json({"shardId-0": "1"})


# The client.


def test_a_client_without_a_region_says_what_to_do(monkeypatch, tmp_path):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(SourceError, match="region"):
        KinesisClient(Endpoint("orders"))


def test_a_call_without_credentials_says_what_to_do(monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(SourceError, match="credentials"):
        KinesisClient(Endpoint("orders", "us-east-1", "http://127.0.0.1:9")).list_shards()


def test_a_long_listing_is_paged_through(monkeypatch):
    credentials(monkeypatch)
    with strict_kinesis() as kinesis:
        kinesis.create(STREAM, shards=2500)
        listed = KinesisClient(Endpoint(STREAM, "us-east-1", kinesis.url)).list_shards()
        assert [item.shard for item in listed] == kinesis.open_shards(STREAM)
        assert kinesis.calls["ListShards"] == 3
