"""Records of another connector on their way to the lake. Its JAR cannot run here: a stand-in with its name and columns does."""

# ruff: noqa: N802 - Spark's names

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pyspark.sql.datasource import DataSource, SimpleDataSourceStreamReader

from streaming_app.arguments import load_all
from streaming_app.errors import ConfigError
from streaming_app.sources.kinesis import decoded
from streaming_app.streams import RunOptions, build_stream, register
from tests.kpl import UserRecord, aggregate
from tests.sparkless_service import SparklessService

pytestmark = pytest.mark.spark
COLUMNS = (
    "data BINARY, streamName STRING, partitionKey STRING, sequenceNumber STRING, approximateArrivalTimestamp TIMESTAMP"
)
ARRIVED = datetime(2026, 3, 1, 10, 0, 0, 123000, tzinfo=UTC)
GOOD = b'{"order_id":"o%d","city":"Medan","amount":12.50}'


def records(*events: bytes) -> list[tuple]:
    return [(event, "orders", "k", f"49{number}", ARRIVED) for number, event in enumerate(events)]


def rows(spark, dataset, *events: bytes, **how):
    frame = spark.createDataFrame(records(*events), COLUMNS).coalesce(1)
    return decoded(frame, dataset, **{"deaggregate": True, **how}).collect()


def test_records_come_out_as_our_own_reader_decodes_them(spark, orders):
    good, bad = rows(spark, orders, GOOD % 1, b"\xff")
    assert (good.order_id, good.city, good.amount, good.decode_error) == ("o1", "Medan", "12.50", None)
    assert good.source_position == "shardId-unknown:490"
    assert good.arrived_at.astimezone(UTC) == ARRIVED
    assert (bad.decode_error, bytes(bad.raw), bad.source_position) == ("not_utf8", b"\xff", "shardId-unknown:491")


def test_an_aggregate_that_the_connector_left_whole_is_taken_apart(spark, orders):
    whole = aggregate([UserRecord("a", GOOD % 1), UserRecord("b", GOOD % 2)])
    found = rows(spark, orders, GOOD % 0, whole)
    assert [row.order_id for row in found] == ["o0", "o1", "o2"]
    assert [row.source_position for row in found][1:] == ["shardId-unknown:491:0", "shardId-unknown:491:1"]
    (left,) = rows(spark, orders, whole, deaggregate=False)
    assert bytes(left.raw) == whole


def test_a_frame_without_the_records_is_refused_with_the_columns_it_has(spark, orders):
    frame = spark.createDataFrame([("o1", 1)], "order_id STRING, amount INT")
    with pytest.raises(ConfigError, match=r"data, sequenceNumber, only order_id, amount"):
        decoded(frame, orders, deaggregate=True)


class StandIn(DataSource):
    """Three records in two micro-batches."""

    @classmethod
    def name(cls):
        return "aws-kinesis"

    def schema(self):
        return COLUMNS

    def simpleStreamReader(self, schema):  # noqa: ARG002
        return StandInReader()


class StandInReader(SimpleDataSourceStreamReader):
    def initialOffset(self):
        return {"at": 0}

    def read(self, start):
        events = [GOOD % 1, b"\xff", GOOD % 2]
        end = {"at": min(len(events), start["at"] + 2)}
        return iter(self.readBetweenOffsets(start, end)), end

    def readBetweenOffsets(self, start, end):
        return iter(records(GOOD % 1, b"\xff", GOOD % 2)[start["at"] : end["at"]])


def test_another_connectors_rows_reach_the_lake_and_the_ledger(spark, tmp_path):
    service = SparklessService(tmp_path, "http://127.0.0.1:1")
    (service.checkpoint("kinesis") / "metadata").unlink()
    service.write_config(connector="aws-kinesis")
    spark.dataSource.register(StandIn)
    register(spark)
    for _ in range(2):  # a restart writes nothing again
        query = build_stream(*load_all(str(service.config), ()), "kinesis", RunOptions("")).start(spark)
        try:
            query.processAllAvailable()
        finally:
            query.stop()
        assert service.visible() == [f"shardId-unknown:49{number}" for number in range(3)]
