"""Metrics never harm the service: a taken port, a broken ledger, a broken sample."""

from __future__ import annotations

import json
import socket
import time
import urllib.request
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest

from streaming_app.config.models import Config
from streaming_app.errors import SourceError
from streaming_app.events import EventKind, SourceEvent
from streaming_app.journal.audited import Audited, LastAudit
from streaming_app.journal.ledger import Ledger
from streaming_app.metrics import catalogue as m
from streaming_app.metrics import samples
from streaming_app.metrics.cloudwatch import Calls
from streaming_app.metrics.monitoring import Monitoring
from streaming_app.metrics.values import Values
from streaming_app.sink import SinkOptions
from streaming_app.storage import open_storage
from tests.metrics_lake import batch, entry, publish
from tests.otlp_receiver import otlp_receiver


@dataclass(frozen=True)
class Usage:
    used: int
    most: int = 0

    def getUsed(self) -> int:  # noqa: N802
        return self.used

    def getMax(self) -> int:  # noqa: N802
        return self.most


BEAN = SimpleNamespace(getHeapMemoryUsage=lambda: Usage(5, 9), getNonHeapMemoryUsage=lambda: Usage(3))
FACTORY = SimpleNamespace(getMemoryMXBean=lambda: BEAN)
JVM = SimpleNamespace(java=SimpleNamespace(lang=SimpleNamespace(management=SimpleNamespace(ManagementFactory=FACTORY))))
SPARK = SimpleNamespace(version="4.1.1", _jvm=JVM)


@pytest.fixture
def sink(tmp_path, orders):
    return SinkOptions(f"{tmp_path}/lake", f"{tmp_path}/cp", "kinesis:o", "kinesis", "stream", orders.to_option(), "f")


@pytest.fixture
def begin(tmp_path):
    begun = []

    def begin(alert=lambda _: None, **metrics) -> Monitoring:
        document = {"dataset": "d", "suite": "s", "lake": {"root": f"{tmp_path}/lake"}, "metrics": metrics}
        begun.append(Monitoring(Config(**document, sources={"csv": {"enabled": True}}), alert))
        return begun[-1]

    yield begin
    for monitoring in begun:
        monitoring.close()


def until(condition) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_listens_on_this_machine_only_unless_told_otherwise(begin):
    assert begin().endpoint.host == "127.0.0.1"


def test_a_port_that_is_taken_is_an_alert_and_the_service_goes_on(begin, sink):
    alerts = []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monitoring = begin(alerts.append, port=taken.getsockname()[1])
    assert monitoring.endpoint is None
    assert "metrics.port" in alerts[0].text
    monitoring.watch({"kinesis": sink}, SPARK)
    monitoring.on_batch(batch(0))


def test_switched_off_it_serves_nothing_and_takes_everything(begin, sink):
    monitoring = begin(enabled=False)
    monitoring.watch({"kinesis": sink}, SPARK)
    monitoring.on_event(SourceEvent(EventKind.STARTED, "kinesis"))
    monitoring.on_batch(batch(0))
    monitoring.heard("kinesis")
    assert monitoring.endpoint is None


def test_cloudwatch_is_served_without_the_endpoint(begin, sink, monkeypatch):
    asked = []
    monkeypatch.setattr(Calls, "put", lambda _, data: asked.extend(data))
    monitoring = begin(enabled=False, cloudwatch={"enabled": True})
    monitoring.watch({"kinesis": sink}, SPARK)
    monitoring.on_batch(batch(0))
    monitoring.close()
    assert {"qsr_rows_read_total", "qsr_ready"} <= {datum["MetricName"] for datum in asked}


def test_lines_for_cloudwatch_are_printed_without_the_endpoint(begin, sink, capsys):
    monitoring = begin(enabled=False, cloudwatch={"enabled": True, "format": "emf"})
    monitoring.watch({"kinesis": sink}, SPARK)
    monitoring.on_batch(batch(0))
    monitoring.close()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["qsr_rows_read_total"] for line in lines if "qsr_rows_read_total" in line} == {10}


def test_an_opentelemetry_receiver_is_served_without_the_endpoint(begin, sink):
    with otlp_receiver() as receiver:
        monitoring = begin(enabled=False, otlp={"endpoint": receiver.url})
        monitoring.watch({"kinesis": sink}, SPARK)
        monitoring.on_batch(batch(0))
        monitoring.close()
        (message,) = receiver.requests
    names = {metric.name for metric in message.resource_metrics[0].scope_metrics[0].metrics}
    assert {"qsr_rows_read_total", "qsr_ready", "qsr_build_info"} <= names


def test_a_pushgateway_that_is_not_there_harms_nothing(begin, sink, caplog):
    monitoring = begin(enabled=False, pushgateway={"url": "http://127.0.0.1:9"})
    monitoring.watch({"kinesis": sink}, SPARK)
    monitoring.on_batch(batch(0))
    monitoring.close()
    assert "could not be sent to the Pushgateway" in caplog.text


def test_a_broken_ledger_is_logged_and_raises_nothing(begin, sink, caplog):
    open_storage(sink.checkpoint).put("ledger/published.json", b"{")
    monitoring = begin()
    monitoring.watch({"kinesis": sink}, SPARK)
    monitoring.on_batch(batch(0))
    assert "could not take something" in caplog.text
    with urllib.request.urlopen(f"{monitoring.endpoint.url}/healthz", timeout=5) as answer:  # noqa: S310 - http
        assert answer.status == 200


def test_everything_is_there_soon_after_the_start(begin, sink):
    storage = open_storage(sink.checkpoint)
    publish(storage, 0, 1)
    monitoring = begin()
    monitoring.watch({"kinesis": sink}, SPARK)
    values = monitoring.values
    assert values.get(m.ROWS_READ, "kinesis") == 20
    until(lambda: values.get(m.STAGED_FILES, "kinesis") == 0)
    assert values.get(m.JVM_MEMORY, "heap") == 5
    assert values.get(m.JVM_MEMORY, "nonheap") == 3
    assert values.get(m.JVM_LIMIT, "heap") == 9
    assert values.get(m.PYTHON_MEMORY) > 10_000_000
    assert 0 < values.get(m.DISK_FREE, "lake") <= values.get(m.DISK_SIZE, "lake")
    assert values.get(m.TRIGGER) == 1


def test_half_way_files_and_entries_are_seen(sink):
    values = Values()
    lake = sink.open_lake()
    staging = lake.stage("clean/input_source=stream/order_date=2026-03-01/a-kinesis-1.parquet", "kinesis")
    staging.write(b"x")
    staging.finish()
    storage = open_storage(sink.checkpoint)
    publish(storage, 0)
    Ledger(storage).append_if_absent(entry(1))
    samples.sample_lake(values, "kinesis", sink)
    assert values.get(m.STAGED_FILES, "kinesis") == 1
    assert values.get(m.UNPUBLISHED, "kinesis") == 1
    samples.sample_lake(values, "csv", replace(sink, owner="csv"))
    assert values.get(m.STAGED_FILES, "csv") == 0


def test_the_last_audit_is_told_of_from_the_start_and_after_another_one(begin, sink, tmp_path):
    last = LastAudit(open_storage(f"{tmp_path}/lake/checkpoints"))
    monitoring = begin(sample_every=1)
    monitoring.watch({"kinesis": sink}, SPARK)
    until(lambda: monitoring.values.get(m.PYTHON_MEMORY))
    assert monitoring.values.get(m.AUDIT_OK) is None
    last.put(Audited(1_800_000_000.0, 12.5, 0))
    until(lambda: monitoring.values.get(m.AUDIT_OK) == 1)
    last.put(Audited(1_800_086_400.0, 14.0, 3, 1))
    again = begin()
    again.watch({"kinesis": sink}, SPARK)
    until(lambda: again.values.get(m.AUDIT_OK) == 0)
    assert again.values.get(m.AUDIT_DIFFERENCES) == 3
    assert again.values.get(m.AUDIT_TIME) == 1_800_086_400.0
    assert again.values.get(m.AUDIT_DURATION) == 14.0


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"format": 2}', b'{"format": 1, "unknown": 1}'])
def test_a_note_of_an_audit_that_cannot_be_read_is_none(tmp_path, text):
    storage = open_storage(str(tmp_path))
    storage.put("audit/last.json", text)
    assert LastAudit(storage).get() is None


def test_shards_that_kinesis_has_closed_are_asked_for_and_a_refusal_harms_nothing(begin, sink):
    answers = [SourceError("no such stream"), frozenset({"shard-0"})]

    def ask() -> frozenset[str]:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    monitoring = begin(sample_every=1)
    monitoring.watch({"kinesis": sink}, SPARK, {"kinesis": ask})
    publish(open_storage(sink.checkpoint), 0)
    monitoring.on_batch(batch(0))
    assert monitoring.values.get(m.SHARDS_DRAINING, "kinesis") == 0
    until(lambda: monitoring.values.get(m.SHARDS_DRAINING, "kinesis") == 1)  # shard-1 was read to its end
    assert monitoring.values.get(m.SHARDS_OPEN, "kinesis") == 0


def test_a_sample_that_fails_holds_up_no_other():
    seen = []

    def broken() -> None:
        raise OSError

    sampler = samples.Sampler([broken, lambda: seen.append(1)], interval=0.01)
    until(lambda: len(seen) > 2)
    sampler.close()
