"""Which shards Kinesis has closed, and what a stream keeps, as the metrics ask it: over splits and merges, on both emulators."""

from __future__ import annotations

import json

import pytest

from streaming_app.arguments import load_all
from streaming_app.sources.kinesis import closed_shards, parse_options
from streaming_app.streams import RunOptions, build_stream
from tests.dockerfile import REPOSITORY
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


def test_what_a_stream_keeps_is_asked_of_the_stream(tmp_path):
    config = {
        "dataset": str(REPOSITORY / "conf/datasets/orders.yaml"),
        "suite": str(REPOSITORY / "conf/expectations/orders.yaml"),
        "lake": {"root": str(tmp_path)},
    }
    with moto_server() as aws:
        client = aws.client("kinesis")
        client.create_stream(StreamName="orders", ShardCount=1)
        client.increase_stream_retention_period(StreamName="orders", RetentionPeriodHours=72)
        place = {"enabled": True, "stream": "orders", "region": REGION, "endpoint_url": aws.url}
        (tmp_path / "conf.yaml").write_text(
            json.dumps({**config, "sources": {"kinesis": place, "csv": {"enabled": True}}})
        )
        loaded, suite = load_all(str(tmp_path / "conf.yaml"), ())
        streams = {name: build_stream(loaded, suite, name, RunOptions("")) for name in ("kinesis", "csv")}
        assert streams["kinesis"].retention() == 72 * 3600
        assert streams["csv"].retention is None
