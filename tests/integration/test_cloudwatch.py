"""CloudWatch gets the known figures, once; when it does not answer nobody waits, and the next call makes up for it."""

from __future__ import annotations

import logging
import socket
import time
from datetime import UTC, datetime, timedelta

import pytest

from streaming_app.config.models import CloudWatchConfig
from streaming_app.events import EventKind, SourceEvent
from streaming_app.metrics import catalogue as m
from streaming_app.metrics.cloudwatch import Calls, CloudWatch, Differences
from streaming_app.metrics.pushing import Pusher
from tests.metrics_lake import NOW, new_recorder, run
from tests.moto_server import CREDENTIALS, REGION, moto_server

KINESIS = {"source": "kinesis"}


@pytest.fixture(scope="module")
def aws():
    with moto_server() as server:
        yield server


@pytest.fixture
def recorder():
    return new_recorder(0)  # an earlier run's


@pytest.fixture
def begin(aws, recorder, monkeypatch, request):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(logging.getLogger("streaming_app"), "propagate", True)
    begun = []

    def begin(every: float = 60.0) -> Pusher:
        config = CloudWatchConfig(namespace=request.node.name, endpoint_url=aws.url, region=REGION)
        begun.append(Pusher("CloudWatch", every, CloudWatch(recorder._values, Calls(config).put).send))
        return begun[-1]

    yield begin
    aws.heal()
    for cloudwatch in begun:
        cloudwatch.close()


def statistics(aws, request, name: str, **dimensions: str) -> dict[str, float]:
    now = datetime.now(UTC)
    found = aws.client("cloudwatch").get_metric_statistics(
        Namespace=request.node.name,
        MetricName=name,
        Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(hours=1),
        Period=7200,
        Statistics=["Sum", "Maximum", "SampleCount"],
    )["Datapoints"]
    return found[0] if found else {}


def names(aws, request) -> set[str]:
    pages = aws.client("cloudwatch").get_paginator("list_metrics").paginate(Namespace=request.node.name)
    return {metric["MetricName"] for page in pages for metric in page["Metrics"]}


def test_known_batches_arrive_once_and_an_earlier_run_does_not_count_again(aws, recorder, begin, request):
    cloudwatch = begin(every=0.2)
    run(recorder, 1, 2)
    time.sleep(1)
    run(recorder, 3)
    cloudwatch.close()
    assert statistics(aws, request, "qsr_rows_read_total", **KINESIS)["Sum"] == 30
    assert statistics(aws, request, "qsr_rows_dead_total", **KINESIS, stage="rule")["Sum"] == 6
    assert statistics(aws, request, "qsr_kinesis_throttles_total", **KINESIS)["Sum"] == 6
    assert statistics(aws, request, "qsr_lag_seconds", **KINESIS)["Maximum"] == 1.5


def test_series_that_would_cost_for_each_shard_or_rule_stay_out(aws, recorder, begin, request):
    run(recorder, 1)
    recorder.on_event(SourceEvent(EventKind.STARTED, "kinesis", suite="f"))
    begin().close()
    found = names(aws, request)
    assert {"qsr_rows_read_total", "qsr_event_to_queryable_seconds", "qsr_last_success_age_seconds"} <= found
    assert not found & {"qsr_shard_lag_seconds", "qsr_rejections_total", "qsr_warnings_total", "qsr_suite_info"}


def test_calls_that_fail_are_made_up_for_and_told_of_once(aws, recorder, begin, request, caplog):
    aws.fail("POST", "", status=503, code="ServiceUnavailable", times=-1)
    cloudwatch = begin(every=0.1)
    run(recorder, 1)
    deadline = time.monotonic() + 20
    while "could not be sent" not in caplog.text:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    run(recorder, 2)
    aws.heal()
    cloudwatch.close()
    assert statistics(aws, request, "qsr_rows_read_total", **KINESIS)["Sum"] == 20
    assert sum("could not be sent" in each.message for each in caplog.records if each.levelname == "WARNING") == 1


def test_nobody_waits_for_an_address_that_never_answers(recorder, monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = CloudWatchConfig(endpoint_url=f"http://127.0.0.1:{silent.getsockname()[1]}", region=REGION)
        cloudwatch = Pusher("CloudWatch", 0.01, CloudWatch(recorder._values, Calls(config).put).send)
        silent.accept()  # it has called, and waits for an answer
        begun = time.monotonic()
        run(recorder, 1, 2, 3)
        cloudwatch.close(timeout=0.5)
        assert time.monotonic() - begun < 1.5


def by_name(data: list[dict]) -> dict[str, dict]:
    return {datum["MetricName"]: datum for datum in data}


def test_differences_are_of_what_has_arrived(recorder):
    differences = Differences(recorder._values)
    run(recorder, 1)
    differences.take(NOW)  # lost
    run(recorder, 2)
    data, reached = differences.take(NOW + 60)
    assert by_name(data)["qsr_rows_read_total"]["Value"] == 20
    differences.sent(reached)
    assert by_name(differences.take(NOW + 120)[0])["qsr_rows_read_total"]["Value"] == 0


def test_histograms_go_as_counts_of_buckets_and_moments_as_ages(recorder):
    differences = Differences(recorder._values)
    run(recorder, 1, 2)
    found = by_name(differences.take(NOW + 60)[0])
    assert (found["qsr_batch_duration_seconds"]["Values"], found["qsr_batch_duration_seconds"]["Counts"]) == ([5], [2])
    assert found["qsr_last_success_age_seconds"]["Value"] == 60
    assert found["qsr_written_bytes_total"]["Unit"] == "Bytes"
    longest = m.BATCH_DURATION.buckets[-1]
    recorder._values.observe(m.BATCH_DURATION, 1e6, "kinesis")
    assert longest in by_name(differences.take(NOW)[0])["qsr_batch_duration_seconds"]["Values"]
