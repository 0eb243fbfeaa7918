"""The bench's Kinesis answers as Kinesis does: boto3 reads everything back, in order, from any position."""

import json
import subprocess
import sys
import threading
import time
import urllib.request
from itertools import pairwise

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.bench import generate
from tests.bench.emulator import BYTES_PER_SECOND, ApiError, Kinesis, Limiter, feed, serve
from tests.bench.shard_logs import FileShard, LiveShard, file_shards, lines, now_ms

SHARDS = 3


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    out = tmp_path_factory.mktemp("data")
    generate.generate(out, 3000, 2)
    return out / "ndjson"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(params=["file", "live"])
def shards(request, data, cache):
    if request.param == "file":
        return file_shards(data, cache, SHARDS)
    made = [LiveShard(number) for number in range(SHARDS)]
    for index, line in enumerate(lines(data)):
        made[index % SHARDS].append(line, now_ms() - 3000 + index)
    return made


def connect(kinesis):
    listener = serve(kinesis)
    return listener, client(listener.getsockname()[1])


def client(port):
    session = boto3.Session(aws_access_key_id="x", aws_secret_access_key="x", region_name="us-east-1")  # noqa: S106
    return session.client(
        "kinesis", endpoint_url=f"http://127.0.0.1:{port}", config=Config(retries={"total_max_attempts": 1})
    )


@pytest.fixture
def kinesis(shards):
    listener, boto = connect(Kinesis("orders", shards))
    yield boto
    listener.close()


def iterator(kinesis, shard, kind="TRIM_HORIZON", **more):
    place = {"StreamName": "orders", "ShardId": f"shardId-{shard:012d}", "ShardIteratorType": kind}
    return kinesis.get_shard_iterator(**place, **more)["ShardIterator"]


def read(kinesis, token, limit=10_000):
    records = []
    while True:
        answer = kinesis.get_records(ShardIterator=token, Limit=limit)
        assert len(answer["Records"]) <= limit
        records += answer["Records"]
        token = answer["NextShardIterator"]
        if answer["MillisBehindLatest"] == 0:
            return records


@pytest.mark.parametrize("limit", [7, 1000, 10_000])
def test_boto3_reads_every_record_back_in_order(kinesis, data, limit):
    sent = list(lines(data))
    for shard in range(SHARDS):
        records = read(kinesis, iterator(kinesis, shard), limit)
        assert [record["Data"] for record in records] == sent[shard::SHARDS]
        numbers = [int(record["SequenceNumber"]) for record in records]
        assert numbers == sorted(set(numbers))


def test_reading_goes_on_after_any_sequence_number_or_at_it(kinesis):
    records = read(kinesis, iterator(kinesis, 1))
    for place in (0, 5, 500, len(records) - 1):
        sequence = records[place]["SequenceNumber"]
        after = iterator(kinesis, 1, "AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=sequence)
        at = iterator(kinesis, 1, "AT_SEQUENCE_NUMBER", StartingSequenceNumber=sequence)
        assert read(kinesis, after) == records[place + 1 :]
        assert read(kinesis, at) == records[place:]


def test_reading_from_a_time_begins_with_the_first_record_that_is_not_older(kinesis):
    records = read(kinesis, iterator(kinesis, 0))
    moment = records[700]["ApproximateArrivalTimestamp"]
    expected = [record for record in records if record["ApproximateArrivalTimestamp"] >= moment]
    assert read(kinesis, iterator(kinesis, 0, "AT_TIMESTAMP", Timestamp=moment)) == expected
    assert 0 < len(expected) < len(records)


def test_the_latest_position_is_the_end(kinesis):
    assert read(kinesis, iterator(kinesis, 0, "LATEST")) == []


def test_behind_latest_is_the_age_of_the_next_record(kinesis):
    token = iterator(kinesis, 0)
    before = time.time()
    first = kinesis.get_records(ShardIterator=token, Limit=10)
    after = time.time()
    following = kinesis.get_records(ShardIterator=first["NextShardIterator"], Limit=1)["Records"][0]
    arrived = following["ApproximateArrivalTimestamp"].timestamp()
    assert before - arrived - 0.01 <= first["MillisBehindLatest"] / 1000 <= after - arrived + 0.01


def test_shards_split_the_hash_keys_among_them(kinesis):
    listed = kinesis.list_shards(StreamName="orders")["Shards"]
    ranges = [(int(s["HashKeyRange"]["StartingHashKey"]), int(s["HashKeyRange"]["EndingHashKey"])) for s in listed]
    assert ranges[0][0] == 0
    assert ranges[-1][1] == 2**128 - 1
    assert all(left[1] + 1 == right[0] for left, right in pairwise(ranges))
    assert kinesis.describe_stream_summary(StreamName="orders")["StreamDescriptionSummary"]["OpenShardCount"] == SHARDS
    assert kinesis.describe_stream(StreamName="orders")["StreamDescription"]["StreamStatus"] == "ACTIVE"


def test_what_does_not_exist_is_refused_as_kinesis_does(kinesis):
    for code, call in {
        "ResourceNotFoundException": lambda: kinesis.list_shards(StreamName="other"),
        "InvalidArgumentException": lambda: kinesis.get_records(ShardIterator="nonsense"),
        "UnknownOperationException": kinesis.list_streams,
    }.items():
        with pytest.raises(ClientError) as raised:
            call()
        assert raised.value.response["Error"]["Code"] == code


def test_answers_stay_below_ten_mebibytes(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "large.ndjson").write_bytes((b"x" * 900_000 + b"\n") * 30)
    listener, kinesis = connect(Kinesis("orders", file_shards(tmp_path / "in", tmp_path / "cache", 1)))
    with listener:
        sizes = []
        token = iterator(kinesis, 0)
        while sum(sizes) < 30:
            answer = kinesis.get_records(ShardIterator=token)
            token = answer["NextShardIterator"]
            sizes.append(len(answer["Records"]))
    assert max(sizes) * 900_000 <= 10 << 20
    assert len(sizes) == 3


def test_a_cache_is_used_again_and_made_anew_for_other_input(data, tmp_path):
    file_shards(data, tmp_path, 2)
    before = (tmp_path / "shard-0.json").stat().st_mtime_ns
    again = file_shards(data, tmp_path, 2)
    assert (tmp_path / "shard-0.json").stat().st_mtime_ns == before
    assert isinstance(again[0], FileShard)
    assert [len(shard) for shard in file_shards(data, tmp_path, 2, limit=100)] == [50, 50]


def test_a_feed_starts_at_the_first_read_and_keeps_its_rate(data):
    kinesis = Kinesis("orders", [LiveShard(number) for number in range(SHARDS)])
    sent = list(lines(data, 900))
    feeding = threading.Thread(target=feed, args=(kinesis, sent, 2000), daemon=True)
    feeding.start()
    listener, boto = connect(kinesis)
    with listener:
        assert [len(state.log) for state in kinesis.shards] == [0] * SHARDS
        began = time.time()
        assert read(boto, iterator(boto, 0)) == []
        feeding.join(timeout=60)
        assert time.time() - began > 0.4
        records = read(boto, iterator(boto, 0))
    assert [record["Data"] for record in records] == sent[::SHARDS]
    arrived = [record["ApproximateArrivalTimestamp"].timestamp() for record in records]
    assert arrived == sorted(arrived)
    assert arrived[0] >= began - 0.001
    assert arrived[-1] - arrived[0] > 0.3


def test_a_shard_allows_five_calls_a_second():
    clock = [0.0]
    limiter = Limiter(lambda: clock[0])
    for _ in range(5):
        limiter.check()
    with pytest.raises(ApiError, match="Rate exceeded"):
        limiter.check()
    clock[0] = 1.01
    limiter.check()


def test_a_large_answer_is_paid_off_at_two_mebibytes_a_second():
    clock = [0.0]
    limiter = Limiter(lambda: clock[0])
    limiter.check()
    limiter.spend(10 << 20)
    clock[0] = 3.9
    with pytest.raises(ApiError, match="Rate exceeded"):
        limiter.check()
    clock[0] = 4.1
    limiter.check()
    assert BYTES_PER_SECOND == 2 << 20


def test_throttled_calls_are_answered_and_counted(shards):
    kinesis = Kinesis("orders", shards, limits=True)
    listener, boto = connect(kinesis)
    with listener:
        token = iterator(boto, 0)
        for _ in range(5):
            boto.get_records(ShardIterator=token, Limit=1)
        with pytest.raises(ClientError, match="ProvisionedThroughputExceeded"):
            boto.get_records(ShardIterator=token, Limit=1)
    assert (kinesis.stats()["throttled"], kinesis.stats()["records"]) == (1, 5)


def test_the_command_serves_and_tells_what_it_served(data, tmp_path):
    command = [
        sys.executable,
        "-m",
        "tests.bench.emulator",
        "--data",
        data,
        "--cache",
        tmp_path,
        "--shards",
        "2",
        "--rows",
        "50",
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        port = int(child.stdout.readline().split()[1])
        boto = client(port)
        assert len(read(boto, iterator(boto, 1))) == 25
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/stats", timeout=5) as answer:
            stats = json.load(answer)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/arrivals/1", timeout=5) as answer:
            assert len(json.load(answer)) == 25
        child.stdin.close()
        assert child.wait(timeout=60) == 0
    assert (stats["held"], stats["records"], stats["calls"]) == (50, 25, 1)
    assert stats["cpu_seconds"] > 0
