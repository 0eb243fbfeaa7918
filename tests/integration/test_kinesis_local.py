"""The source against an emulator that is not ours: what it reads by GetRecords and by SubscribeToShard is the same."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from streaming_app.errors import SourceError
from streaming_app.sources.kinesis.context import Context
from tests.kinesis_histories import BATCHES, RESHARDING, STEPS, histories, live, live_by_subscription
from tests.kinesis_local import VARIABLE, kinesis_local
from tests.kinesis_reading import STREAM, Query, context, credentials
from tests.kpl import of
from tests.remote_kinesis import RemoteKinesis

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(VARIABLE not in os.environ, reason="needs kinesis-local on Node: make test-kinesis-local"),
]
FIRST = "shardId-000000000000"
WAYS = {"polling": {}, "efo": {"consumer_type": "efo", "consumer_name": "tests"}}
NO_LIMIT = {"deadline": None, "suppress_health_check": list(HealthCheck), "phases": [Phase.generate]}


@pytest.fixture(scope="module")
def emulator(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        credentials(patch)
        with kinesis_local(tmp_path_factory.mktemp("kinesis-local") / "log") as running:
            yield running


@dataclass
class Source:
    """Makes queries on the stream, whose tasks land in one of so many worker processes."""

    way: str
    make: Callable[[int], Context]
    workers: list[Context] = field(default_factory=list)

    def query(self, limit: int = 50, workers: int = 1) -> Query:
        self.workers.extend(self.make(limit) for _ in range(workers))
        turns = itertools.cycle(self.workers)
        return Query(lambda: next(turns))

    def total(self, query: Query, name: str) -> int:
        """Of a number that reads record."""
        log = self.workers[0].read_log
        reads = [read for offset in query.offsets for read in log.units(offset.epoch).values()]
        return sum(read.detail.get(name, 0) for read in reads)


@pytest.fixture(params=WAYS)
def source(emulator: RemoteKinesis, tmp_path: Path, request):
    emulator.reset()
    emulator.create(STREAM, 2)
    way = request.param
    made = Source(way, lambda limit: context(emulator.url, tmp_path, max_records_per_shard=limit, **WAYS[way]))
    yield made
    for worker in made.workers:
        worker.subscriptions.close()


def events(first: int, last: int) -> list[bytes]:
    return [b"event %d" % number for number in range(first, last)]


def test_everything_is_read_once_over_many_batches(emulator, source):
    sent = emulator.put(STREAM, events(0, 400))
    query = source.query().run()
    for number in range(400, 700, 100):
        sent += emulator.put(STREAM, events(number, number + 100))
        query.run()
    assert sorted(query.rows) == sorted(sent)
    if source.way == "efo":
        assert source.total(query, "pushed") >= 400


def test_splits_and_merges_and_crashes_lose_and_repeat_nothing(emulator, source):
    sent = emulator.put(STREAM, events(0, 200))
    query = source.query(limit=30, workers=2).run(batches=2)
    emulator.split(STREAM, FIRST)
    sent += emulator.put(STREAM, events(200, 400))
    query.run(batches=2)
    query.crash()
    emulator.merge(STREAM, "shardId-000000000002", "shardId-000000000003")
    sent += emulator.put(STREAM, events(400, 600))
    query.run(batches=3)
    query.crash().run()
    assert sorted(query.rows) == sorted(sent)


def test_a_batch_that_runs_again_reads_the_same(emulator, source):
    emulator.put(STREAM, events(0, 100))
    query = source.query()
    query.start()
    query.plan()
    first = query.read(keep=False)
    emulator.put(STREAM, events(100, 200))
    query.crash()
    assert sorted(query.rows) == sorted(first)


def test_aggregates_come_apart(emulator, source):
    emulator.put(STREAM, [of(b"a", b"b", b"c", key="k"), b"plain"])
    query = source.query().run()
    assert source.total(query, "aggregates") == 1
    assert len(query.rows) + source.total(query, "dropped") == 4  # the outer key may belong to the other shard


def test_a_stream_that_is_not_there_is_an_error(emulator, tmp_path):
    with pytest.raises(SourceError, match="does not exist"):
        Query(lambda: context(emulator.url, tmp_path, stream_name="nowhere")).run()


@pytest.mark.parametrize("how", [live, live_by_subscription])
def test_any_history_is_delivered_once_and_in_order(emulator, how):
    @settings(max_examples=5, **NO_LIMIT)
    @given(steps=histories([*STEPS, *RESHARDING], most=12), shards=st.integers(1, 3), batch=BATCHES)
    def check(steps, shards, batch):
        how(emulator, steps, shards, batch)

    check()
