"""Records as Arrow batches, in the two layouts that the source offers. Only a layout's own columns are ever built."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from streaming_app.decode.json_events import JsonDecoder
from streaming_app.schema import Dataset, Decoded
from streaming_app.sources.kinesis.aggregates import Rows
from streaming_app.sources.kinesis.messages import Record

GENERIC_DDL: Final = (
    "data BINARY, stream_name STRING, shard_id STRING, partition_key STRING, sequence_number STRING, "
    "sub_sequence_number BIGINT, approximate_arrival_timestamp TIMESTAMP"
)
NO_SUB_SEQUENCE: Final = 0  # the record was not taken out of an aggregate
_GENERIC_NAMES: Final = [part.split()[0] for part in GENERIC_DDL.split(", ")]
_TIMESTAMP: Final = pa.timestamp("us", "UTC")


class Layout(Protocol):
    """Turns records of one shard into one Arrow batch."""

    def batch(self, stream: str, shard: str, rows: Rows) -> pa.RecordBatch:
        """One row a record, in their order."""
        ...


class GenericLayout:
    """The records as Kinesis has them (schema: `GENERIC_DDL`).

    `sub_sequence_number` counts the records of an aggregate from 0; it is 0 for a record of its own, too.
    """

    def batch(self, stream: str, shard: str, rows: Rows) -> pa.RecordBatch:
        records, count = rows.records, len(rows.records)
        return pa.RecordBatch.from_arrays(
            [
                pa.array([record.data for record in records], pa.binary()),
                pa.repeat(stream, count),
                pa.repeat(shard, count),
                pa.array([record.key for record in records], pa.string()),
                pa.array([record.sequence for record in records], pa.string()),
                _sub_sequence_numbers(rows),
                arrival_times(records),
            ],
            names=_GENERIC_NAMES,
        )


class DecodedLayout:
    """The dataset's own columns as strings, with what `Decoded` adds.

    `source_position` is `shardId:sequenceNumber`, and for a record of an aggregate `shardId:sequenceNumber:number`.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._decoder = JsonDecoder(dataset)
        self._names = [
            *dataset.column_names,
            Decoded.RESCUED,
            Decoded.ERROR,
            Decoded.RAW,
            Decoded.POSITION,
            Decoded.ARRIVED_AT,
        ]

    def batch(self, stream: str, shard: str, rows: Rows) -> pa.RecordBatch:
        del stream
        columns = self._decoder.decode([record.data for record in rows.records])
        positions = pc.binary_join_element_wise(shard, pa.array(_numbers(rows), pa.string()), ":")
        return pa.RecordBatch.from_arrays([*columns, positions, arrival_times(rows.records)], names=self._names)


def _numbers(rows: Rows) -> list[str]:
    """What follows the shard in a position."""
    if rows.subs is None:
        return [record.sequence for record in rows.records]
    pairs = zip(rows.records, rows.subs, strict=True)
    return [record.sequence if sub is None else f"{record.sequence}:{sub}" for record, sub in pairs]


def _sub_sequence_numbers(rows: Rows) -> pa.Array:
    if rows.subs is None:
        return pa.repeat(pa.scalar(NO_SUB_SEQUENCE, pa.int64()), len(rows.records))
    return pa.array([sub or NO_SUB_SEQUENCE for sub in rows.subs], pa.int64())


def arrival_times(records: Sequence[Record]) -> pa.Array:
    """Arrival as timestamps; Kinesis counts milliseconds, so the digits that a float adds below them are dropped."""
    seconds = pa.array([record.arrival for record in records], pa.float64())
    millis = pc.round(pc.multiply(seconds, 1000.0)).cast(pa.int64())
    return pc.multiply(millis, 1000).cast(_TIMESTAMP)


@lru_cache(maxsize=4)
def layout_of(dataset_option: str) -> Layout:
    """The decoded layout of a dataset (as `Dataset.to_option` writes it), the generic one for an empty text."""
    return DecodedLayout(Dataset.from_option(dataset_option)) if dataset_option else GenericLayout()
