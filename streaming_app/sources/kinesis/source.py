"""The Kinesis stream as Spark data sources: `kinesis-py` (records as they are) and `kinesis-py-decoded` (a dataset's rows).

Guarantee: a batch that Spark runs again, after a crash, a failed task or for a second action, gives exactly the same rows,
so a sink that writes each batch id once writes each record once. Order is kept within a shard, and children of a split or
merge are read after their parents. Nothing is skipped: what is lost upstream raises DataLossError.

Resume rule: Spark's offset names an epoch and every shard's position; the read log (`read_log_path`, next to the
checkpoint) says where each read of an epoch ended. A restart goes on from both.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import Any, Final

import pyarrow as pa
from pyspark.sql.datasource import DataSource, DataSourceStreamReader, InputPartition
from pyspark.sql.types import StructType

from streaming_app.config.positions import stream_name
from streaming_app.errors import SourceError
from streaming_app.runtime import logs
from streaming_app.schema import Dataset
from streaming_app.sources.kinesis.client import DECODING
from streaming_app.sources.kinesis.context import Context, context_of
from streaming_app.sources.kinesis.epochs import EpochPartition, Epochs, ShardTask
from streaming_app.sources.kinesis.interleave import interleave
from streaming_app.sources.kinesis.layouts import GENERIC_DDL, Layout, layout_of
from streaming_app.sources.kinesis.lineage import Offset
from streaming_app.sources.kinesis.options import KinesisOptions, parse_options
from streaming_app.sources.kinesis.reading import ShardRead

FORMAT: Final = "kinesis-py"
DECODED_FORMAT: Final = "kinesis-py-decoded"
_LOGGED_AS: Final = "kinesis"


class KinesisDataSource(DataSource):
    """`kinesis-py`: records as they are (schema: `GENERIC_DDL`). Options: `KinesisOptions`; ConfigError for wrong ones."""

    def __init__(self, options: dict[str, str]) -> None:
        super().__init__(options)
        self._parsed = parse_options(dict(options), decoded=False)

    @classmethod
    def name(cls) -> str:
        return FORMAT

    def schema(self) -> str:
        return GENERIC_DDL

    def streamReader(self, schema: StructType) -> KinesisStreamReader:  # noqa: N802, ARG002 - Spark's name
        return KinesisStreamReader(self._parsed)


class DecodedKinesisDataSource(DataSource):
    """`kinesis-py-decoded`: `Dataset.decoded_ddl()` of the dataset in option `dataset`; decoding runs in the reading task."""

    def __init__(self, options: dict[str, str]) -> None:
        super().__init__(options)
        self._parsed = parse_options(dict(options), decoded=True)

    @classmethod
    def name(cls) -> str:
        return DECODED_FORMAT

    def schema(self) -> str:
        return Dataset.from_option(self._parsed.dataset).decoded_ddl()

    def streamReader(self, schema: StructType) -> KinesisStreamReader:  # noqa: N802, ARG002 - Spark's name
        return KinesisStreamReader(self._parsed)


class KinesisStreamReader(DataSourceStreamReader):
    """Driver and tasks have one each; a task's has nothing but the options, as Spark sends it over."""

    def __init__(self, options: KinesisOptions) -> None:
        self._options = options
        self._driver: Epochs | None = None

    def initialOffset(self) -> dict[str, Any]:  # noqa: N802 - Spark's name
        return self._epochs().initial().to_json()

    def latestOffset(self) -> dict[str, Any]:  # noqa: N802 - Spark's name
        return self._epochs().latest().to_json()

    def partitions(self, start: dict[str, Any], end: dict[str, Any]) -> list[InputPartition]:
        return list(self._epochs().partitions(Offset.from_json(start), Offset.from_json(end)))

    def commit(self, end: dict[str, Any]) -> None:
        self._epochs().commit(Offset.from_json(end))

    def stop(self) -> None:
        if self._driver is not None:
            self._driver.stop()

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        if not isinstance(partition, EpochPartition):
            raise SourceError(f"{partition!r} is no partition of this source")
        logs.inherit(_LOGGED_AS)
        return read_partition(context_of(self._options), partition)

    def _epochs(self) -> Epochs:
        if self._driver is None:
            logs.inherit(_LOGGED_AS)
            self._driver = Epochs(context_of(self._options))
        return self._driver


def read_partition(context: Context, partition: EpochPartition) -> Generator[pa.RecordBatch, None, None]:
    """The rows of one partition; when this ends, what was read stands in the read log."""
    layout = layout_of(context.options.dataset)
    sharing = replace(context, options=context.options.shared_by(partition.all_shards))
    return interleave([_batches(sharing, layout, partition, task) for task in partition.shards])


def _batches(context: Context, layout: Layout, partition: EpochPartition, task: ShardTask) -> Iterator[pa.RecordBatch]:
    feed = context.feed(task.shard, task.position, partition.consumer, news=task.news)
    feed.resume(task.iterator, task.last_call)
    read = ShardRead(
        partition.epoch,
        task.shard,
        task.position,
        feed,
        context.read_log,
        context.options,
        context.clock,
        task.hash_range,
        task.bound,
    )
    for rows in read.rows():
        with DECODING:
            batch = layout.batch(stream_name(context.options.stream_name), task.shard, rows)
        yield batch
