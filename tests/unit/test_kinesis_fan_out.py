"""Enhanced fan-out without Spark: subscriptions kept between micro-batches, taken over, cut, renewed; the ranges exact."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from streaming_app.errors import SourceError
from streaming_app.sources.kinesis import subscription
from streaming_app.sources.kinesis.context import Context
from streaming_app.sources.kinesis.epochs import EpochPartition, ShardTask
from streaming_app.sources.kinesis.messages import PushedEvent, Record
from streaming_app.sources.kinesis.source import read_partition
from streaming_app.sources.kinesis.subscription import Subscription
from tests.kinesis_histories import FastClock
from tests.kinesis_reading import STREAM, Query, context, credentials, task
from tests.kpl import of
from tests.strict_kinesis import StrictKinesis, strict_kinesis

SHARD = "shardId-000000000000"
ARN = f"arn:aws:kinesis:us-east-1:000000000000:stream/{STREAM}"
EFO = {"consumer_type": "efo", "consumer_name": "tests"}


@pytest.fixture(autouse=True)
def _credentials(monkeypatch):
    credentials(monkeypatch)


@pytest.fixture
def kinesis():
    with strict_kinesis() as server:
        server.create(STREAM)
        yield server


@pytest.fixture
def process(kinesis, tmp_path):
    """Makes processes: contexts that share nothing but the read log."""
    made: list[Context] = []

    def make(**changes) -> Context:
        made.append(context(kinesis.url, tmp_path, **{**EFO, **changes}))
        return made[-1]

    yield make
    for where in made:
        where.subscriptions.close()


@pytest.fixture
def consumer(kinesis) -> str:
    kinesis._op_RegisterStreamConsumer({"ConsumerName": "tests", "StreamARN": ARN})
    return kinesis.subscribers.consumers["tests"].arn


def events(first: int, last: int) -> list[bytes]:
    return [b"event %d" % number for number in range(first, last)]


def part(consumer: str, epoch: int = 1, position: str = "TRIM_HORIZON", *, news: bool = False) -> EpochPartition:
    return EpochPartition(epoch, (ShardTask(SHARD, position, news=news),), consumer=consumer)


def end(where: Context, epoch: int = 1) -> str:
    return str(where.read_log.unit(epoch, SHARD).detail["end"])


def pushed(where: Context, epoch: int = 1) -> int:
    return int(where.read_log.unit(epoch, SHARD).detail["pushed"])


# One read.


def test_a_read_by_subscription_ends_at_the_tip_and_calls_nothing_else(kinesis, process, consumer):
    sent = kinesis.put(STREAM, events(0, 2500))
    where = process()
    assert task(where, part(consumer)) == sent
    read = where.read_log.unit(1, SHARD)
    assert (read.rows, read.detail["at_tip"], read.detail["pushed"], read.detail["end"]) == (
        2500, True, 2500, "AFTER:" + sent[-1].partition(":")[2],
    )  # fmt: skip
    assert kinesis.calls["GetRecords"] == kinesis.calls["GetShardIterator"] == 0


def test_what_is_beyond_the_limit_waits_for_the_next_epoch(kinesis, process, consumer):
    sent = kinesis.put(STREAM, events(0, 25))
    where = process(max_records_per_shard=10)
    assert task(where, part(consumer)) == sent[:10]
    assert not where.read_log.unit(1, SHARD).detail["at_tip"]
    assert task(where, part(consumer, 2, end(where))) == sent[10:20]
    assert task(where, part(consumer, 3, end(where, 2))) == sent[20:]
    assert (kinesis.calls["subscriptions"], kinesis.calls["GetRecords"]) == (1, 0)


def test_a_kept_subscription_serves_later_epochs(kinesis, process, consumer):
    where = process()
    first = kinesis.put(STREAM, events(0, 5))
    assert task(where, part(consumer)) == first
    second = kinesis.put(STREAM, events(5, 9))
    assert task(where, part(consumer, 2, end(where), news=True)) == second
    assert (kinesis.calls["subscriptions"], kinesis.calls["GetRecords"]) == (1, 0)


def test_an_idle_shard_is_at_its_tip_without_waiting_and_without_a_call(kinesis, process, consumer):
    kinesis.put(STREAM, events(0, 5))
    where = process()
    task(where, part(consumer))
    kinesis.set(heartbeat=60.0)
    before, begun = kinesis.calls.copy(), time.monotonic()
    for epoch in range(2, 6):
        assert task(where, part(consumer, epoch, end(where, epoch - 1))) == []
        assert where.read_log.unit(epoch, SHARD).detail["at_tip"]
    assert time.monotonic() - begun < 1.0
    assert kinesis.calls == before


def test_aggregates_that_are_pushed_come_apart(kinesis, process, consumer):
    kinesis.put(STREAM, [b"plain", of(b"a", b"b")])
    rows = [row["data"] for batch in read_partition(process(), part(consumer)) for row in batch.to_pylist()]
    assert rows == [b"plain", b"a", b"b"]


def test_the_end_of_a_shard_and_its_children_are_recorded(kinesis, process, consumer):
    sent = kinesis.put(STREAM, events(0, 5))
    left, right = kinesis.split(STREAM, SHARD)
    where = process()
    assert task(where, part(consumer)) == sent
    detail = where.read_log.unit(1, SHARD).detail
    assert detail["closed"]
    assert [child["id"] for child in detail["children"]] == [left, right]
    assert [child["hash_range"] for child in detail["children"]] == [[0, 2**127 - 1], [2**127, 2**128 - 1]]


def test_a_recorded_range_is_read_again_exactly_without_a_subscription(kinesis, process, consumer):
    sent = kinesis.put(STREAM, events(0, 10))
    first = task(process(), part(consumer))
    kinesis.put(STREAM, events(10, 20))
    before = kinesis.calls["SubscribeToShard"]
    assert task(process(), part(consumer)) == first == sent
    assert kinesis.calls["SubscribeToShard"] == before


def test_the_second_of_two_attempts_at_once_gets_none_of_the_firsts_records(kinesis, process, consumer):
    """Both are in one process and share its subscription: what one took, the other reads for itself."""
    sent = kinesis.put(STREAM, events(0, 40))
    where = process(records_per_fetch=5, max_records_per_shard=30)
    slow = read_partition(where, part(consumer))
    got = [next(slow)]
    assert task(where, part(consumer)) == sent[:30]
    with pytest.raises(SourceError, match="another attempt"):
        got += list(slow)
    sequences = [f"{SHARD}:{number}" for batch in got for number in batch.column("sequence_number").to_pylist()]
    assert sequences == sent[: len(sequences)]
    assert task(where, part(consumer)) == sent[:30]


# Other processes.


def test_within_five_seconds_another_process_reads_with_get_records_instead(kinesis, process, consumer):
    sent = kinesis.put(STREAM, events(0, 5))
    one, other = process(), process()
    task(one, part(consumer))
    sent = kinesis.put(STREAM, events(5, 10))
    begun = time.monotonic()
    assert task(other, part(consumer, 2, end(one))) == sent
    assert time.monotonic() - begun < 2.0
    assert pushed(other, 2) == 0
    assert kinesis.calls["refused subscriptions"] == 1


def test_a_process_that_was_refused_asks_again_only_after_a_while(kinesis, process, consumer):
    one, other = process(), process()
    kinesis.put(STREAM, events(0, 5))
    task(one, part(consumer))
    for epoch in range(2, 8):
        task(other, part(consumer, epoch, end(one, epoch - 1)))
    assert kinesis.calls["refused subscriptions"] == 1


def test_a_newer_process_takes_the_subscription_over_and_the_older_notices(kinesis, process, consumer):
    kinesis.set(subscribe_again_after=0.1)
    one, other = process(), process()
    kinesis.put(STREAM, events(0, 5))
    task(one, part(consumer))
    time.sleep(0.15)
    sent = kinesis.put(STREAM, events(5, 10))
    assert task(other, part(consumer, 2, end(one))) == sent
    assert pushed(other, 2) == 5
    sent = kinesis.put(STREAM, events(10, 15))
    time.sleep(0.1)
    assert task(one, part(consumer, 3, end(one, 2))) == sent


def test_a_subscription_that_others_overtook_skips_what_they_read(kinesis, process, consumer):
    one, other = process(), process()
    kinesis.put(STREAM, events(0, 5))
    task(one, part(consumer))
    kinesis.put(STREAM, events(5, 10))
    task(other, part(consumer, 2, end(one)))
    sent = kinesis.put(STREAM, events(10, 15))
    assert task(one, part(consumer, 3, end(one, 2), news=True)) == sent
    assert kinesis.calls["subscriptions"] == 1


def test_going_back_needs_another_subscription(kinesis, process, consumer):
    sent = kinesis.put(STREAM, events(0, 5))
    where = process()
    task(where, part(consumer))
    assert task(where, part(consumer, 2)) == sent
    assert pushed(where, 2) == 0  # 5 s have not passed


# What goes wrong.


@pytest.mark.parametrize("cut", [0.3, 1.0])
def test_subscriptions_that_break_off_lose_and_repeat_nothing(kinesis, process, consumer, cut):
    kinesis.set(cut=cut, event_records=3, subscribe_again_after=0.0)
    sent = kinesis.put(STREAM, events(0, 60))
    where, got, position = process(max_records_per_shard=20), [], "TRIM_HORIZON"
    for epoch in range(1, 5):
        got += task(where, part(consumer, epoch, position))
        position = end(where, epoch)
    assert got == sent


def test_refused_and_throttled_subscriptions_are_counted_and_polling_goes_on(kinesis, process, consumer):
    kinesis._maybe_refuse_subscription = lambda: (_ for _ in ()).throw(refusal("LimitExceededException"))
    sent = kinesis.put(STREAM, events(0, 5))
    where = process()
    assert task(where, part(consumer)) == sent
    detail = where.read_log.unit(1, SHARD).detail
    assert (detail["throttles"], detail["pushed"]) == (1, 0)


def test_a_refusal_that_no_retry_helps_is_an_error_at_once(kinesis, process, consumer):
    kinesis._maybe_refuse_subscription = lambda: (_ for _ in ()).throw(refusal("AccessDeniedException"))
    with pytest.raises(SourceError, match="AccessDenied"):
        task(process(), part(consumer))


def refusal(code: str) -> Exception:
    from tests.strict_kinesis import ApiError

    return ApiError(code, "injected")


def test_a_consumer_that_somebody_removed_is_no_end_of_reading(kinesis, process, consumer, caplog):
    kinesis.subscribers.consumers.clear()
    sent = kinesis.put(STREAM, events(0, 5))
    assert task(process(), part(consumer)) == sent
    assert "cannot subscribe" in caplog.text


def test_a_silent_subscription_does_not_hold_up_what_the_driver_has_seen(kinesis, process, consumer):
    kinesis.put(STREAM, events(0, 5))
    where = process()
    task(where, part(consumer))
    kinesis.subscribers.silent = True
    time.sleep(0.05)
    sent = kinesis.put(STREAM, events(5, 9))
    begun = time.monotonic()
    assert task(where, part(consumer, 2, end(where), news=True)) == sent
    assert time.monotonic() - begun < 5.0


# A subscription by itself.


class Script:
    """Pushed events that the test hands out."""

    def __init__(self, *given: PushedEvent) -> None:
        self.given, self.closed, self.asked = list(given), threading.Event(), 0

    def events(self):
        for item in self.given:
            self.asked += 1
            yield item
        self.closed.wait(30)

    def close(self) -> None:
        self.closed.set()


def record(number: int, size: int = 1) -> Record:
    return Record(b"x" * size, "k", str(number), 0.0)


def sent(*numbers: int, behind: int = 0, size: int = 1) -> PushedEvent:
    last = str(numbers[-1]) if numbers else "0"
    return PushedEvent([record(number, size) for number in numbers], last, behind)


def numbers(taken) -> list[int]:
    return [int(item.sequence) for item in taken.records]


def until(condition) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_full_buffer_stops_the_reading_until_somebody_takes(clock_of_seconds):
    script = Script(*[sent(number, behind=5, size=1 << 20) for number in range(1, 30)])
    held = Subscription(lambda _: script, "TRIM_HORIZON", clock_of_seconds)
    until(lambda: script.asked == 9)
    time.sleep(0.05)
    assert script.asked == 9  # 8 MiB are here, the ninth waits
    assert numbers(held.take("TRIM_HORIZON", 3, 1.0, news=False)) == [1, 2, 3]
    until(lambda: script.asked == 12)
    held.close()


def test_a_subscription_that_nobody_uses_ends_itself(clock_of_seconds):
    script = Script(sent(1), sent(2))
    script.events = lambda: iter([sent(1), clock_of_seconds.forward(subscription.IDLE_LIFE + 1) or sent(2)])
    held = Subscription(lambda _: script, "TRIM_HORIZON", clock_of_seconds)
    assert script.closed.wait(5)
    until(lambda: held._over)


def test_an_old_subscription_is_renewed_where_it_left_off(clock_of_seconds):
    asked: list[str] = []
    ready, second = threading.Event(), Script(sent(3))

    class Old(Script):
        def events(self):
            yield sent(1)
            ready.wait(5)
            clock_of_seconds.forward(subscription.RENEW_AFTER + 1)
            held._used = clock_of_seconds.monotonic()
            yield sent(2)
            raise AssertionError("read on after it was renewed")

    def subscribe(position: str):
        asked.append(position)
        return Old() if len(asked) == 1 else second

    held = Subscription(subscribe, "TRIM_HORIZON", clock_of_seconds)
    ready.set()
    until(lambda: second.asked == 1)
    assert asked == ["TRIM_HORIZON", "AFTER:2"]
    got, position = [], "TRIM_HORIZON"
    while len(got) < 3:
        taken = held.take(position, 10, 5.0, news=True)
        got += numbers(taken)
        position = f"AFTER:{got[-1]}"
    assert got == [1, 2, 3]
    held.close()


def test_a_subscription_that_ends_early_is_not_renewed_behind_a_new_owners_back(clock_of_seconds):
    asked: list[str] = []

    class Short(Script):
        def events(self):
            yield sent(1)

    def subscribe(position: str):
        asked.append(position)
        return Short()

    held = Subscription(subscribe, "TRIM_HORIZON", clock_of_seconds)
    until(lambda: held._over)
    assert asked == ["TRIM_HORIZON"]
    assert numbers(held.take("TRIM_HORIZON", 10, 1.0, news=False)) == [1]
    assert held.over


def test_a_tip_holds_only_while_nothing_more_is_here(clock_of_seconds):
    script = Script(sent(1, 2, behind=0), sent(3, behind=0))
    held = Subscription(lambda _: script, "TRIM_HORIZON", clock_of_seconds)
    until(lambda: script.asked == 2)
    until(lambda: len(held._events) == 2)
    assert not held.take("TRIM_HORIZON", 1, 1.0, news=False).at_tip
    taken = held.take("AFTER:1", 10, 1.0, news=False)
    assert (numbers(taken), taken.at_tip) == ([2, 3], True)
    held.close()


class Seconds:
    """A clock that the test moves on."""

    def __init__(self) -> None:
        self.time = 1000.0

    def forward(self, seconds: float) -> None:
        self.time += seconds

    def monotonic(self) -> float:
        return self.time

    now = monotonic
    sleep = forward


@pytest.fixture
def clock_of_seconds() -> Seconds:
    return Seconds()


# The driver.


def test_the_consumer_is_registered_once_and_waited_for(kinesis, process):
    kinesis.set(register_duration=0.7)
    sent = kinesis.put(STREAM, events(0, 5))
    where = process()
    assert Query(lambda: where).run().rows == sent
    assert Query(process).run().rows == sent  # from its own beginning: the consumer is there
    assert kinesis.calls["RegisterStreamConsumer"] == 1
    assert kinesis.calls["subscriptions"] >= 1


def test_a_consumer_that_is_being_deleted_is_registered_again(kinesis, process, consumer):
    kinesis.set(register_duration=0.6)
    kinesis._op_DeregisterStreamConsumer({"ConsumerName": "tests"})
    kinesis.put(STREAM, events(0, 5))
    assert len(Query(process).run().rows) == 5
    assert kinesis.calls["RegisterStreamConsumer"] == 1


def test_a_stream_that_has_all_its_consumers_is_an_error_that_names_the_limit(kinesis, process):
    for number in range(20):
        kinesis._op_RegisterStreamConsumer({"ConsumerName": f"other {number}", "StreamARN": ARN})
    kinesis.put(STREAM, events(0, 5))
    clock = FastClock()
    begun = clock.monotonic()
    with pytest.raises(SourceError, match=r"20 consumers.*LimitExceeded"):
        Query(lambda: replace(process(), clock=clock)).run()
    assert clock.monotonic() - begun < 60


@pytest.mark.parametrize(("wanted", "left"), [(True, []), (False, ["tests"])])
def test_the_consumer_is_removed_at_a_graceful_stop_where_that_is_wanted(kinesis, process, tmp_path, wanted, left):
    kinesis.put(STREAM, events(0, 5))
    drain = tmp_path / "drain"
    reader = Query(lambda: process(deregister_consumer=wanted, drain_path=str(drain))).run()
    assert list(kinesis._consumers()) == ["tests"]
    drain.touch()
    reader.run()
    assert list(kinesis._consumers()) == left
    drain.unlink()
    sent = kinesis.put(STREAM, events(5, 10))
    assert reader.run().rows[5:] == sent
    assert list(kinesis._consumers()) == ["tests"]


def test_the_consumer_is_removed_after_a_bounded_run_where_that_is_wanted(kinesis, process):
    sent = kinesis.put(STREAM, events(0, 5))
    assert Query(lambda: process(deregister_consumer=True, available_now=True)).run().rows == sent
    assert list(kinesis._consumers()) == []


def test_a_consumer_that_cannot_be_removed_is_no_error_of_the_stop(kinesis, process, tmp_path, caplog):
    kinesis.put(STREAM, events(0, 5))
    drain = tmp_path / "drain"
    reader = Query(lambda: process(deregister_consumer=True, drain_path=str(drain))).run()
    drain.touch()
    kinesis._op_DeregisterStreamConsumer = lambda _: (_ for _ in ()).throw(refusal("AccessDeniedException"))
    reader.run()
    assert "could not be deregistered" in caplog.text


def one_process(process, **changes) -> Query:
    """All tasks in one worker process, as with one core; the driver is another."""
    worker = process(**changes)
    return Query(lambda: worker)


def test_everything_is_read_once_through_splits_and_merges(kinesis: StrictKinesis, process):
    kinesis.set(subscribe_again_after=0.0)
    sent = kinesis.put(STREAM, events(0, 50))
    reader = one_process(process, max_records_per_shard=20).run(batches=1)
    left, right = kinesis.split(STREAM, SHARD)
    sent += kinesis.put(STREAM, events(50, 100))
    reader.run(batches=2)
    kinesis.merge(STREAM, left, right)
    sent += kinesis.put(STREAM, events(100, 150))
    reader.crash().run()
    assert sorted(reader.rows) == sorted(sent)
    assert set(reader.offsets[-1].shards) == set(kinesis.open_shards(STREAM))


def test_a_bounded_run_does_not_believe_what_was_the_tip_before_it_began(kinesis, process):
    kinesis.put(STREAM, events(0, 5))
    worker = process()
    reader = Query(lambda: worker).run()
    kinesis.subscribers.silent = True
    time.sleep(0.05)
    kinesis.put(STREAM, events(5, 10))
    worker = replace(worker, options=replace(worker.options, available_now=True))
    assert reader.crash().run().rows == kinesis.records(STREAM)
