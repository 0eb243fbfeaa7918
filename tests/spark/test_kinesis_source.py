"""The Kinesis sources as Spark runs them: tasks in worker processes, offsets and restarts by Spark's own rules."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from streaming_app.sources.kinesis import DecodedKinesisDataSource, KinesisDataSource
from streaming_app.sources.kinesis.standing import exported, standing_of
from streaming_app.storage.local import LocalStorage
from tests.kinesis_reading import STREAM
from tests.kinesis_server import kinesis_server
from tests.strict_kinesis import strict_kinesis

pytestmark = pytest.mark.spark
FIRST = "shardId-000000000000"


@dataclass
class Job:
    """A query that keeps what each batch gave, and can fail in a batch, as often as told."""

    spark: Any
    folder: Path
    options: dict[str, str]
    batches: dict[int, list[Any]] = field(default_factory=dict)
    evaluations: list[tuple[int, list[Any]]] = field(default_factory=list)
    failures: int = 0
    format: str = "kinesis-py"
    trigger: dict[str, Any] = field(default_factory=lambda: {"processingTime": "200 milliseconds"})

    def start(self) -> Any:
        self.spark.dataSource.register(KinesisDataSource)
        self.spark.dataSource.register(DecodedKinesisDataSource)
        checkpoint = str(self.folder / "checkpoint")
        stream = self.spark.readStream.format(self.format).options(**self.options, read_log_path=checkpoint).load()
        writer = stream.writeStream.foreachBatch(self._keep).option("checkpointLocation", checkpoint)
        return writer.trigger(**self.trigger).start()

    def _keep(self, frame: Any, batch: int) -> None:
        rows = frame.collect()
        self.evaluations.append((batch, rows))
        if self.failures:
            self.failures -= 1
            raise RuntimeError("injected")
        self.batches[batch] = rows

    def until(self, done: Callable[[], bool], query: Any = None, seconds: int = 120) -> None:
        """Run until `done` and Spark has noted the batches that gave it (else they are done again), then stop."""
        query = query or self.start()
        try:
            for _ in range(seconds * 10):
                if (done() and self.noted()) or query.awaitTermination(0.1):
                    break
        finally:
            query.stop()
        assert done(), query.exception()

    def noted(self) -> bool:
        """Whether every batch that gave rows stands in Spark's commit log."""
        return all((self.folder / "checkpoint" / "commits" / str(batch)).exists() for batch in self.batches)

    def rows(self) -> list[Any]:
        return [row for _, rows in sorted(self.batches.items()) for row in rows]

    def places(self) -> list[str]:
        return sorted(f"{row.shard_id}:{row.sequence_number}" for row in self.rows())


def events(first: int, last: int) -> list[bytes]:
    return [b'{"order_id":"%d","amount":1.5}' % number for number in range(first, last)]


def test_a_stream_is_read_once_over_a_restart(spark, tmp_path):
    with kinesis_server() as kinesis:
        kinesis.create(STREAM, shards=2)
        sent = kinesis.put(STREAM, events(0, 50))
        options = {"stream_name": STREAM, "region": "us-east-1", "endpoint_url": kinesis.url}
        job = Job(spark, tmp_path, {**options, "starting_position": "EARLIEST"})
        job.until(lambda: len(job.rows()) >= 50)
        sent += kinesis.put(STREAM, events(50, 80))
        job.until(lambda: len(job.rows()) >= 80)
    assert job.places() == sorted(sent)
    assert sorted(bytes(row.data) for row in job.rows()) == sorted(events(0, 80))
    assert all(rows for rows in job.batches.values())


def test_a_failed_batch_is_given_again_exactly_while_the_stream_is_resharded(spark, tmp_path):
    with strict_kinesis(limits=True) as kinesis:
        kinesis.create(STREAM)
        sent = kinesis.put(STREAM, events(0, 40))
        options = {"kinesis.streamName": STREAM, "region": "us-east-1", "endpoint_url": kinesis.url}
        job = Job(spark, tmp_path, {**options, "max_records_per_shard": "25"}, failures=1)
        query = job.start()
        with pytest.raises(Exception, match="injected"):
            query.awaitTermination(120)
        sent += kinesis.put(STREAM, events(40, 60))
        kinesis.split(STREAM, FIRST)
        sent += kinesis.put(STREAM, events(60, 100))
        job.until(lambda: len(job.rows()) >= 100)
    (first, lost), (again, repeated) = job.evaluations[:2]
    assert (first, lost) == (again, repeated)
    assert job.places() == sorted(sent)


def test_sparks_own_available_now_gives_one_micro_batch_a_run_and_the_next_run_goes_on(spark, tmp_path):
    """Spark 4.1 asks a Python source once then; our option `available_now` reads to the tips."""
    with strict_kinesis() as kinesis:
        kinesis.create(STREAM, shards=2)
        sent = kinesis.put(STREAM, events(0, 100))
        options = {"stream_name": STREAM, "region": "us-east-1", "endpoint_url": kinesis.url}
        job = Job(spark, tmp_path, {**options, "max_records_per_shard": "30"}, trigger={"availableNow": True})
        for runs in (1, 2):
            job.start().awaitTermination(120)
            assert len(job.batches) == runs
    assert job.places() == sorted(sent)


def test_the_decoded_format_gives_the_datasets_columns(spark, tmp_path, orders):
    with strict_kinesis() as kinesis:
        kinesis.create(STREAM, shards=3)
        sent = kinesis.put(STREAM, [*events(0, 20), b"\xff"])
        options = {"stream_name": STREAM, "region": "us-east-1", "endpoint_url": kinesis.url, "max_tasks": "2"}
        job = Job(spark, tmp_path, {**options, "dataset": orders.to_option()}, format="kinesis-py-decoded")
        job.until(lambda: len(job.rows()) >= 21)
    assert sorted(row.source_position for row in job.rows()) == sorted(sent)
    bad = [row for row in job.rows() if row.decode_error]
    assert [bytes(row.raw) for row in bad] == [b"\xff"]
    assert {row.amount for row in job.rows() if not row.decode_error} == {"1.5"}


def test_a_stream_is_read_by_subscription_over_a_restart_and_draining_removes_the_consumer(spark, tmp_path):
    with strict_kinesis() as kinesis:
        kinesis.create(STREAM, shards=2)
        sent = kinesis.put(STREAM, events(0, 50))
        options = {"stream_name": STREAM, "region": "us-east-1", "endpoint_url": kinesis.url}
        efo = {"kinesis.consumerType": "SubscribeToShard", "consumer_name": "spark", "deregister_consumer": "true"}
        drain = tmp_path / "drain"
        job = Job(spark, tmp_path, {**options, **efo, "drain_path": str(drain)})
        job.until(lambda: len(job.rows()) >= 50)
        sent += kinesis.put(STREAM, events(50, 80))
        query = job.start()
        job.until(lambda: len(job.rows()) >= 80 and (drain.touch() or not kinesis._consumers()), query)
        assert kinesis.calls["RegisterStreamConsumer"] == 1
        assert kinesis.calls["subscriptions"] >= 2
    assert job.places() == sorted(sent)


def test_sparks_progress_says_how_far_behind_the_reads_before_ended(spark, tmp_path):
    with strict_kinesis() as kinesis:
        kinesis.create(STREAM)
        kinesis.put(STREAM, events(0, 40))
        options = {"stream_name": STREAM, "region": "us-east-1", "endpoint_url": kinesis.url}
        job = Job(spark, tmp_path, {**options, "max_records_per_shard": "25"})
        query = job.start()

        more = []

        def then_five_more() -> bool:
            if len(job.rows()) == 40 and not more:
                more.extend(kinesis.put(STREAM, events(40, 45)))
            return len(job.rows()) == 45

        job.until(then_five_more, query)
        offsets = [json.loads(progress.json)["sources"][0]["endOffset"] for progress in query.recentProgress]
    first, second, third = (
        next(offset.get("lag") for offset in offsets if offset["epoch"] == epoch) for epoch in (1, 2, 3)
    )
    assert first is None
    assert second["max_ms"] > 0
    assert second == {"max_ms": second["max_ms"], "idle": False, "shards_ms": {FIRST: second["max_ms"]}}
    assert third == {"max_ms": 0, "idle": True, "shards_ms": {}}


def test_a_wrong_option_is_reported_when_the_stream_is_loaded(spark):
    spark.dataSource.register(KinesisDataSource)
    with pytest.raises(Exception, match="read_log_path"):
        spark.readStream.format("kinesis-py").option("stream_name", STREAM).load()


def test_half_is_read_with_one_checkpoint_and_the_rest_with_another_from_its_export(spark, tmp_path):
    with strict_kinesis() as kinesis:
        kinesis.create(STREAM, shards=2)
        sent = kinesis.put(STREAM, events(0, 30))
        options = {"stream_name": STREAM, "region": "us-east-1", "endpoint_url": kinesis.url}
        first = Job(spark, tmp_path / "first", options)
        first.until(lambda: len(first.rows()) >= 30)
        kinesis.split(STREAM, FIRST)
        sent += kinesis.put(STREAM, events(30, 60))
        given = exported(STREAM, standing_of(LocalStorage(str(tmp_path / "first" / "checkpoint")))).to_text()
        second = Job(spark, tmp_path / "second", {**options, "starting_position": given})
        second.until(lambda: len(second.rows()) >= 30)
    assert sorted(first.places() + second.places()) == sorted(sent)
