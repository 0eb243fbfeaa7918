"""The Kinesis source: `spark.dataSource.register(KinesisDataSource)`, then `spark.readStream.format("kinesis-py")`."""

from __future__ import annotations

from streaming_app.sources.kinesis.options import KinesisOptions, kinesis_options
from streaming_app.sources.kinesis.source import DecodedKinesisDataSource, KinesisDataSource

__all__ = ["DecodedKinesisDataSource", "KinesisDataSource", "KinesisOptions", "kinesis_options"]
