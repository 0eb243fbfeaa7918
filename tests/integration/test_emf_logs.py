"""Lines of the embedded metric format in CloudWatch Logs, as moto keeps them."""

from __future__ import annotations

import logging
import time

import pytest

from streaming_app.config.models import CloudWatchConfig
from streaming_app.metrics.cloudwatch import CloudWatch
from streaming_app.metrics.emf import LogGroup
from streaming_app.metrics.pushing import Pusher
from tests.metrics_lake import new_recorder, run
from tests.moto_server import CREDENTIALS, REGION, moto_server
from tests.unit.test_emf import checked, sums

READ = ("qsr_rows_read_total", "Count", "source=kinesis")


@pytest.fixture(scope="module")
def aws():
    with moto_server() as server:
        yield server


@pytest.fixture
def recorder():
    return new_recorder()


@pytest.fixture
def begin(aws, recorder, monkeypatch, request):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(logging.getLogger("streaming_app"), "propagate", True)
    begun = []

    def begin(every: float) -> Pusher:
        config = CloudWatchConfig(format="emf", log_group=request.node.name, endpoint_url=aws.url, region=REGION)
        begun.append(Pusher("CloudWatch", every, CloudWatch(recorder._values, LogGroup(config).put).send))
        return begun[-1]

    yield begin
    aws.heal()
    for pusher in begun:
        pusher.close()


def arrived(aws, request) -> list[dict]:
    logs, group = aws.client("logs"), request.node.name
    streams = logs.describe_log_streams(logGroupName=group)["logStreams"]
    assert len(streams) == 1
    found = logs.get_log_events(logGroupName=group, logStreamName=streams[0]["logStreamName"], startFromHead=True)
    return [checked(event["message"]) for event in found["events"]]


def test_known_batches_arrive_once_as_lines_that_keep_the_rules(aws, recorder, begin, request):
    aws.client("logs").create_log_group(logGroupName=request.node.name)
    pusher = begin(0.2)
    run(recorder, 0, 1)
    time.sleep(1)
    run(recorder, 2)
    pusher.close()
    found = sums(arrived(aws, request))
    assert sum(value * count for value, count in found[READ].items()) == 30
    assert sum(found["qsr_batch_duration_seconds", "Seconds", "source=kinesis"].values()) == 3


def test_a_log_group_that_is_not_there_is_told_of_once_and_made_up_for(aws, recorder, begin, request, caplog):
    pusher = begin(0.1)
    run(recorder, 0)
    deadline = time.monotonic() + 20
    while "could not be sent" not in caplog.text:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    aws.client("logs").create_log_group(logGroupName=request.node.name)
    run(recorder, 1)
    pusher.close()
    assert sum(value * count for value, count in sums(arrived(aws, request))[READ].items()) == 20
    assert sum("could not be sent" in each.message for each in caplog.records if each.levelname == "WARNING") == 1


def test_lines_that_were_left_out_are_sent_again(aws, recorder, begin, request):
    aws.client("logs").create_log_group(logGroupName=request.node.name)
    aws.fail("POST", "PutLogEvents", status=400, code="InvalidParameterException", times=2)
    pusher = begin(0.2)
    run(recorder, 0)
    time.sleep(1.5)
    pusher.close()
    assert sum(value * count for value, count in sums(arrived(aws, request))[READ].items()) == 10
