"""Other readers behind the same configuration: what they are told, and which settings are refused for them."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from streaming_app.cli import main
from streaming_app.config.checking import check
from streaming_app.config.connectors import UNKNOWN_TO
from streaming_app.config.models import Config, KinesisConfig
from streaming_app.errors import ConfigError
from streaming_app.sources.kinesis import Endpoint, Place, connector_of, resolved
from streaming_app.sources.kinesis.foreign import records_of
from streaming_app.streams import RunOptions, build_stream
from tests.sparkless_service import SparklessService

PLACE = Place("eu-west-1", "https://kinesis.eu-west-1.amazonaws.com")
ARN = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders"
ROLE = "arn:aws:iam::123456789012:role/reads-orders"


def options(connector: str, **settings) -> dict[str, str]:
    return connector_of(KinesisConfig(connector=connector, **{"stream": "orders", **settings}), PLACE).options


def test_glue_gets_its_own_names():
    assert connector_of(KinesisConfig(connector="glue", stream="orders"), PLACE).format == "kinesis"
    assert options("glue") == {
        "streamName": "orders",
        "endpointUrl": "https://kinesis.eu-west-1.amazonaws.com",
        "startingPosition": "trim_horizon",
        "failOnDataLoss": "true",
        "maxFetchRecordsPerShard": "100000",
        "maxFetchTimeInMs": "10000",
        "maxRecordPerRead": "10000",
        "addIdleTimeBetweenReads": "true",
        "idleTimeBetweenReadsInMs": "200",
        "avoidEmptyBatches": "true",
    }


def test_glue_reads_another_accounts_stream_by_its_arn_and_a_role():
    given = options("glue", stream=ARN, role_arn=ROLE)
    assert "streamName" not in given
    assert (given["streamARN"], given["awsSTSRoleARN"], given["awsSTSSessionName"]) == (ARN, ROLE, "qsr-ingest")


def test_glue_gets_no_classification_for_it_would_throw_the_exact_text_away():
    assert not {"classification", "inferSchema", "schema"} & options("glue").keys()


def test_emrs_connector_gets_its_own_names():
    assert connector_of(KinesisConfig(connector="aws-kinesis", stream="orders"), PLACE).format == "aws-kinesis"
    assert options("aws-kinesis", stream=ARN) == {
        "kinesis.streamName": "orders",
        "kinesis.region": "eu-west-1",
        "kinesis.kinesisRegion": "eu-west-1",
        "kinesis.endpointUrl": "https://kinesis.eu-west-1.amazonaws.com",
        "kinesis.startingPosition": "TRIM_HORIZON",
        "kinesis.consumerType": "GetRecords",
        "kinesis.failOnDataLoss": "true",
        "kinesis.maxFetchRecordsPerShard": "100000",
        "kinesis.maxFetchTimePerShardSec": "10",
        "kinesis.getRecords.numberOfRecordsPerFetch": "10000",
        "kinesis.getRecords.fetchIntervalMs": "200",
    }


def test_emrs_connector_assumes_roles_and_uses_enhanced_fan_out():
    given = options(
        "aws-kinesis",
        consumer_type="efo",
        consumer_name="us",
        role_arn=ROLE,
        role_session_name="nightly",
        sts_endpoint_url="https://sts",
        max_fetch_time="12.5s",
    )
    assert (given["kinesis.consumerType"], given["kinesis.consumerName"]) == ("SubscribeToShard", "us")
    assert (given["kinesis.stsRoleArn"], given["kinesis.stsSessionName"]) == (ROLE, "nightly")
    assert given["kinesis.stsEndpointUrl"] == "https://sts"
    assert given["kinesis.maxFetchTimePerShardSec"] == "13"


@pytest.mark.parametrize(
    ("start", "glue", "emr"),
    [
        ("LATEST", "latest", "LATEST"),
        ("EARLIEST", "trim_horizon", "TRIM_HORIZON"),
        (
            "AT_TIMESTAMP 2026-03-01T07:00:00.900+07:00",
            "2026-03-01T00:00:00Z",
            "AT_TIMESTAMP 2026-03-01T00:00:00Z",
        ),
    ],
)
def test_the_start_is_written_as_each_wants_it_and_never_later(start, glue, emr):
    assert options("glue", start=start)["startingPosition"] == glue
    assert options("aws-kinesis", start=start)["kinesis.startingPosition"] == emr


def test_the_address_is_the_one_that_boto3_finds():
    endpoint = Endpoint(ARN, use_fips=True)
    assert resolved(endpoint)[0] == "eu-west-1"
    assert "fips" in resolved(Endpoint("orders", "us-east-1", use_fips=True))[1]
    assert resolved(Endpoint("orders", "us-east-1", "https://vpce-1.example"))[1] == "https://vpce-1.example"


def faults(**kinesis) -> list[str]:
    document = {
        "dataset": "d",
        "suite": "s",
        "lake": {"root": "/data/lake"},
        "sources": {"kinesis": {"enabled": True, "stream": "orders", **kinesis}},
    }
    return [key for key, _ in check(Config, document).faults]


OTHERS = {
    "start_positions": "p.json",
    "max_records_per_batch": 5,
    "max_bytes_per_batch": 5,
    "max_bytes_per_shard": 5,
    "bytes_per_second": 5,
    "max_tasks": 5,
    "throttle_timeout": 5,
    "deregister_consumer": True,
    "sts_endpoint_url": "https://sts",
    "role_external_id": "x",
    "consumer_type": "efo",
    "consumer_name": "us",
}


@pytest.mark.parametrize("connector", ["glue", "aws-kinesis"])
def test_a_setting_that_the_connector_cannot_honour_is_refused(connector):
    base = {"connector": connector, "role_arn": ROLE}
    assert faults(**base) == []
    for name in UNKNOWN_TO[connector]:
        more = {"consumer_name": "us"} if name == "consumer_type" else {}
        assert f"sources.kinesis.{name}" in faults(**base, **more, **{name: OTHERS[name]}), name
    assert faults(**base, start={"shards": {"shardId-0": "TRIM_HORIZON"}}) == ["sources.kinesis.start"]


def test_every_setting_is_passed_on_or_refused():
    """A new one must be thought about."""
    passed = {
        "enabled", "connector", "stream", "region", "endpoint_url", "role_arn", "role_session_name", "use_fips_endpoint",
        "use_dualstack", "start", "max_records_per_shard", "max_fetch_time", "records_per_fetch", "fetch_interval",
        "fail_on_data_loss", "deaggregate",
    }  # fmt: skip
    by_emr = {"consumer_type", "consumer_name", "sts_endpoint_url"}
    assert set(KinesisConfig.model_fields) == passed | set(UNKNOWN_TO["glue"])
    assert set(KinesisConfig.model_fields) == passed | by_emr | set(UNKNOWN_TO["aws-kinesis"])


def test_emrs_connector_reads_a_shard_for_ten_seconds_at_least():
    assert faults(connector="aws-kinesis", max_fetch_time="5s") == ["sources.kinesis.max_fetch_time"]
    assert faults(connector="glue", max_fetch_time="5s") == []


def test_a_disabled_source_is_left_alone():
    assert faults(connector="glue", max_tasks=3, enabled=False) == ["sources"]


def records(**columns) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(columns)


def test_records_of_a_connector_become_ours():
    arrived = datetime(2026, 3, 1, 10, 0, 0, 123000, UTC)
    (first, second) = records_of(
        records(
            data=pa.array([b"{}", None], pa.binary()),
            partitionKey=pa.array(["k", None], pa.string()),
            sequenceNumber=pa.array(["49", None], pa.string()),
            approximateArrivalTimestamp=pa.array([arrived, None], pa.timestamp("us", "UTC")),
        )
    )
    assert (first.data, first.key, first.sequence, first.arrival) == (b"{}", "k", "49", arrived.timestamp())
    assert (second.data, second.sequence, second.arrival) == (b"", "", None)


@pytest.fixture
def service(tmp_path):
    made = SparklessService(tmp_path, "http://127.0.0.1:1")
    made.write_config(connector="aws-kinesis")
    return made


def test_what_is_lost_is_logged_at_the_start(service, caplog):
    from streaming_app.arguments import load_all

    stream = build_stream(*load_all(str(service.config), ()), "kinesis", RunOptions(""))
    assert (stream.source_format, stream.foreign, stream.sink.recorded) == ("aws-kinesis", True, False)
    assert "exactly once" in caplog.text
    assert "aws-kinesis" in caplog.text


@pytest.mark.parametrize("run", [RunOptions("", available_now=True), RunOptions("", until="2026-03-01T00:00:00Z")])
def test_a_bounded_run_is_refused(service, run):
    from streaming_app.arguments import load_all

    with pytest.raises(ConfigError, match="connector: python"):
        build_stream(*load_all(str(service.config), ()), "kinesis", run)


def test_there_are_no_positions_to_print(service, capsys):
    assert main(["positions", "--config", str(service.config)]) == 2
    assert "aws-kinesis" in capsys.readouterr().err


def foreign_batch(service: SparklessService, batch: int, rows: int) -> None:
    from streaming_app.sink.commit import Committer
    from tests.spark_files import begin, commit_batch, log_batch

    checkpoint = service.checkpoint("kinesis")
    begin(checkpoint)
    log_batch(checkpoint, batch, {"metadata": {"streamName": "orders"}, "shardId-0": {"iteratorType": "AFTER"}})
    staged = service.stage("kinesis", [f"shardId-unknown:{batch}{number}" for number in range(rows)])
    Committer(service.sink("kinesis")).commit(staged, batch)
    commit_batch(checkpoint, batch)


def test_batches_without_a_read_log_are_committed_and_a_batch_that_comes_again_is_not_written_twice(service, caplog):
    foreign_batch(service, 0, 10)
    foreign_batch(service, 1, 5)
    before = service.visible()
    foreign_batch(service, 1, 7)
    assert service.visible() == before
    assert len(before) == 15
    assert "was written with 5 rows and came again with 7" in caplog.text


def test_the_doctor_and_the_audit_know_that_nothing_was_recorded(service, capsys):
    from batch_app.audit import audit
    from streaming_app.arguments import load_all

    foreign_batch(service, 0, 10)
    foreign_batch(service, 1, 5)
    service.long_ago()
    assert main(["doctor", "--config", str(service.config)]) == 0
    assert "the connector's own notes" in capsys.readouterr().out
    report = audit(*load_all(str(service.config), ()))
    assert report.differences == ()
    assert any("another connector" in notice.message for notice in report.notices)
    next((service.folder / "lake" / "clean").rglob("*.parquet")).unlink()
    (finding,) = audit(*load_all(str(service.config), ())).differences
    assert finding.kind.value == "missing_file"
