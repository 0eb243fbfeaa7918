"""OpenTelemetry's receiver gets every metric with the figures of /metrics; when it fails, the next message has all of it."""

from __future__ import annotations

import builtins
import logging
import os
import time

import pytest

from streaming_app.config.models import OtlpConfig
from streaming_app.errors import ConfigError
from streaming_app.metrics import catalogue as m
from streaming_app.metrics.catalogue import CATALOGUE, Kind, Since
from streaming_app.metrics.otlp import Otlp
from streaming_app.metrics.pushing import Pusher
from streaming_app.metrics.values import Values
from tests.metrics_lake import NOW, everything, new_recorder, run
from tests.otlp_receiver import otlp_receiver
from tests.prometheus_server import prometheus_server

PROMETHEUS3 = os.environ.get("OTLP_PROMETHEUS", "")
CUMULATIVE = 2  # AGGREGATION_TEMPORALITY_CUMULATIVE


@pytest.fixture
def receiver():
    with otlp_receiver() as receiver:
        yield receiver


@pytest.fixture
def recorder():
    return new_recorder()


def otlp(values: Values, receiver, **more) -> Otlp:
    return Otlp(values, OtlpConfig(endpoint=receiver.url, **more), lambda: NOW)


def metrics(message) -> dict:
    (resource,) = message.resource_metrics
    (scope,) = resource.scope_metrics
    return {metric.name: metric for metric in scope.metrics}


def point(metric, **labels: str):
    points = getattr(metric, metric.WhichOneof("data")).data_points
    found = [each for each in points if {item.key: item.value.string_value for item in each.attributes} == labels]
    assert len(found) == 1, (labels, points)
    return found[0]


def test_known_batches_arrive_as_sums_gauges_and_histograms(receiver, recorder):
    run(recorder, 0, 1, 2)
    otlp(recorder._values, receiver, headers={"Authorization": "Bearer t"}).send()
    found = metrics(receiver.requests[0])
    read = found["qsr_rows_read_total"]
    assert read.sum.is_monotonic
    assert read.sum.aggregation_temporality == CUMULATIVE
    assert point(read, source="kinesis").as_double == 30
    assert point(found["qsr_rejections_total"], source="kinesis", reason="quantity_positive").as_double == 6
    assert point(found["qsr_lag_seconds"], source="kinesis").as_double == 1.5
    duration = point(found["qsr_batch_duration_seconds"], source="kinesis")
    assert (duration.count, duration.sum) == (3, 7.5)
    assert list(duration.explicit_bounds) == list(m.BATCH_DURATION.buckets)
    assert list(duration.bucket_counts) == [0, 0, 0, 0, 3, *[0] * 8]
    assert found["qsr_lag_seconds"].unit == "s"
    assert found["qsr_written_bytes_total"].unit == "By"
    assert receiver.headers["Authorization"] == "Bearer t"


def test_a_sum_since_ever_has_no_start_that_would_make_a_restart_count_again(receiver, recorder):
    run(recorder, 0)
    otlp(recorder._values, receiver).send()
    found = metrics(receiver.requests[0])
    assert point(found["qsr_rows_read_total"], source="kinesis").start_time_unix_nano == 0
    assert point(found["qsr_read_bytes_total"], source="kinesis").start_time_unix_nano == round(NOW * 1e9)


def test_every_metric_of_the_catalogue_arrives_under_its_name_and_kind(receiver):
    values = Values()
    everything(values, 'a"b\\c\nd{}<script> \u202e')
    otlp(values, receiver, service_name="orders").send()
    message = receiver.requests[0]
    found = metrics(message)
    kinds = {Kind.COUNTER: "sum", Kind.GAUGE: "gauge", Kind.HISTOGRAM: "histogram"}
    assert {name: metric.WhichOneof("data") for name, metric in found.items()} == {
        metric.name: kinds[metric.kind] for metric in CATALOGUE
    }
    assert all(found[metric.name].description == metric.help for metric in CATALOGUE)
    named = {item.key: item.value.string_value for item in message.resource_metrics[0].resource.attributes}
    assert named["service.name"] == "orders"
    assert {"service.version", "service.instance.id"} <= named.keys()
    assert {metric.since for metric in CATALOGUE} == set(Since)


class Warnings(logging.Handler):
    """On the sender's own logger: what other tests left at those above it does not matter."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@pytest.fixture
def warnings():
    handler, logger = Warnings(), logging.getLogger("streaming_app.metrics.pushing")
    logger.addHandler(handler)
    yield handler.said
    logger.removeHandler(handler)


def test_a_receiver_that_fails_is_told_of_once_and_gets_all_of_it_later(receiver, recorder, warnings):
    receiver.failures = 3
    pusher = Pusher("the receiver", 0.05, otlp(recorder._values, receiver).send)
    run(recorder, 0, 1)
    receiver.wait(1)
    pusher.close()
    assert point(metrics(receiver.requests[-1])["qsr_rows_read_total"], source="kinesis").as_double == 20
    assert warnings == [
        "metrics could not be sent to the receiver; trying again: HTTP Error 503: Service Unavailable",
    ]


def test_points_that_were_refused_are_a_failure(receiver, recorder):
    receiver.refuse = 5
    with pytest.raises(Exception, match="5 points were refused: too many"):
        otlp(recorder._values, receiver).send()


def test_nobody_waits_for_a_receiver_that_is_not_there(recorder):
    values, config = recorder._values, OtlpConfig(endpoint="http://127.0.0.1:9/v1/metrics")
    pusher = Pusher("the receiver", 0.01, Otlp(values, config).send)
    begun = time.monotonic()
    run(recorder, 0, 1, 2)
    pusher.close(timeout=0.5)
    assert time.monotonic() - begun < 1.5


@pytest.mark.skipif(not PROMETHEUS3, reason="needs a Prometheus with an OTLP receiver: make test-otlp")
def test_a_real_prometheus_has_every_metric_under_the_name_that_a_scrape_gives_it(tmp_path, recorder):
    run(recorder, 0, 1, 2)
    with prometheus_server(
        tmp_path / "p", "127.0.0.1:9", program=PROMETHEUS3, more=("--web.enable-otlp-receiver",)
    ) as server:
        config = OtlpConfig(endpoint=f"{server.url}/api/v1/otlp/v1/metrics")
        pusher = Pusher("Prometheus", 0.5, Otlp(recorder._values, config).send)
        wait_for(lambda: server.query("qsr_rows_read_total"))
        assert server.query("sum(qsr_rows_read_total)") == {("",): 30}
        assert server.query('sum(qsr_rejections_total{source="kinesis",reason="quantity_positive"})') == {("",): 6}
        assert server.query("sum(qsr_lag_seconds)") == {("",): 1.5}
        assert server.query('sum(qsr_batch_duration_seconds_bucket{le="5"})') == {("",): 3}
        everything(recorder._values, 'a"b\\c\nd{}<script> \u202e')
        pusher.close()
        names = {f"{metric.name}{'_count' if metric.kind is Kind.HISTOGRAM else ''}" for metric in CATALOGUE}
        wait_for(lambda: {key[-1] for key in server.query('group by (__name__) ({__name__=~"qsr_.*"})')} >= names)


def wait_for(what, timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_without_the_extra_the_service_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def missing(name: str, *rest, **more):
        if name.startswith("opentelemetry"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigError, match=r"pip install 'qsr-ingest\[otlp\]'"):
        Otlp(Values(), OtlpConfig(endpoint="http://127.0.0.1:9"))
