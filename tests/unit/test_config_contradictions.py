"""Settings that are right by themselves and wrong together."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from streaming_app.config.checking import check
from streaming_app.config.models import Config

S3 = {"root": "s3://our-lake/x"}
CSV = {"enabled": True}
GATEWAY = "http://127.0.0.1:9091"
QUEUE = "https://sqs.eu-west-1.amazonaws.com/123456789012/uploads"


def document(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {"dataset": "d", "suite": "s", "lake": {"root": "/data/lake"}, "sources": {"csv": CSV}}
    return {**base, **changes}


def faults(**changes: Any) -> list[str]:
    return [key for key, _ in check(Config, document(**changes)).faults]


def csv(**settings: Any) -> dict[str, Any]:
    return {"csv": {**CSV, **settings}}


def kinesis(**settings: Any) -> dict[str, Any]:
    return {"sources": {"kinesis": {"enabled": True, "stream": "orders", **settings}}}


def cloudwatch(**settings: Any) -> dict[str, Any]:
    return {"metrics": {"cloudwatch": {"enabled": True, **settings}}}


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"sources": {}}, "sources"),
        ({"sources": {"kinesis": {"enabled": True}}}, "sources.kinesis.stream"),
        (
            {"sources": {"kinesis": {"enabled": True, "stream": "s", "consumer_type": "efo"}}},
            "sources.kinesis.consumer_name",
        ),
        (kinesis(role_external_id="x"), "sources.kinesis.role_external_id"),
        (kinesis(use_fips_endpoint=True, endpoint_url="https://example.org"), "sources.kinesis.use_fips_endpoint"),
        (
            kinesis(stream="arn:aws:kinesis:eu-west-1:123456789012:stream/orders", region="eu-west-2"),
            "sources.kinesis.region",
        ),
        ({"spark": {"master": "local"}}, "spark.master"),
        ({"spark": {"master": "local[*]"}}, "spark.master"),
        ({"spark": {"master": "local[4,1]"}}, "spark.master"),
        ({"sources": csv(path="/data/lake/clean/x")}, "sources.csv.path"),
        ({"sources": csv(path="/data/lake")}, "sources.csv.path"),
        (
            {"sources": csv(path="/data/up", after_commit="archive", archive_path="/data/up/")},
            "sources.csv.archive_path",
        ),
        (
            {"sources": csv(path="/data/up", after_commit="archive", archive_path="/data/up/done")},
            "sources.csv.archive_path",
        ),
        (
            {"sources": csv(path="/data/up", after_commit="archive", archive_path="/data/x/../up")},
            "sources.csv.archive_path",
        ),
        (
            {"sources": csv(path="/data/up/in", after_commit="archive", archive_path="/data/up")},
            "sources.csv.archive_path",
        ),
        ({"lake": S3, "sources": csv(path="s3a://our-lake/x/clean")}, "sources.csv.path"),
        ({"lake": {"root": "/data/lake", "checkpoints": "/data/lake/clean"}}, "lake.root"),
        ({"lake": {"root": "/data/lake", "checkpoints": "s3://our-lake/c"}}, "lake.checkpoints"),
        ({"lake": {**S3, "checkpoints": "/data/c"}}, "lake.checkpoints"),
        ({"sources": csv(archive_path="/data/done")}, "sources.csv.archive_path"),
        ({"lake": S3, "sources": csv(path="/up", after_commit="archive")}, "sources.csv.archive_path"),
        ({"lake": S3, "sources": csv(discovery="sqs")}, "sources.csv.queue_url"),
        ({"sources": csv(discovery="sqs", queue_url=QUEUE)}, "sources.csv.discovery"),
        ({"lake": S3, "sources": csv(queue_url=QUEUE)}, "sources.csv.queue_url"),
        ({"lake": S3, "sources": csv(reconcile_every="2h")}, "sources.csv.reconcile_every"),
        ({"lake": {"root": "/data/lake", "s3": {"sse_kms_key_id": "k"}}}, "lake.s3.sse_kms_key_id"),
        ({"sink": {"row_group_bytes": "64MiB", "buffer_bytes": "32MiB"}}, "sink.buffer_bytes"),
        ({"sources": csv(max_record_bytes="2MiB", max_bytes_per_batch="1MiB")}, "sources.csv.max_bytes_per_batch"),
        ({"service": {"restart_backoff": "2m"}}, "service.restart_backoff_max"),
        (
            {"spark": {"conf": {"spark.sql.parser.escapedStringLiterals": True}}},
            "spark.conf.spark.sql.parser.escapedStringLiterals",
        ),
        ({"spark": {"conf": {"spark.task.maxFailures": 1}}}, "spark.conf.spark.task.maxFailures"),
        ({"spark": {"conf": {"spark.master": "yarn"}}}, "spark.conf.spark.master"),
        (cloudwatch(log_group="/qsr/metrics"), "metrics.cloudwatch.log_group"),
        (cloudwatch(format="emf", endpoint_url="https://example.org"), "metrics.cloudwatch.endpoint_url"),
        ({"metrics": {"pushgateway": {"url": GATEWAY, "user": "u"}}}, "metrics.pushgateway.user"),
        ({"metrics": {"pushgateway": {"url": GATEWAY, "password": "p"}}}, "metrics.pushgateway.password"),
        ({"metrics": {"pushgateway": {"instance": "here"}}}, "metrics.pushgateway.instance"),
        ({"metrics": {"otlp": {"headers": {"Authorization": "Bearer t"}}}}, "metrics.otlp.headers"),
    ],
)
def test_a_contradiction_is_reported_with_the_key_to_change(changes: dict[str, Any], key: str) -> None:
    assert faults(**changes) == [key]
    with pytest.raises(ValidationError):
        Config.model_validate(document(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"spark": {"master": "local[2,4]"}},
        {"spark": {"master": "local-cluster[2,1,1024]"}},
        {"spark": {"master": "yarn", "conf": {"spark.sql.session.timeZone": "UTC"}}},
        {"sources": csv(path="/data/lake/raw", after_commit="archive")},
        {"sources": csv(path="/data/lake-two", after_commit="archive", archive_path="/data/lake-two-done")},
        {"lake": S3, "sources": csv(after_commit="archive")},
        {"lake": S3, "sources": csv(discovery="sqs", queue_url=QUEUE, reconcile_every="10m")},
        {"sources": csv(path="s3://uploads/x", discovery="sqs", queue_url="http://127.0.0.1:5000/123456789012/q")},
        {"lake": {**S3, "checkpoints": "/data/c"}, "spark": {"master": "local[2,4]"}},
        cloudwatch(format="emf"),
        cloudwatch(format="emf", log_group="/qsr/metrics", endpoint_url="https://example.org"),
        {"metrics": {"pushgateway": {"url": GATEWAY, "user": "u", "password": "p"}}},
        {
            "metrics": {
                "otlp": {"endpoint": "http://127.0.0.1:4318/v1/metrics", "headers": {"Authorization": "Bearer t"}}
            }
        },
        {
            "sources": {
                "kinesis": {"enabled": True, "stream": "s"},
                "csv": {"enabled": False, "path": "/data/lake/clean"},
            }
        },
    ],
)
def test_settings_that_agree_are_accepted(changes: dict[str, Any]) -> None:
    assert faults(**changes) == []


def test_a_faulty_value_gives_no_contradiction_of_its_own_making() -> None:
    # Without after_commit, which is unreadable, archive_path would have no use.
    changes = {"sources": csv(after_commit="archiv", archive_path="/data/done")}
    assert faults(**changes) == ["sources.csv.after_commit"]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"lake": {"root": ""}}, "lake.root"),
        ({"lake": {"root": "hdfs://name/lake"}}, "lake.root"),
        ({"lake": {"root": "s3://x"}}, "lake.root"),
        ({"lake": {"root": "file://lake"}}, "lake.root"),
        ({"sources": csv(delimiter='"')}, "sources.csv.delimiter"),
        ({"sources": csv(suffixes=[])}, "sources.csv.suffixes"),
        ({"sources": csv(suffixes=[""])}, "sources.csv.suffixes"),
        ({"sources": csv(settle="-1s")}, "sources.csv.settle"),
        ({"lake": S3, "sources": csv(discovery="sns")}, "sources.csv.discovery"),
        ({"lake": S3, "sources": csv(discovery="sqs", queue_url="orders")}, "sources.csv.queue_url"),
        ({"lake": S3, "sources": csv(discovery="sqs", queue_url=f"{QUEUE}.fifo")}, "sources.csv.queue_url"),
        (
            {"lake": S3, "sources": csv(discovery="sqs", queue_url=QUEUE, reconcile_every="0s")},
            "sources.csv.reconcile_every",
        ),
        ({"service": {"trigger": True}}, "service.trigger"),
        ({"service": {"trigger": "5 parsecs"}}, "service.trigger"),
        ({"sink": {"target_file_bytes": "0"}}, "sink.target_file_bytes"),
        (cloudwatch(format="emf", log_group="no group"), "metrics.cloudwatch.log_group"),
        (cloudwatch(format="json"), "metrics.cloudwatch.format"),
        ({"metrics": {"otlp": {"endpoint": "127.0.0.1:4317"}}}, "metrics.otlp.endpoint"),
        ({"metrics": {"pushgateway": {"url": GATEWAY, "every": "0s"}}}, "metrics.pushgateway.every"),
        ({"sources": {"kinesis": {"stream": "arn:aws:kinesis:x"}}}, "sources.kinesis.stream"),
        ({"sources": {"kinesis": {"stream": "s", "start": "YESTERDAY"}}}, "sources.kinesis.start"),
        ({"sources": {"kinesis": {"stream": "s", "endpoint_url": "localhost:4566"}}}, "sources.kinesis.endpoint_url"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused(changes: dict[str, Any], key: str) -> None:
    assert faults(**changes) == [key]
