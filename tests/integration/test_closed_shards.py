"""Which shards Kinesis has closed, as the metrics ask it: over splits and merges, on both emulators."""

from __future__ import annotations

import pytest

from streaming_app.sources.kinesis import closed_shards, parse_options
from tests.moto_server import CREDENTIALS, REGION, moto_server
from tests.strict_kinesis import strict_kinesis


@pytest.fixture(autouse=True)
def credentials(monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


def ask(url: str) -> frozenset[str]:
    options = {"stream_name": "orders", "endpoint_url": url, "region": REGION, "read_log_path": "unused"}
    return closed_shards(parse_options(options, decoded=False))


def test_parents_of_a_split_and_a_merge_are_closed_and_their_children_are_not():
    with strict_kinesis() as kinesis:
        first, second = kinesis.create("orders", shards=2)
        assert ask(kinesis.url) == frozenset()
        children = kinesis.split("orders", first)
        assert ask(kinesis.url) == {first}
        kinesis.merge("orders", children[1], second)
        assert ask(kinesis.url) == {first, second, children[1]}


def test_moto_agrees():
    with moto_server() as aws:
        client = aws.client("kinesis")
        client.create_stream(StreamName="orders", ShardCount=1)
        (shard,) = client.list_shards(StreamName="orders")["Shards"]
        half = str(int(shard["HashKeyRange"]["EndingHashKey"]) // 2)
        client.split_shard(StreamName="orders", ShardToSplit=shard["ShardId"], NewStartingHashKey=half)
        assert ask(aws.url) == {shard["ShardId"]}
