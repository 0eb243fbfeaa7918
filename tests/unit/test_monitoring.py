"""Metrics never harm the service: a taken port, a broken ledger, a broken sample."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
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
from streaming_app.journal.read_log import ReadLog
from streaming_app.metrics import catalogue as m
from streaming_app.metrics import processes, samples
from streaming_app.metrics.cloudwatch import Calls
from streaming_app.metrics.monitoring import Asked, Monitoring
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


def test_lines_for_cloudwatch_are_printed_without_the_endpoint(begin, sink, capfd):
    monitoring = begin(enabled=False, cloudwatch={"enabled": True, "format": "emf"})
    monitoring.watch({"kinesis": sink}, SPARK)
    monitoring.on_batch(batch(0))
    monitoring.close()
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
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


def test_totals_that_cannot_be_read_at_the_start_are_read_later_and_everything_else_goes_on(begin, sink, caplog):
    storage = open_storage(sink.checkpoint)
    publish(storage, 0, 1)
    kept = storage.get("ledger/published.json")
    storage.put("ledger/published.json", b"{")
    other = replace(sink, checkpoint=f"{sink.checkpoint}-csv", owner="csv")
    monitoring = begin(sample_every=1)
    monitoring.watch({"kinesis": sink, "csv": other}, SPARK)
    values = monitoring.values
    assert "could not read the totals" in caplog.text
    assert values.get(m.TOTALS_READ, "kinesis") == 0
    assert values.get(m.TOTALS_READ, "csv") == 1
    monitoring.on_event(SourceEvent(EventKind.STARTED, "kinesis"))
    monitoring.on_batch(batch(1))
    assert values.get(m.ROWS_READ, "csv") == 0
    with urllib.request.urlopen(f"{monitoring.endpoint.url}/healthz", timeout=5) as answer:  # noqa: S310 - http
        assert answer.status == 200
    until(lambda: values.get(m.JVM_MEMORY, "heap") == 5)
    storage.put("ledger/published.json", kept)
    until(lambda: values.get(m.TOTALS_READ, "kinesis") == 1)
    assert values.get(m.ROWS_READ, "kinesis") == 20
    assert values.get(m.SOURCE_UP, "kinesis") == 1
    assert caplog.text.count("could not read the totals") == 1
    publish(storage, 2)
    monitoring.on_batch(batch(2))
    assert values.get(m.ROWS_READ, "kinesis") == 30


def test_totals_that_appear_late_are_not_sent_to_cloudwatch_as_new_rows(begin, sink, monkeypatch):
    asked = []
    monkeypatch.setattr(Calls, "put", lambda _, data: asked.extend(data))
    storage = open_storage(sink.checkpoint)
    publish(storage, 0, 1)
    kept = storage.get("ledger/published.json")
    storage.put("ledger/published.json", b"{")
    monitoring = begin(enabled=False, cloudwatch={"enabled": True}, sample_every=1)
    monitoring.watch({"kinesis": sink}, SPARK)
    storage.put("ledger/published.json", kept)
    until(lambda: monitoring.values.get(m.TOTALS_READ, "kinesis") == 1)
    publish(storage, 2)
    monitoring.on_batch(batch(2))
    monitoring.close()
    assert sum(each["Value"] for each in asked if each["MetricName"] == "qsr_rows_read_total") == 10


def test_what_a_stopped_run_leaves_at_a_pushgateway_is_no_service_that_is_not_ready(begin, sink):
    with otlp_receiver() as receiver:
        monitoring = begin(enabled=False, otlp={"endpoint": receiver.url})
        monitoring.watch({"kinesis": sink}, SPARK)
        monitoring.on_event(SourceEvent(EventKind.STARTED, "kinesis"))
        monitoring.on_event(SourceEvent(EventKind.STOPPED, "kinesis"))
        monitoring.close()
        (message,) = receiver.requests
    sent = {metric.name: metric for metric in message.resource_metrics[0].scope_metrics[0].metrics}
    for name in ("qsr_ready", "qsr_last_trigger_timestamp_seconds"):
        assert name not in sent or not sent[name].gauge.data_points


def test_a_start_has_its_time_but_for_a_run_that_ends_by_itself(begin, tmp_path):
    before = time.time()
    assert before <= begin().values.get(m.START) <= time.time()
    config = Config(dataset="d", suite="s", lake={"root": str(tmp_path)}, sources={"csv": {"enabled": True}})
    bounded = Monitoring(config, bounded=True)
    bounded.close()
    assert bounded.values.get(m.START) is None


def test_a_stream_is_asked_what_it_keeps_and_when_its_shards_were_at_their_tips(begin, sink):
    answers = [SourceError("throttled"), 7 * 86_400.0]

    def ask() -> float:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    ReadLog(open_storage(sink.checkpoint)).note("tips", {"at": 1_800_000_000.0, "shards": {"s": "after:1"}})
    monitoring = begin(sample_every=1)
    monitoring.watch({"kinesis": sink}, SPARK, {"kinesis": Asked(frozenset, ask)})
    assert monitoring.values.get(m.RETENTION, "kinesis") == 86_400
    until(lambda: monitoring.values.get(m.RETENTION, "kinesis") == 7 * 86_400)
    assert monitoring.values.get(m.READ_UNTIL, "kinesis") == 1_800_000_000.0


def test_python_workers_are_the_python_processes_below_the_jvm(tmp_path):
    """A JVM (10) with a daemon that forked two workers, a shell, and (by spark-submit) this process with a child."""
    tree = {1: (0, "init"), 10: (1, "java"), 20: (10, "python3.11"), 21: (20, "python3.11"), 22: (20, "python) R 1 (x"), 30: (10, "bash"), 40: (10, "python"), 41: (40, "python"), 50: (1, "python")}  # fmt: skip
    for pid, (parent, name) in tree.items():
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(f"{pid} ({name}) S {parent} 1 1 0")
    (tmp_path / "60").mkdir()  # it has ended since it was listed
    (tmp_path / "20" / "smaps_rollup").write_text("0-1 ---p [rollup]\nRss:  900 kB\nPss:  300 kB\n")
    (tmp_path / "21" / "statm").write_text("500 7 1 1 0 1 0")
    assert sorted(processes.python_below(10, tmp_path, but=40)) == [20, 21, 22]
    assert processes.memory(20, tmp_path) == 300 * 1024
    assert processes.memory(21, tmp_path) == 7 * os.sysconf("SC_PAGE_SIZE")
    assert processes.memory(60, tmp_path) == 0


def test_memory_of_a_real_child_is_seen():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        until(lambda: child.pid in processes.python_below(os.getpid()))
        assert processes.memory(child.pid) > 1_000_000
        child.stdin.close()


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
    monitoring.watch({"kinesis": sink}, SPARK, {"kinesis": Asked(ask, lambda: 86_400.0)})
    publish(open_storage(sink.checkpoint), 0)
    monitoring.on_batch(batch(0))
    assert monitoring.values.get(m.SHARDS_DRAINING, "kinesis") == 0
    until(lambda: monitoring.values.get(m.SHARDS_DRAINING, "kinesis") == 1)  # shard-1 was read to its end
    assert monitoring.values.get(m.SHARDS_OPEN, "kinesis") == 0


@pytest.mark.parametrize(
    ("environment", "conf", "expected"),
    [
        ("", {}, tempfile.gettempdir()),
        ("", {"spark.local.dir": "/mnt/one,/mnt/two"}, "/mnt/one"),
        ("/scratch,/more", {"spark.local.dir": "/mnt/one"}, "/scratch"),
    ],
)
def test_the_disk_that_is_watched_is_the_one_that_spark_spills_to(monkeypatch, environment, conf, expected):
    monkeypatch.setenv("SPARK_LOCAL_DIRS", environment)
    assert samples.scratch(conf) == expected


def test_a_sample_that_fails_holds_up_no_other():
    seen = []

    def broken() -> None:
        raise OSError

    sampler = samples.Sampler([broken, lambda: seen.append(1)], interval=0.01)
    until(lambda: len(seen) > 2)
    sampler.close()
