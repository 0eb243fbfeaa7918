from __future__ import annotations

from dataclasses import fields

import pytest

from streaming_app.config.models import KinesisConfig
from streaming_app.errors import ConfigError
from streaming_app.schema import Dataset
from streaming_app.sources.kinesis import DecodedKinesisDataSource, KinesisDataSource, KinesisOptions, kinesis_options
from streaming_app.sources.kinesis.options import _PARSERS, parse_options
from streaming_app.storage import StorageOptions

LEAST = {"stream_name": "orders", "read_log_path": "/checkpoints/kinesis"}
DATASET = Dataset.model_validate(
    {"name": "d", "columns": [{"name": "at", "type": "timestamp"}, {"name": "n", "type": "int"}], "time_column": "at"}
)


def problems(options, *, decoded=False) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_options(options, decoded=decoded)
    return str(caught.value)


def test_every_option_has_a_parser():
    assert {field.name for field in fields(KinesisOptions)} == {*_PARSERS, "storage"}


def test_all_problems_are_reported_together():
    text = problems({"max_records_per_shard": "none", "strem": "orders", "available_now": "yes"})
    for name in ("stream_name", "read_log_path", "max_records_per_shard", "strem", "available_now"):
        assert name in text
    assert "next to the query's checkpoint" in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("records_per_fetch", "10001"),
        ("records_per_fetch", "0"),
        ("max_fetch_time", "-1"),
        ("max_fetch_time", "soon"),
        ("max_fetch_time", "nan"),
        ("bytes_per_second", "2 MB"),
        ("starting_position", "YESTERDAY"),
        ("stream_name", " "),
        ("dataset", "{}"),
        ("kinesis.consumerType", "Firehose"),
        ("consumer_type", "pushed"),
    ],
)
def test_a_wrong_value_names_its_option(name, value):
    assert name in problems({**LEAST, name: value})


def test_durations_and_sizes_take_units_or_plain_numbers():
    parsed = parse_options(
        {**LEAST, "max_fetch_time": "1500ms", "fetch_interval": "0.25", "max_bytes_per_shard": "1MiB"}, decoded=False
    )
    assert (parsed.max_fetch_time, parsed.fetch_interval, parsed.max_bytes_per_shard) == (1.5, 0.25, 1 << 20)


def test_the_emr_connectors_names_mean_the_same():
    emr = {
        "kinesis.streamName": "orders",
        "kinesis.region": "eu-west-1",
        "kinesis.endpointUrl": "http://localhost:1",
        "kinesis.startingPosition": "AT_TIMESTAMP 2023-08-30T19:00:05Z",
        "kinesis.failOnDataLoss": "false",
        "kinesis.maxFetchRecordsPerShard": "500",
        "kinesis.maxFetchTimePerShardSec": "7",
        "kinesis.getRecords.numberOfRecordsPerFetch": "100",
        "kinesis.getRecords.fetchIntervalMs": "300",
        "kinesis.consumerType": "GetRecords",
        "kinesis.describeShardInterval": "1s",
        "read_log_path": "/c",
    }
    ours = {
        "stream_name": "orders",
        "region": "eu-west-1",
        "endpoint_url": "http://localhost:1",
        "starting_position": "AT_TIMESTAMP 2023-08-30T19:00:05Z",
        "fail_on_data_loss": "false",
        "max_records_per_shard": "500",
        "max_fetch_time": "7s",
        "records_per_fetch": "100",
        "fetch_interval": "300ms",
        "read_log_path": "/c",
    }
    lowered = {name.lower(): value for name, value in emr.items()}
    assert parse_options(lowered, decoded=False) == parse_options(ours, decoded=False)
    assert parse_options(emr, decoded=False) == parse_options(ours, decoded=False)


def test_glues_names_mean_the_same_where_they_agree():
    glue = {
        "streamARN": "arn:aws:kinesis:eu-west-1:123456789012:stream/orders",
        "endpointUrl": "http://localhost:1",
        "startingPosition": "2023-08-30T19:00:05Z",
        "failOnDataLoss": "false",
        "maxFetchRecordsPerShard": "500",
        "maxFetchTimeInMs": "7000",
        "maxRecordPerRead": "100",
        "idleTimeBetweenReadsInMs": "300",
        "describeShardInterval": "1s",
        "avoidEmptyBatches": "true",
        "awsSTSRoleARN": "arn:aws:iam::123456789012:role/reader",
        "awsSTSSessionName": "nightly",
        "read_log_path": "/c",
    }
    ours = {
        "stream_name": "arn:aws:kinesis:eu-west-1:123456789012:stream/orders",
        "endpoint_url": "http://localhost:1",
        "starting_position": "AT_TIMESTAMP 2023-08-30T19:00:05Z",
        "fail_on_data_loss": "false",
        "max_records_per_shard": "500",
        "max_fetch_time": "7s",
        "records_per_fetch": "100",
        "fetch_interval": "300ms",
        "role_arn": "arn:aws:iam::123456789012:role/reader",
        "role_session_name": "nightly",
        "read_log_path": "/c",
    }
    lowered = {name.lower(): value for name, value in glue.items()}
    assert parse_options(lowered, decoded=False) == parse_options(ours, decoded=False)
    assert parse_options(glue, decoded=False) == parse_options(ours, decoded=False)


@pytest.mark.parametrize(
    ("given", "meant"), [("latest", "LATEST"), ("trim_horizon", "TRIM_HORIZON"), ("earliest", "TRIM_HORIZON")]
)
def test_glues_words_for_a_start_are_taken(given, meant):
    assert parse_options({**LEAST, "startingPosition": given}, decoded=False).starting_position == meant


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("addRecordTimestamp", "approximate_arrival_timestamp"),
        ("emitConsumerLagMetrics", "lag"),
        ("fanoutConsumerARN", "consumer_name"),
        ("numRetries", "throttle_timeout"),
        ("classification", "text"),
    ],
)
def test_a_name_of_glue_that_means_something_else_is_refused_with_what_to_use(name, remedy):
    text = problems({**LEAST, name: "1"})
    assert name in text
    assert remedy in text


def test_enhanced_fan_out_needs_the_name_of_a_consumer():
    assert "consumer_name" in problems({**LEAST, "kinesis.consumerType": "SubscribeToShard"})
    parsed = parse_options({**LEAST, "kinesis.consumerType": "SubscribeToShard", "consumer_name": "c"}, decoded=False)
    assert (parsed.consumer_type, parsed.consumer_name) == ("efo", "c")


def test_an_option_given_by_two_names_is_refused():
    assert "twice" in problems({**LEAST, "kinesis.streamName": "other"})


def test_the_dataset_belongs_to_the_decoded_format_only():
    assert "dataset" in problems(LEAST, decoded=True)
    assert "kinesis-py-decoded" in problems({**LEAST, "dataset": DATASET.to_option()})


def test_our_configuration_becomes_options_that_parse_to_the_same_values():
    config = KinesisConfig(stream="orders", start="LATEST", max_records_per_shard=5, max_fetch_time="2s", region="r")
    made = kinesis_options(
        config, "s3://lake/checkpoints/kinesis", StorageOptions(endpoint_url="http://s3", path_style=True),
        dataset=DATASET, drain_path="/run/drain", available_now=True, parallelism=8,
    )  # fmt: skip
    parsed = parse_options(made, decoded=True)
    assert (parsed.stream_name, parsed.starting_position, parsed.region) == ("orders", "LATEST", "r")
    assert (parsed.max_records_per_shard, parsed.max_fetch_time, parsed.parallelism) == (5, 2.0, 8)
    assert (parsed.drain_path, parsed.available_now) == ("/run/drain", True)
    assert parsed.storage == StorageOptions(endpoint_url="http://s3", path_style=True)
    assert Dataset.from_option(parsed.dataset) == DATASET


def test_the_formats_declare_their_columns():
    assert KinesisDataSource.name() == "kinesis-py"
    assert "sub_sequence_number BIGINT" in KinesisDataSource(LEAST).schema()
    decoded = DecodedKinesisDataSource({**LEAST, "dataset": DATASET.to_option()})
    assert (decoded.name(), decoded.schema()) == ("kinesis-py-decoded", DATASET.decoded_ddl())
