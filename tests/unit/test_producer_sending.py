"""How the producer sends: requests, retries, order, pace and counts. The client is an in-memory Kinesis that can refuse."""

# ruff: noqa: ARG005 - a refusal may look at the number of the call, at the record, at both or at neither

import itertools
from collections import Counter, defaultdict
from datetime import UTC, datetime

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming_app.errors import ConfigError
from streaming_app.producer import ProduceOptions, events, produce
from streaming_app.producer.events import Event, Mix, Verdict
from streaming_app.producer.sender import MAX_BYTES, MAX_RECORDS, Sender, requests

START = datetime(2026, 3, 1, 5, 0, tzinfo=UTC)
ORDER = next(events(1, start=START)).order


def event(payload: bytes, key: str) -> Event:
    return Event(payload, key, "plain", Verdict.CLEAN, ORDER)


class MemoryKinesis:
    """Accepts records unless `refuse(call number, record)` names an error code; `fail` raises for whole calls."""

    def __init__(self, refuse=lambda call, record: None, fail=lambda call: None):
        self.calls = 0
        self.requests = []
        self.by_key = defaultdict(list)
        self.on_call = lambda: None
        self._refuse = refuse
        self._fail = fail
        self._sequence = itertools.count()

    def put_records(self, *, StreamName, Records):  # noqa: ARG002, N803 - boto3's names
        self.calls += 1
        self.on_call()
        if error := self._fail(self.calls):
            raise error
        self.requests.append(Records)
        return {"Records": [self._one(record) for record in Records]}

    def _one(self, record):
        if code := self._refuse(self.calls, record):
            return {"ErrorCode": code, "ErrorMessage": "slow down"}
        self.by_key[record["PartitionKey"]].append(record["Data"])
        return {"ShardId": "shardId-0", "SequenceNumber": str(next(self._sequence))}


class Clock:
    def __init__(self):
        self.now = 0.0
        self.waits = []

    def sleep(self, seconds):
        self.waits.append(seconds)
        self.now += seconds


def sender(client, clock=None, **options):
    clock = clock or Clock()
    return Sender(client, "orders", sleep=clock.sleep, now=lambda: clock.now, **options)


def api_error(code):
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "PutRecords")


def test_only_the_refused_records_are_sent_again():
    client = MemoryKinesis(lambda call, record: call == 1 and record["Data"] == b"2" and "Throttled")
    sending = sender(client)
    sending.send([event(b"1", "a"), event(b"2", "b"), event(b"3", "c")])
    assert [[record["Data"] for record in request] for request in client.requests] == [[b"1", b"2", b"3"], [b"2"]]
    assert (sending.sent.accepted, sending.sent.failed, sending.sent.retried) == (3, 0, 1)


def test_waits_between_tries_grow_and_are_never_the_same_for_all():
    clock = Clock()
    client = MemoryKinesis(lambda call, record: "Throttled")
    sender(client, clock, retry_for=30).send([event(b"1", "a")])
    assert 0.05 <= clock.waits[0] <= 0.1 <= clock.waits[1] <= 0.2
    assert max(clock.waits) <= 5
    assert len(set(clock.waits)) == len(clock.waits)
    assert 30 <= clock.now <= 35.1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from("abcd"), max_size=40), st.lists(st.booleans(), min_size=1, max_size=30), st.integers(1, 50)
)
def test_every_record_arrives_once_in_its_keys_order_however_records_are_refused(keys, refusals, until):
    coin = itertools.cycle(refusals)
    client = MemoryKinesis(lambda call, record: call < until and next(coin) and "Throttled")
    sending = sender(client, retry_for=1e9)
    sending.send([event(str(number).encode(), key) for number, key in enumerate(keys)])
    expected = defaultdict(list)
    for number, key in enumerate(keys):
        expected[key].append(str(number).encode())
    assert client.by_key == expected
    assert sending.sent.accepted == len(keys)


def test_what_is_never_accepted_is_counted_with_its_kind_and_reason_and_the_rest_goes_on():
    client = MemoryKinesis(lambda call, record: record["Data"] == b"1" and "InternalFailure")
    sending = sender(client, retry_for=2)
    sending.send([event(b"1", "a"), event(b"2", "b"), event(b"3", "a")])
    assert client.by_key == {"b": [b"2"], "a": [b"3"]}
    assert (sending.sent.accepted, sending.sent.failed) == (2, 1)
    assert sending.sent.failed_by_kind == {"plain": 1}
    assert "InternalFailure: slow down" in sending.sent.last_error


@pytest.mark.parametrize(
    "error", [EndpointConnectionError(endpoint_url="http://x"), api_error("ProvisionedThroughputExceededException")]
)
def test_a_call_that_fails_as_a_whole_is_tried_again_whole(error):
    client = MemoryKinesis(fail=lambda call: error if call < 3 else None)
    sending = sender(client)
    sending.send([event(b"1", "a"), event(b"2", "b")])
    assert client.by_key == {"a": [b"1"], "b": [b"2"]}
    assert sending.sent.accepted == 2


@pytest.mark.parametrize(
    "error", [api_error("ResourceNotFoundException"), api_error("AccessDeniedException"), NoCredentialsError()]
)
def test_what_no_retry_can_heal_ends_at_once_with_what_to_do(error):
    client = MemoryKinesis(fail=lambda call: error)
    with pytest.raises(ConfigError, match="stream 'orders'"):
        sender(client).send([event(b"1", "a")])
    assert client.calls == 1


def test_a_stop_ends_the_retries_and_counts_what_was_left():
    client = MemoryKinesis(lambda call, record: "Throttled")
    sending = sender(client, retry_for=1e9)
    sending.send([event(b"1", "a"), event(b"2", "a")], stop=lambda: client.calls >= 3)
    assert (sending.sent.accepted, sending.sent.failed) == (0, 2)


def test_a_request_holds_no_key_twice():
    batch = [event(str(number).encode(), f"k{number % 7}") for number in range(50)]
    for request in requests(batch):
        assert max(Counter(one.partition_key for one in request).values()) == 1


def test_requests_stay_within_kinesis_limits_and_hold_everything():
    many = [event(b"x", f"k{number}") for number in range(1201)]
    large = [event(b"x" * (1 << 20), f"k{number}") for number in range(11)]
    assert [len(request) for request in requests(many)] == [MAX_RECORDS, MAX_RECORDS, 201]
    sizes = [sum(len(one.payload) + len(one.partition_key) for one in request) for request in requests(large)]
    assert max(sizes) <= MAX_BYTES
    assert sum(map(len, requests(large))) == 11


def test_positions_of_accepted_events_are_handed_out():
    positions = []
    client = MemoryKinesis()
    options = ProduceOptions("orders", rate=0, count=20, seed=1, start=START)
    produce(options, lambda: False, client=client, on_accepted=lambda _, position: positions.append(position))
    assert sorted(positions) == sorted(f"shardId-0:{number}" for number in range(20))


def test_the_report_accounts_for_every_event_by_kind():
    options = ProduceOptions("orders", rate=0, count=600, seed=1, start=START, bad_ratio=0.3)
    client = MemoryKinesis()
    report = produce(options, lambda: False, client=client)
    expected = Counter(one.kind for one in events(1, start=START, count=600, mix=Mix(0.3, 0.05)))
    assert report.sent_by_kind == dict(expected)
    assert (report.sent, report.failed) == (600, 0)
    assert report.sent == report.sent_clean + report.sent_dead
    assert sum(map(len, client.by_key.values())) == 600
    assert report.to_json()["start"] == START.isoformat()


def produced(options, stop_at):
    """Times of the requests, by a clock that only waiting moves."""
    clock, client = Clock(), MemoryKinesis()
    times = []
    client.on_call = lambda: times.append(round(clock.now, 3))
    report = produce(options, lambda: clock.now >= stop_at, client=client, sleep=clock.sleep, now=lambda: clock.now)
    return times, report, clock


def test_events_are_sent_at_the_rate():
    times, report, _ = produced(ProduceOptions("orders", rate=50, count=20, seed=1), stop_at=60)
    assert report.sent == 20
    assert times == [pytest.approx(0.02 * number, abs=0.002) for number in range(20)]


def test_the_default_is_one_event_every_half_second():
    times, report, _ = produced(ProduceOptions("orders", seed=1), stop_at=2.2)
    assert times == [pytest.approx(0.5 * number, abs=0.01) for number in range(5)]
    assert report.sent == 5


def test_daily_peaks_make_the_rate_follow_the_hour():
    night = datetime(2026, 3, 1, 19, 0, tzinfo=UTC)  # 2 in the morning in Jakarta
    noon = datetime(2026, 3, 1, 5, 0, tzinfo=UTC)
    counts = [
        produced(ProduceOptions("orders", rate=2, seed=1, start=start, daily_peaks=True), stop_at=300)[1].sent
        for start in (night, noon)
    ]
    assert counts[0] * 10 < counts[1]
    assert counts[1] > 600


def test_a_stop_is_noticed_within_a_tenth_of_a_second():
    _, report, clock = produced(ProduceOptions("orders", rate=0.001), stop_at=0.2)
    assert report.sent == 1
    assert clock.now <= 0.31
    assert max(clock.waits) <= 0.1


def test_a_run_without_a_seed_says_which_one_it_took():
    one = produce(ProduceOptions("orders", rate=0, count=30), lambda: False, client=(first := MemoryKinesis()))
    again = ProduceOptions("orders", rate=0, count=30, seed=one.seed, start=one.start)
    produce(again, lambda: False, client=(second := MemoryKinesis()))
    assert first.by_key == second.by_key


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"stream": ""}, "name the stream"),
        ({"rate": -1.0}, "0 .no limit."),
        ({"rate": float("inf")}, "0 .no limit."),
        ({"count": -1}, "0 or more"),
        ({"bad_ratio": 1.5}, "from 0 to 1"),
        ({"start": datetime(2026, 3, 1)}, "time zone"),
    ],
)
def test_options_that_cannot_be_are_refused_with_what_to_do(change, says):
    with pytest.raises(ConfigError, match=says):
        ProduceOptions(**({"stream": "orders"} | change))


def test_no_region_is_a_configuration_error(monkeypatch):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(ConfigError, match="region"):
        produce(ProduceOptions("orders", count=1), lambda: False)
