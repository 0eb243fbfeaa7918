"""Records that another connector has read, decoded as our own reader does it: one row a record, in their order.

Columns taken, by the names that both connectors have: `data` (binary), `sequenceNumber`, and where they are there
`partitionKey` and `approximateArrivalTimestamp`. Decoding runs in `mapInArrow`, on the executors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from streaming_app.errors import ConfigError
from streaming_app.schema import Dataset
from streaming_app.sources.kinesis.aggregates import Deaggregation, Rows
from streaming_app.sources.kinesis.layouts import layout_of
from streaming_app.sources.kinesis.messages import Record

NO_SHARD: Final = "shardId-unknown"
_DATA, _SEQUENCE, _KEY, _ARRIVAL = "data", "sequenceNumber", "partitionKey", "approximateArrivalTimestamp"
_MICROS: Final = 1_000_000


def decoded(records: DataFrame, dataset: Dataset, *, deaggregate: bool) -> DataFrame:
    """Rows of the decoded layout. Raises ConfigError when the connector's frame lacks `data` or `sequenceNumber`.

    `source_position` is `shardId-unknown:sequenceNumber`, with the number in its aggregate where it came out of one.
    """
    columns = {name.lower() for name in records.columns}
    missing = [name for name in (_DATA, _SEQUENCE) if name.lower() not in columns]
    if missing:
        raise ConfigError(
            f"the connector's records have no column {', '.join(missing)}, only {', '.join(records.columns)}; does it parse"
            " them itself? Use connector: python"
        )
    taken = records.select(
        F.col(_DATA).cast("binary").alias(_DATA),
        F.col(_SEQUENCE).cast("string").alias(_SEQUENCE),
        _optional(columns, _KEY, "string"),
        _optional(columns, _ARRIVAL, "timestamp"),
    )
    return taken.mapInArrow(_decoder(dataset.to_option(), deaggregate=deaggregate), schema=dataset.decoded_ddl())


def _optional(columns: set[str], name: str, kind: str) -> Any:
    return (F.col(name) if name.lower() in columns else F.lit(None)).cast(kind).alias(name)


def _decoder(dataset: str, *, deaggregate: bool) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """What runs on an executor; it travels there as it is."""

    def decode(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        layout = layout_of(dataset)
        for batch in batches:
            for rows in _rows(records_of(batch), deaggregate=deaggregate):
                yield layout.batch("", NO_SHARD, rows)

    return decode


def _rows(records: list[Record], *, deaggregate: bool) -> Iterator[Rows]:
    """An aggregate that the connector left as it is would be one unreadable row; which shard it is for nobody knows."""
    return Deaggregation(None).rows(records) if deaggregate else iter([Rows(records)])


def records_of(batch: pa.RecordBatch) -> list[Record]:
    """The records of one Arrow batch; what has no data is an empty record."""
    micros = batch.column(_ARRIVAL).cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist()
    columns = zip(
        batch.column(_DATA).to_pylist(),
        batch.column(_KEY).to_pylist(),
        batch.column(_SEQUENCE).to_pylist(),
        [None if moment is None else moment / _MICROS for moment in micros],
        strict=True,
    )
    return [Record(data or b"", key or "", sequence or "", arrival) for data, key, sequence, arrival in columns]  # type: ignore[arg-type]  # an unknown arrival is None and becomes null
