"""The Kinesis source on moto's server, an implementation of the service that is not ours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.kinesis_reading import STREAM, Query, context, credentials
from tests.kinesis_server import kinesis_server


@pytest.fixture(autouse=True)
def _credentials(monkeypatch):
    credentials(monkeypatch)


@pytest.fixture(scope="module")
def server():
    with kinesis_server() as running:
        yield running


@pytest.fixture
def kinesis(server):
    server.create(STREAM, shards=2)
    yield server
    server.aws.heal()
    server.client.delete_stream(StreamName=STREAM)


def events(first: int, last: int) -> list[bytes]:
    return [b"event %d" % number for number in range(first, last)]


@pytest.mark.parametrize("start", ["TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"])
def test_every_starting_position_gives_what_comes_later_once(kinesis, tmp_path, start):
    old = kinesis.put(STREAM, events(0, 20))
    moment = (datetime.now(UTC) + timedelta(milliseconds=5)).isoformat()
    position = f"{start} {moment}" if start == "AT_TIMESTAMP" else start
    reader = Query(lambda: context(kinesis.url, tmp_path, starting_position=position, max_records_per_shard=7)).run()
    sent = kinesis.put(STREAM, events(20, 60))
    expected = [*old, *sent] if start == "TRIM_HORIZON" else sent
    assert sorted(reader.crash().run().rows) == sorted(expected)


def test_a_crash_between_read_log_and_commit_gives_the_same_rows(kinesis, tmp_path):
    kinesis.put(STREAM, events(0, 20))
    reader = Query(lambda: context(kinesis.url, tmp_path))
    reader.start()
    reader.plan()
    first = reader.read(keep=False)
    kinesis.put(STREAM, events(20, 40))
    reader.crash()
    assert sorted(reader.rows) == sorted(first)
    assert len(set(reader.run().rows)) == len(reader.rows) == 40


def test_a_dropped_connection_and_half_an_answer_are_asked_for_again(kinesis, tmp_path):
    sent = kinesis.put(STREAM, events(0, 40))
    kinesis.aws.fail("POST", "GetRecords", times=2)
    kinesis.aws.fail("POST", "GetRecords", keep=40, times=2)
    kinesis.aws.fail("POST", "ListShards", status=503, code="ServiceUnavailable")
    reader = Query(lambda: context(kinesis.url, tmp_path, max_records_per_shard=15)).run()
    assert sorted(reader.rows) == sorted(sent)
