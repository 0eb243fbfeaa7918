"""`discovery: sqs` against moto's S3 and SQS: S3 itself sends the events of what is uploaded, the source finds files by them alone."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from streaming_app.config.models import CsvConfig
from streaming_app.errors import ConfigError
from streaming_app.sources.csv_files import CsvOptions, csv_options, parse_options
from streaming_app.sources.csv_files.epochs import Epochs
from streaming_app.sources.csv_files.reading import Reader
from streaming_app.storage import StorageOptions, open_storage
from tests.moto_server import CREDENTIALS, MotoServer, moto_server

HEADER = "order_id,store_id,city,amount,order_ts\n"
SHORT = 3  # seconds that a message is hidden in these tests


@pytest.fixture(scope="module")
def aws():
    with moto_server() as server:
        yield server


@dataclass
class Place:
    """A bucket that sends its events to a queue, and a source; Spark's part is played by hand."""

    aws: MotoServer
    options: CsvOptions
    bucket: str
    epochs: Epochs | None = None
    at: int = 0
    rows: dict[int, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.s3, self.sqs = self.aws.client("s3"), self.aws.client("sqs")
        self.raw = open_storage(self.options.path, self.options.storage)

    def start(self, **changes: Any) -> None:
        """A new driver, as after a crash or a restart; the old one is only left if it was stopped before."""
        self.options = replace(self.options, **changes)
        self.epochs = Epochs(self.options)
        if self.at:
            assert self.epochs.partitions(self.at, self.at) == []

    def stop(self) -> None:
        if self.epochs:
            self.epochs.stop()
        self.epochs = None

    def upload(self, *keys: str, text: str = "") -> None:
        for key in keys:
            self.raw.put(key, f"{HEADER}{text or key},s,Medan,1,t\n".encode())

    def latest(self) -> int:
        if self.epochs is None:
            self.start()
        return self.epochs.latest()

    def read(self, epoch: int) -> list[str]:
        files = [file for part in self.epochs.partitions(self.at, epoch) for file in part.files]
        batches = Reader.of(self.options).read_all(epoch, files)
        self.rows[epoch] = [row["order_id"] or row["decode_error"] for batch in batches for row in batch.to_pylist()]
        self.at = epoch
        return self.rows[epoch]

    def batch(self, seconds: float = 10) -> list[str]:
        """The next batch, if one comes within so many seconds."""
        deadline = time.monotonic() + seconds
        while (epoch := self.latest()) == self.at:
            if time.monotonic() > deadline:
                return []
            time.sleep(0.05)
        return self.read(epoch)

    def until(self, count: int) -> list[str]:
        """Batches until so many rows are there."""
        found: list[str] = []
        while len(found) < count and (more := self.batch()):
            found += more
        return sorted(found)

    def send(self, content: Any) -> None:
        self.sqs.send_message(
            QueueUrl=self.options.queue_url, MessageBody=content if isinstance(content, str) else json.dumps(content)
        )

    def messages(self) -> int:
        """Visible and hidden ones together."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=self.options.queue_url, AttributeNames=names)["Attributes"]
        return sum(int(value) for value in found.values())

    def wait_for_messages(self, count: int) -> None:
        deadline = time.monotonic() + 15
        while self.messages() != count:
            assert time.monotonic() < deadline, self.messages()
            self.latest()
            time.sleep(0.1)


@pytest.fixture
def place(aws, orders, monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("streaming_app.sources.csv_files.arrivals._WAIT", 1)
    bucket = f"uploads-{uuid.uuid4().hex[:8]}"
    s3, sqs = aws.client("s3"), aws.client("sqs")
    s3.create_bucket(Bucket=bucket)
    url = sqs.create_queue(QueueName=bucket)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    # Everything that happens in the bucket, so that what is not meant for the source arrives, too.
    rules = [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}]
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={"QueueConfigurations": rules})
    storage = StorageOptions(endpoint_url=aws.url, path_style=True)
    config = CsvConfig(discovery="sqs", queue_url=url.replace("http://localhost", "http://127.0.0.1"))
    root = f"s3://{bucket}/lake"
    options = csv_options(config, orders, f"{root}/raw", f"{root}/archive", f"{root}/checkpoint", storage)
    made = Place(aws, parse_options(options), bucket)
    yield made
    aws.heal()
    made.stop()


def test_uploads_are_found_by_their_events_and_nothing_is_listed_after_the_start(place):
    place.upload("before.csv")
    assert place.batch() == ["before.csv"]
    place.aws.seen()
    place.upload("a.csv", "day/b c+ä%.csv", "c.txt", "_hidden/d.csv")
    assert place.until(2) == ["a.csv", "day/b c+ä%.csv"]
    place.wait_for_messages(0)
    assert not [request for request in place.aws.seen() if "list-type=2" in request and "lake/raw" in request]


def test_a_message_is_deleted_once_its_file_stands_in_a_plan_and_not_before(place):
    place.start(max_files_per_batch=1)
    assert place.batch(seconds=0) == []
    place.wait_for_messages(0)  # the test event of the bucket, and those of our own checkpoint
    place.upload("a.csv", "b.csv")
    epoch = 0
    while epoch == place.at:
        epoch = place.latest()
        time.sleep(0.05)
    time.sleep(2.5)  # the thread deletes what is done
    left = place.messages()
    assert left in {1, 2}  # b.csv's, and perhaps that of the plan itself
    assert place.read(epoch) == ["a.csv"]
    assert place.batch() == ["b.csv"]
    place.wait_for_messages(0)


def test_what_is_doubled_foreign_or_about_nothing_does_no_harm_and_is_removed(place):
    place.batch(seconds=0)
    place.upload("a.csv", "b.csv")
    known = {"bucket": {"name": place.bucket}, "object": {"key": "lake/raw/a.csv"}}
    event = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": known}
    elsewhere = {**event, "s3": {**known, "bucket": {"name": "another"}}}
    gone = {**event, "s3": {**known, "object": {"key": "lake/raw/gone.csv"}}}
    beside = {**event, "s3": {**known, "object": {"key": "lake/rawest/a.csv"}}}
    folder = {**event, "s3": {**known, "object": {"key": "lake/raw/"}}}
    for record in (event, event, elsewhere, gone, beside, folder):
        place.send({"Records": [record]})
    place.send({"Records": [gone, event, elsewhere]})
    place.send({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": place.bucket})
    place.send({"Type": "Notification", "TopicArn": "arn:x", "Message": json.dumps({"Records": [event]})})
    detail = {"bucket": {"name": place.bucket}, "object": {"key": "lake/raw/b.csv"}}
    place.send({"detail-type": "Object Created", "source": "aws.s3", "detail": detail})
    assert place.until(2) == ["a.csv", "b.csv"]
    place.raw.delete(["a.csv"])
    place.wait_for_messages(0)
    assert place.batch(seconds=1) == []


def test_a_message_that_is_no_event_stays_for_the_redrive_policy(place, caplog):
    place.batch(seconds=0)
    place.send("this is no event")
    place.send({"Records": [{"eventSource": "aws:ses"}]})
    place.upload("a.csv")
    assert place.batch() == ["a.csv"]
    place.wait_for_messages(2)
    assert sum("is no event of S3" in record.message for record in caplog.records) == 2


def test_an_upload_that_no_message_tells_of_is_found_by_the_listing_that_is_made_all_the_same(place):
    place.start(reconcile_every=4.0)
    assert place.batch(seconds=0) == []
    place.s3.put_bucket_notification_configuration(Bucket=place.bucket, NotificationConfiguration={})
    place.upload("lost.csv")
    assert place.batch(seconds=1) == []
    assert place.batch(seconds=20) == ["lost.csv"]


def test_a_driver_that_died_leaves_its_messages_to_the_next_one_and_no_row_comes_twice(place, monkeypatch):
    monkeypatch.setattr("streaming_app.sources.csv_files.sqs.VISIBILITY", SHORT)
    place.start(max_files_per_batch=1)
    place.batch(seconds=0)
    place.upload("a.csv", "b.csv", "c.csv")
    first = place.latest()
    while first == place.at:
        first = place.latest()
    died = place.epochs  # with one file planned and two held, and nothing deleted
    died._arrivals._delete_done = lambda: None
    died._arrivals._stopping.set()
    place.start()
    assert place.latest() == first  # what was planned comes first, whatever the queue says
    assert place.read(first) == ["a.csv"]
    assert place.until(2) == ["b.csv", "c.csv"]
    place.wait_for_messages(0)
    assert place.batch(seconds=1) == []
    died.stop()


def test_archived_files_are_gone_when_their_messages_come_again(place, monkeypatch):
    monkeypatch.setattr("streaming_app.sources.csv_files.sqs.VISIBILITY", SHORT)
    place.start(after_commit="archive", archive_path=f"s3://{place.bucket}/lake/archive")
    place.batch(seconds=0)
    place.epochs._arrivals._delete_done = lambda: None  # as if each deletion failed
    place.upload("a.csv")
    assert place.batch() == ["a.csv"]
    place.latest()
    place.stop()
    assert place.raw.info("a.csv") is None
    assert place.messages() > 0
    place.start()
    place.wait_for_messages(0)
    assert place.batch(seconds=1) == []


def test_an_upload_that_replaces_another_is_reported(place):
    place.batch(seconds=0)
    place.upload("a.csv")
    assert place.batch() == ["a.csv"]
    place.upload("a.csv", text="other")
    assert place.batch() == ["changed_file"]
    place.wait_for_messages(0)


def test_while_the_queue_does_not_answer_uploads_are_found_by_listing(place, caplog):
    place.batch(seconds=0)
    place.aws.fail("POST", "AmazonSQS.ReceiveMessage", status=503, code="ServiceUnavailable", times=-1)
    deadline = time.monotonic() + 60
    while place.epochs._arrivals.working:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    place.upload("a.csv")
    assert place.batch(seconds=30) == ["a.csv"]
    assert "found by listing until the queue can be read again" in caplog.text
    place.aws.heal()
    deadline = time.monotonic() + 90
    while not place.epochs._arrivals.working:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    place.wait_for_messages(0)
    place.aws.seen()
    place.upload("b.csv")
    assert place.batch() == ["b.csv"]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("com.amazonaws.sqs#QueueDoesNotExist", "there is no such queue"),
        ("com.amazon.coral.service#AccessDeniedException", "the role needs sqs:ReceiveMessage"),
    ],
)
def test_a_queue_that_can_never_be_read_is_an_error_of_the_start_that_says_why(place, code, message):
    place.aws.fail("POST", "AmazonSQS.ReceiveMessage", status=400, code=code, times=-1)
    with pytest.raises(ConfigError, match=message) as failure:
        place.latest()
    assert place.options.queue_url in str(failure.value)


def test_a_queue_that_is_not_there_is_an_error_of_the_start(place):
    place.start(queue_url=f"{place.options.queue_url}-no")
    with pytest.raises(ConfigError, match="there is no such queue"):
        place.latest()


def test_a_bounded_run_lists_and_leaves_the_queue_alone(place):
    place.upload("a.csv")
    sent = place.messages()
    place.start(available_now=True)
    assert place.batch(seconds=0) == ["a.csv"]
    assert place.batch(seconds=0) == []
    assert place.messages() >= sent


def test_the_backlog_counts_what_messages_have_told_of(place):
    place.start(max_files_per_batch=1)
    place.batch(seconds=0)
    place.upload("a.csv", "b.csv", "c.csv")
    time.sleep(3)  # all of it is received
    assert len(place.until(3)) == 3
    waiting = [place.epochs._read_log.plan(epoch)["waiting"] for epoch in (1, 2, 3)]
    assert [found["files"] for found in waiting] == [2, 1, 0]
    assert waiting[0]["bytes"] == 2 * place.raw.info("b.csv").size
    assert waiting[0]["oldest"] > 0
