"""The Kinesis source: `spark.dataSource.register(KinesisDataSource)`, then `spark.readStream.format("kinesis-py")`."""

from __future__ import annotations

from streaming_app.sources.kinesis.access import Endpoint, resolved
from streaming_app.sources.kinesis.connectors import LOST, Connector, Place, connector_of
from streaming_app.sources.kinesis.context import closed_shards, retention_seconds
from streaming_app.sources.kinesis.foreign import decoded
from streaming_app.sources.kinesis.options import KinesisOptions, kinesis_options, parse_options
from streaming_app.sources.kinesis.source import DecodedKinesisDataSource, KinesisDataSource

__all__ = [
    "LOST",
    "Connector",
    "DecodedKinesisDataSource",
    "Endpoint",
    "KinesisDataSource",
    "KinesisOptions",
    "Place",
    "closed_shards",
    "connector_of",
    "decoded",
    "kinesis_options",
    "parse_options",
    "resolved",
    "retention_seconds",
]
