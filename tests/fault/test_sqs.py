"""Uploads found by S3's event notifications (moto's S3 and SQS) while the service is killed again and again: each row is there once."""

from __future__ import annotations

import random
import time

import pytest

from tests.fault.rig import STREAM, Rig
from tests.moto_server import CREDENTIALS, moto_server
from tests.strict_kinesis import strict_kinesis

pytestmark = [pytest.mark.fault, pytest.mark.spark, pytest.mark.timeout(3600)]
BUCKET = "event-lake"


def queue_of(aws) -> str:
    """A queue that gets an event for each upload, and a prefix full of objects that nobody should have to list."""
    s3, sqs = aws.client("s3"), aws.client("sqs")
    s3.create_bucket(Bucket=BUCKET)
    url = sqs.create_queue(QueueName="uploads")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    only = {"Key": {"FilterRules": [{"Name": "prefix", "Value": "lake/raw/"}]}}
    rules = [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"], "Filter": only}]
    s3.put_bucket_notification_configuration(Bucket=BUCKET, NotificationConfiguration={"QueueConfigurations": rules})
    return url


def visible(aws, url: str) -> int:
    """Messages that nobody holds; those of a killed service are hidden for minutes."""
    name = "ApproximateNumberOfMessages"
    return int(aws.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"][name])


def settled(rig: Rig, aws, url: str, rows: int) -> None:
    """Until every row that was sent is there and no message waits."""
    rig.wait_for(lambda: time.sleep(1) or visible(aws, url) == 0, timeout=300)
    rig.wait_for(lambda: time.sleep(1) or len(rig.positions()) == rows, timeout=300)


def listings(aws) -> list[str]:
    """Requests since the last question that listed where uploads are."""
    return [request for request in aws.seen() if "list-type=2" in request and "prefix=lake/raw" in request]


def listed_once_and_at_rest(rig: Rig, aws) -> None:
    """Until a service that was just started has listed, as it does at each start, and has no reason to do it again."""
    rig.wait_for(lambda: time.sleep(0.2) or listings(aws), timeout=300)
    rig.wait_for(lambda: time.sleep(3) or not listings(aws), timeout=300)


def test_killed_at_random_times_with_uploads_found_by_messages(tmp_path, monkeypatch, long_form):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    moments = random.Random(11)
    with moto_server() as aws, strict_kinesis() as kinesis:
        kinesis.create(STREAM, shards=1)
        url = queue_of(aws)
        # One listing at each start and none besides; batches of few files, so that messages wait for their file's turn.
        settings = {"discovery": "sqs", "queue_url": url, "reconcile_every": "1d", "max_files_per_batch": "3"}
        rig = Rig(
            tmp_path, kinesis, lake=f"s3://{BUCKET}/lake", s3_endpoint=aws.url,
            settings={"sources.kinesis.enabled": "false", **{f"sources.csv.{key}": value for key, value in settings.items()}},
        )  # fmt: skip
        rig.feed(rate=1, csv_every=3.0)
        for _ in range(20 if long_form else 2):
            before = rig.committed()
            service = rig.start()
            try:
                rig.wait_for(lambda before=before: rig.committed() > before, timeout=300)
                time.sleep(moments.uniform(0, 3))
            finally:
                rig.kill(service)
        rig.rest()
        aws.seen()
        service = rig.start()
        try:
            listed_once_and_at_rest(rig, aws)
            settled(rig, aws, url, len(rig.csv_positions))
            aws.seen()
            rig.drop_file("last.csv", seed=5)
            settled(rig, aws, url, len(rig.csv_positions))
            listed = listings(aws)
        finally:
            rig.kill(service)
        assert not listed  # the last file was found by its message alone
        assert sorted(rig.positions()) == sorted(rig.csv_positions)
        rig.batch("audit")
        assert "uploads are found by listing" not in rig.log.read_text(errors="replace")
