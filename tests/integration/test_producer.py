"""The producer against a real Kinesis API (moto's server in a child process)."""

import time
from datetime import UTC, datetime

import pytest

from streaming_app.errors import ConfigError
from streaming_app.producer import ProduceOptions, events, produce
from streaming_app.producer.events import Mix
from streaming_app.producer.produce import UNPACED
from tests.moto_server import CREDENTIALS, moto_server

START = datetime(2026, 3, 1, 5, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def aws():
    with moto_server() as server:
        yield server


@pytest.fixture
def kinesis(aws, monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    yield aws.client("kinesis")
    aws.heal()


def make_stream(kinesis, name):
    kinesis.create_stream(StreamName=name, ShardCount=2)
    while kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamStatus"] != "ACTIVE":
        time.sleep(0.05)


def read_back(kinesis, stream):
    for shard in kinesis.list_shards(StreamName=stream)["Shards"]:
        place = {"StreamName": stream, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
        iterator = kinesis.get_shard_iterator(**place)["ShardIterator"]
        while (answer := kinesis.get_records(ShardIterator=iterator))["Records"]:
            yield from ((f"{shard['ShardId']}:{record['SequenceNumber']}", record) for record in answer["Records"])
            iterator = answer["NextShardIterator"]


def options(url, stream, **more):
    return ProduceOptions(stream, region="us-east-1", endpoint_url=url, seed=1, start=START, rate=0, **more)


def test_every_event_is_in_the_stream_with_its_bytes_key_and_position(kinesis, aws):
    make_stream(kinesis, "exact")
    positions = {}
    report = produce(
        options(aws.url, "exact", count=800, bad_ratio=0.3),
        lambda: False,
        on_accepted=lambda event, position: positions.update({position: event}),
    )
    stored = dict(read_back(kinesis, "exact"))
    assert report.sent == len(stored) == 800
    assert {position: (event.payload, event.partition_key) for position, event in positions.items()} == {
        position: (record["Data"], record["PartitionKey"]) for position, record in stored.items()
    }


def test_events_of_a_store_are_in_the_stream_in_their_order(kinesis, aws):
    make_stream(kinesis, "order")
    produce(options(aws.url, "order", count=500), lambda: False)
    stored = [record for _, record in read_back(kinesis, "order")]
    sent = list(events(1, start=START, count=500, mix=Mix(0.05, 0.05), pace=UNPACED))
    for store in {event.partition_key for event in sent}:
        expected = [event.payload for event in sent if event.partition_key == store]
        assert [record["Data"] for record in stored if record["PartitionKey"] == store] == expected


def test_throttled_and_broken_calls_are_repeated_until_accepted(kinesis, aws):
    make_stream(kinesis, "throttled")
    aws.fail("POST", "PutRecords", status=400, code="ProvisionedThroughputExceededException", times=2)
    aws.fail("POST", "PutRecords", status=500, code="InternalFailure")
    aws.fail("POST", "PutRecords")
    report = produce(options(aws.url, "throttled", count=40), lambda: False)
    assert (report.sent, report.failed) == (40, 0)
    assert report.retried > 0
    assert len(dict(read_back(kinesis, "throttled"))) == 40


def test_a_lost_answer_loses_nothing(kinesis, aws):
    make_stream(kinesis, "lost")
    aws.fail("POST", "PutRecords", done=True)
    report = produce(options(aws.url, "lost", count=1), lambda: False)
    stored = [record["Data"] for _, record in read_back(kinesis, "lost")]
    assert report.sent == 1
    assert stored == [next(events(1, start=START, mix=Mix(0.05, 0.05), pace=UNPACED)).payload] * 2


def test_a_stream_that_does_not_exist_is_a_configuration_error(kinesis, aws):
    with pytest.raises(ConfigError, match="create the stream"):
        produce(options(aws.url, "nowhere", count=1), lambda: False)


def test_an_endpoint_that_is_not_there_is_counted_and_not_raised(kinesis):
    report = produce(options("http://127.0.0.1:9", "orders", count=3, retry_for=0.3), lambda: False)
    assert (report.sent, report.failed) == (0, 3)
    assert "127.0.0.1:9" in report.last_error
