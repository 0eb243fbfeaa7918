"""Alerts reach SNS and a webhook, once; a channel that fails, hangs or is not there holds up nobody."""

from __future__ import annotations

import json
import logging
import time

import pytest

from streaming_app.alerts import Alert, Alerts, Level, open_channels
from streaming_app.config.models import AlertsConfig
from tests.moto_server import CREDENTIALS, moto_server
from tests.webhook_receiver import webhook_receiver

BREACH = Alert("breach:max_dead_ratio", "csv: a quality limit was broken", "7 of 9 rows <b> & c", source="csv")


@pytest.fixture
def receiver():
    with webhook_receiver() as server:
        yield server


@pytest.fixture(autouse=True)
def _seen_by_caplog(monkeypatch):
    monkeypatch.setattr(logging.getLogger("streaming_app"), "propagate", True)


def alerts(receiver, **options) -> Alerts:
    return Alerts(open_channels(AlertsConfig(webhook_url=receiver.url)), pause=0.01, **options)


def test_topic_gets_subject_text_and_attributes(monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with moto_server() as aws:
        sns, sqs = aws.client("sns"), aws.client("sqs")
        topic = sns.create_topic(Name="alerts")["TopicArn"]
        queue = sqs.create_queue(QueueName="inbox")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        sender = Alerts(open_channels(AlertsConfig(sns_topic_arn=topic, sns_endpoint_url=aws.url)))
        sender.send(Alert("end", "stopped:\nümläut" + "x" * 200, "why", Level.ERROR, "kinesis"))
        sender.close()
        (message,) = sqs.receive_message(QueueUrl=queue)["Messages"]
    body = json.loads(message["Body"])
    assert body["Message"] == "why"
    assert body["Subject"].startswith("stopped: ?ml?ut")
    assert len(body["Subject"]) < 100
    assert {name: value["Value"] for name, value in body["MessageAttributes"].items()} == {
        "level": "error",
        "source": "kinesis",
        "key": "end",
    }


def test_webhook_gets_slack_s_json(receiver):
    sender = alerts(receiver)
    sender.send(BREACH)
    sender.close()
    assert receiver.posts == [{"text": "*csv: a quality limit was broken*\n7 of 9 rows &lt;b&gt; &amp; c"}]


def test_same_alert_is_sent_once_in_the_interval_and_then_with_the_count_of_the_others(receiver):
    now = [0.0]
    sender = alerts(receiver, repeat_after=60, clock=lambda: now[0])
    for _ in range(4):
        sender.send(BREACH)
    sender.send(Alert(BREACH.key, "another source", "", source="kinesis"))
    now[0] = 61
    sender.send(BREACH)
    sender.close()
    assert [post["text"].splitlines()[0] for post in receiver.posts] == [
        f"*{BREACH.title}*",
        "*another source*",
        f"*{BREACH.title}*",
    ]
    assert receiver.posts[2]["text"].endswith("(3 more of the same since the last alert)")


def test_delivery_is_tried_again(receiver):
    receiver.failures = 2
    sender = alerts(receiver)
    sender.send(BREACH)
    assert len(receiver.wait(1)) == 1
    sender.close()
    assert receiver.requests == 3


def test_channel_that_never_answers_holds_up_nobody_and_the_queue_is_bounded(receiver, caplog):
    receiver.delay = 2.0
    sender = alerts(receiver)
    caplog.set_level(logging.WARNING, "streaming_app")
    began = time.monotonic()
    for number in range(150):
        sender.send(Alert(f"k{number}", "t", "x"))
    assert time.monotonic() - began < 1
    assert "too many alerts are waiting" in caplog.text
    began = time.monotonic()
    sender.close(timeout=0.2)
    assert time.monotonic() - began < 1


def test_failure_to_send_is_logged_without_the_secret(caplog):
    url = "http://127.0.0.1:9/services/secret-token"
    sender = Alerts(
        open_channels(AlertsConfig(webhook_url=url)), pause=0.01, redact=lambda text: text.replace("hush", "***")
    )
    sender.send(Alert("k", "title", "the password is hush"))
    sender.close()
    assert "could not be sent by webhook" in caplog.text
    assert "secret-token" not in caplog.text
    assert "the password is ***" in caplog.text


def test_without_channels_alerts_are_in_the_log(caplog):
    sender = Alerts()
    sender.send(BREACH)
    sender.close()
    assert "ALERT csv: a quality limit was broken: 7 of 9 rows" in caplog.text
