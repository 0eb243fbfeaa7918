"""Other readers of the stream behind our configuration: which options they get, and what is lost with them. Pure.

`glue` is the source inside AWS Glue (options: Glue's API, KinesisStreamingSourceOptions), `aws-kinesis` the connector that
EMR ships (options: README of awslabs/spark-sql-kinesis-connector). Neither can run outside its home, so what is tested here
is the mapping, and everything that follows them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from streaming_app.config.connectors import AWS_KINESIS, GLUE
from streaming_app.config.models import KinesisConfig
from streaming_app.config.positions import stream_name
from streaming_app.sources.kinesis.access import SESSION_NAME

_EFO: Final = "efo"
_AT_TIMESTAMP: Final = "AT_TIMESTAMP "
LOST: Final = (
    "exactly once: a batch that runs again may hold other rows, and those that differ are lost or come twice",
    "the count of rows read: what is lost before the pipeline is not noticed",
    "the shard in source_position, which is shardId-unknown here",
    "positions, explicit or exported, and --available-now and --until",
    "the audit of rows (files are checked), and the lag of each shard in logs and metrics",
    "a stop between micro-batches: one that is cut off runs again",
)


@dataclass(frozen=True)
class Place:
    """Where the stream is, as boto3 resolved it: region and the endpoint's address."""

    region: str
    address: str


@dataclass(frozen=True)
class Connector:
    """A Spark reader: its format and options."""

    format: str
    options: dict[str, str]


def connector_of(config: KinesisConfig, place: Place) -> Connector:
    """The reader that a configuration with another connector than ours asks for."""
    return Connector(_FORMATS[config.connector], _OPTIONS[config.connector](config, place))


def _glue(config: KinesisConfig, place: Place) -> dict[str, str]:
    """Without `classification` Glue leaves the records alone; with it, it would parse them and their exact text were lost."""
    is_arn = config.stream.startswith("arn:")
    options = {
        "streamARN" if is_arn else "streamName": config.stream,
        "endpointUrl": place.address,
        "startingPosition": _moment(config.start) or config.start.lower(),
        "failOnDataLoss": _flag(config.fail_on_data_loss),
        "maxFetchRecordsPerShard": str(config.max_records_per_shard),
        "maxFetchTimeInMs": _milliseconds(config.max_fetch_time),
        "maxRecordPerRead": str(config.records_per_fetch),
        "addIdleTimeBetweenReads": _flag(config.fetch_interval > 0),
        "idleTimeBetweenReadsInMs": _milliseconds(config.fetch_interval),
        "avoidEmptyBatches": "true",
    }
    if config.role_arn:
        options |= {"awsSTSRoleARN": config.role_arn, "awsSTSSessionName": config.role_session_name or SESSION_NAME}
    return options


def _aws_kinesis(config: KinesisConfig, place: Place) -> dict[str, str]:
    moment = _moment(config.start)
    options = {
        "kinesis.streamName": stream_name(config.stream),
        "kinesis.region": place.region,
        "kinesis.kinesisRegion": place.region,  # else taken from the address, where a VPC endpoint has it elsewhere
        "kinesis.endpointUrl": place.address,
        "kinesis.startingPosition": f"{_AT_TIMESTAMP}{moment}" if moment else config.start,
        "kinesis.consumerType": "SubscribeToShard" if config.consumer_type == _EFO else "GetRecords",
        "kinesis.failOnDataLoss": _flag(config.fail_on_data_loss),
        "kinesis.maxFetchRecordsPerShard": str(config.max_records_per_shard),
        "kinesis.maxFetchTimePerShardSec": str(math.ceil(config.max_fetch_time)),
        "kinesis.getRecords.numberOfRecordsPerFetch": str(config.records_per_fetch),
        "kinesis.getRecords.fetchIntervalMs": _milliseconds(config.fetch_interval),
    }
    if config.consumer_type == _EFO:
        options["kinesis.consumerName"] = config.consumer_name
    if config.role_arn:
        options["kinesis.stsRoleArn"] = config.role_arn
        options["kinesis.stsSessionName"] = config.role_session_name or SESSION_NAME
        options |= {"kinesis.stsEndpointUrl": config.sts_endpoint_url} if config.sts_endpoint_url else {}
    return options


def _moment(start: str) -> str:
    """The time of AT_TIMESTAMP in whole seconds, which is all they read: earlier rather than later. Else empty."""
    if not start.startswith(_AT_TIMESTAMP):
        return ""
    moment = datetime.fromisoformat(start.removeprefix(_AT_TIMESTAMP)).astimezone(UTC)
    return moment.replace(microsecond=0).isoformat().replace("+00:00", "Z")


def _flag(value: bool) -> str:
    return str(value).lower()


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))


_FORMATS: Final = {GLUE: "kinesis", AWS_KINESIS: "aws-kinesis"}
_OPTIONS: Final[dict[str, Callable[[KinesisConfig, Place], dict[str, str]]]] = {GLUE: _glue, AWS_KINESIS: _aws_kinesis}
