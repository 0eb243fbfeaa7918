"""Rules that change and limits that break while the real service runs, with a kill in the worst moment."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest

from streaming_app.journal.ledger import Entry, Ledger
from streaming_app.journal.suites import SuiteBindings
from streaming_app.storage import open_storage
from tests.fault.rig import STREAM, Rig
from tests.moto_server import MotoServer, moto_server
from tests.strict_kinesis import strict_kinesis
from tests.webhook_receiver import webhook_receiver

pytestmark = [pytest.mark.drill, pytest.mark.fault, pytest.mark.spark, pytest.mark.timeout(600)]
SUITE = """
name: orders
expectations:
  - type: expect_column_values_to_be_between
    kwargs: {{column: quantity, min_value: 1, max_value: {most}}}
    severity: critical
    meta: {{id: quantity.between}}
"""


@pytest.fixture
def rig(tmp_path):
    """CSV only, its rules in a file of its own, alerts to `rig.webhook`."""
    with strict_kinesis() as kinesis, webhook_receiver() as webhook:
        kinesis.create(STREAM, shards=1)
        suite = tmp_path / "suite.yaml"
        suite.write_text(SUITE.format(most=100))
        settings = {
            "suite": str(suite),
            "sources.kinesis.enabled": "false",
            "quality.reload_every": "200ms",
            "alerts.webhook_url": webhook.url,
        }
        made = Rig(tmp_path, kinesis, settings=settings)
        made.webhook, made.suite = webhook, suite
        yield made


class Inbox(NamedTuple):
    """A queue that is subscribed to a topic."""

    topic: str
    sqs: Any
    queue: str

    def messages(self) -> list[dict[str, Any]]:
        """What has come: the service delivers before it ends."""
        found = self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get("Messages", ())
        return [json.loads(message["Body"]) for message in found]


def subscribed(aws: MotoServer) -> Inbox:
    sns, sqs = aws.client("sns"), aws.client("sqs")
    topic = sns.create_topic(Name="alerts")["TopicArn"]
    queue = sqs.create_queue(QueueName="inbox")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    return Inbox(topic, sqs, queue)


def entries(rig: Rig) -> list[Entry]:
    return list(Ledger(open_storage(str(rig.folder / "checkpoints/csv"))).entries())


def batch_with(rig: Rig, position: str) -> Entry:
    """The ledger entry of the batch in which a row is."""
    for entry in entries(rig):
        for file in entry.files:
            if position in pq.ParquetFile(Path(rig.lake, file.staged.key)).read()["source_position"].to_pylist():
                return entry
    raise AssertionError(f"{position} is nowhere")


def started_under(rig: Rig) -> list[str]:
    return [line["suite"] for line in rig.lines() if line.get("message") == "started"]


def test_changed_rules_take_effect_and_a_batch_keeps_those_it_began_with_over_a_kill(rig):
    rig.drop_file("one.csv", seed=1)
    service = rig.start(fault="hang-before-entry")
    try:
        rig.wait_for(rig.marker.exists)  # the first batch is bound, run and not committed
        (first,) = started_under(rig)
        rig.suite.write_text(SUITE.format(most=1))
    finally:
        rig.kill(service)
    service = rig.start()
    try:
        rig.wait_for(lambda: len(started_under(rig)) == 2)
        second = started_under(rig)[1]
        rig.drop_file("two.csv", seed=2)
        rig.wait_for(lambda: rig.committed() == 400)
        rig.suite.write_text("{")
        assert "stays in force" in rig.webhook.wait(1)[0]["text"]
        rig.suite.write_text(SUITE.format(most=50))
        rig.wait_for(lambda: len(started_under(rig)) == 3)
        rig.drop_file("three.csv", seed=3)
        rig.wait_for(lambda: rig.committed() == 600)
    finally:
        rig.kill(service)
    third = started_under(rig)[2]
    assert len({first, second, third}) == 3
    assert "finishes a batch first" in rig.log.read_text()
    found = [batch_with(rig, f"{name}.csv#1") for name in ("one", "two", "three")]
    assert [entry.suite_fingerprint for entry in found] == [first, second, third]
    assert found[0].counts.by_reason.get("quantity.between", 0) < found[1].counts.by_reason["quantity.between"]
    bindings = SuiteBindings(open_storage(str(rig.folder / "checkpoints/csv")))
    assert [bindings.bound(entry.batch_id) for entry in found] == [first, second, third]
    for entry in found:
        for file in entry.files:
            if file.table == "dead_letter":
                rows = pq.ParquetFile(Path(rig.lake, file.staged.key)).read()
                assert set(rows["suite_fingerprint"].to_pylist()) == {entry.suite_fingerprint}
    rig.run_to_the_end()
    rig.check()


def test_breach_stops_alerts_and_resumes_with_the_same_batch_once_mended(rig):
    rig.settings |= {"quality.on_breach": "stop", "quality.max_dead_ratio": "0.9"}
    rig.suite.write_text(SUITE.format(most=-5).replace("min_value: 1", "min_value: -9"))
    rig.drop_file("one.csv", seed=1)
    with moto_server() as aws:
        inbox = subscribed(aws)
        rig.settings |= {"alerts.sns_topic_arn": inbox.topic, "alerts.sns_endpoint_url": aws.url}
        service = rig.start("--available-now")
        assert service.wait(240) == 3, rig.tail()
        (message,) = inbox.messages()
    assert "circuit breaker" in message["Subject"]
    assert "more than max_dead_ratio 90%" in message["Message"]
    assert message["MessageAttributes"]["key"]["Value"] == "end:QualityStop"
    del rig.settings["alerts.sns_topic_arn"], rig.settings["alerts.sns_endpoint_url"]
    assert rig.positions() == []
    assert [path for path in Path(rig.lake).rglob("*.parquet*") if path.is_file()] == []
    (post,) = rig.webhook.wait(1)
    assert "circuit breaker stopped the service" in post["text"]
    assert "more than max_dead_ratio 90%" in post["text"]
    assert entries(rig) == []
    rig.suite.write_text(SUITE.format(most=100))
    rig.run_to_the_end()
    (entry,) = [entry for entry in entries(rig) if entry.counts.read]
    assert entry.counts.read == 200
    assert entry.counts.clean > 0
    rig.check()


def table(rig: Rig, name: str) -> list[dict[str, Any]]:
    """All rows of a table of the lake."""
    files = sorted(Path(rig.lake, name).rglob("*.parquet"))
    return [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]


def lake_files(rig: Rig) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in Path(rig.lake).rglob("*") if file.is_file()}


def test_replay_after_a_rule_was_mended_publishes_exactly_the_mended_rows_and_once(rig):
    rig.suite.write_text(SUITE.format(most=1))  # a mistake: most orders have more than one item
    rig.drop_file("one.csv", seed=1)
    rig.run_to_the_end()
    before, dead = table(rig, "clean"), table(rig, "dead_letter")
    header = next(csv.reader(Path(rig.lake, "raw/one.csv").read_text(errors="replace").splitlines()))
    at = header.index("quantity")
    judged = [row for row in dead if row["reasons"] == ["quantity.between"]]
    mended = {row["source_position"] for row in judged if 1 <= int(next(csv.reader([row["raw"]]))[at]) <= 100}
    assert len(mended) > 20
    assert len(judged) > len(mended)

    rig.suite.write_text(SUITE.format(most=100))
    replay = ("dead-letters", "replay", "--reason", "quantity.between", "--format", "json")
    files = lake_files(rig)
    rehearsal = json.loads(rig.batch(*replay, "--dry-run", option="--override"))
    assert lake_files(rig) == files
    outcome = json.loads(rig.batch(*replay, option="--override"))
    assert rehearsal["passed"] == outcome["passed"] == len(mended)
    after = table(rig, "clean")
    known = {row["source_position"] for row in before}
    assert sorted(row["source_position"] for row in after if row["source_position"] not in known) == sorted(mended)
    assert len(after) == len(before) + len(mended)
    assert table(rig, "dead_letter") == dead

    files = lake_files(rig)
    assert json.loads(rig.batch(*replay, option="--override"))["passed"] == 0
    assert lake_files(rig) == files
    rig.batch("audit")
    rig.run_to_the_end()  # the service goes on as if nothing had been
    assert lake_files(rig) == files
    rig.batch("audit")
