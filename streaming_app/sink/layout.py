"""The columns of the lake's files, as Arrow has them."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from streaming_app.schema import INGESTED_AT, Dataset, Decoded, Judged

TIMESTAMP: Final = pa.timestamp("us", tz="UTC")
_ARROW_TYPES: Final = {
    "string": pa.string(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": TIMESTAMP,
}
DEAD_LETTER_SCHEMA: Final = pa.schema(
    [
        ("dead_letter_id", pa.string()),
        (Judged.STAGE, pa.string()),
        (Judged.REASONS, pa.list_(pa.string())),
        (Judged.RAW, pa.string()),
        (Judged.RAW_ENCODING, pa.string()),
        ("source", pa.string()),
        (Decoded.POSITION, pa.string()),
        (Decoded.ARRIVED_AT, TIMESTAMP),
        (INGESTED_AT, TIMESTAMP),
        ("suite_fingerprint", pa.string()),
    ]
)


def clean_schema(dataset: Dataset) -> pa.Schema:
    """Arrow schema of the clean table's files; the partition columns stand in their paths.

    `quality_warnings` is always there, null in every row where the suite has no such rules: the table is a contract
    with Athena, which does not change when a rule does.
    """
    columns = [
        (column.name, pa.decimal128(*column.decimal_digits) if column.decimal_digits else _ARROW_TYPES[column.type])
        for column in dataset.columns
    ]
    return pa.schema(
        [
            *columns,
            (Decoded.RESCUED, pa.string()),
            (Judged.WARNINGS, pa.list_(pa.string())),
            (Decoded.POSITION, pa.string()),
            (INGESTED_AT, TIMESTAMP),
        ]
    )
