"""Each fault is caused for real, and its alert fires in a real Prometheus within its time.

The shipped rules run 30 times as fast: every duration is divided, also where it is a number of seconds. An alert has the time that its
range, its waiting time and its `for` take together at that speed, and some seconds in which Prometheus and the service look. All other
thresholds are the shipped ones: records are really 13 hours old, half of the calls are really refused, a disk and a heap
are really full. The disk is a file system in memory of the test's own, which only root may mount.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import yaml

from tests.e2e.test_metrics import address, ask
from tests.fault.rig import REPOSITORY, STREAM, Rig
from tests.prometheus_server import PROMETHEUS, RULES, prometheus_server
from tests.strict_kinesis import strict_kinesis

pytestmark = [
    pytest.mark.spark,
    pytest.mark.drill,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    PROMETHEUS,
]
FASTER = 30
SLACK = 15.0  # seconds: a scrape, an evaluation, a sample, a micro-batch, on a machine that has other work
RANGE = r"(?<=\[)(\d+)([smh])(?=\])|(?<=offset )(\d+)([smh])"
UNITS = {"s": 1, "m": 60, "h": 3600}
EVENT = (
    '{{"order_id":"o{number}","customer_id":"C1","store_id":"S1","city":"{city}","item":"Tea","quantity":1,'
    '"amount":12.50,"payment_method":"cash","order_ts":"2026-03-01T09:00:00Z"}}'
)
STALLED_AFTER = 10.0
RESTART = 20.0  # seconds until a failed source reads again: its wait, a query's start, a micro-batch
QUICK = {
    "metrics.sample_every": "1s",
    "metrics.stalled_after": f"{STALLED_AFTER:.0f}s",
    "service.max_restarts": "1000",
    "service.restart_backoff_max": "5s",
}


def hurried(folder: Path) -> Path:
    """The shipped rules for a day that lasts 48 minutes; it is always opening time."""
    text = RULES.read_text()
    text = re.sub(rf"{RANGE}|(?<=for: )(\d+)([smh])", _shorter, text)
    text = re.sub(r"\b900\b", str(900 // FASTER), text)
    text = text.replace("hour() >= 4 and hour() < 15", "hour() >= 0 and hour() < 24")
    shipped = {rule["alert"] for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]}
    assert {rule["alert"] for rule in yaml.safe_load(text)["groups"][0]["rules"]} == shipped
    (folder / "alerts.yml").write_text(text)
    return folder / "alerts.yml"


def _shorter(found: re.Match[str]) -> str:
    number, unit = (group for group in found.groups() if group)
    return f"{int(number) * UNITS[unit] / FASTER:.0f}s"


def due() -> dict[str, float]:
    """Seconds after its fault in which each alert has to fire, at the speed of this test."""
    rules = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    return {rule["alert"]: _seconds_of(rule) / FASTER + SLACK for rule in rules}


def _seconds_of(rule: dict) -> float:
    ranges = [found.groups() for found in re.finditer(RANGE, rule["expr"])] or [("0", "s")]
    looked_back = max(int(number) * UNITS[unit] for number, unit in (filter(None, groups) for groups in ranges))
    waited = 900 if "> 900" in rule["expr"] else 0
    lasting = re.fullmatch(r"(\d+)([smh])", rule.get("for", "0s"))
    return looked_back + waited + int(lasting[1]) * UNITS[lasting[2]]


class Watched:
    """Which alerts fire."""

    def __init__(self, rig: Rig, prometheus) -> None:
        self.rig, self.prometheus = rig, prometheus

    def firing(self) -> set[str]:
        found = self.prometheus.query('sum by (alertname) (ALERTS{alertstate="firing"})')
        return {alert for _, alert in found}

    def wait(self, *alerts: str, fault: float, more: float = 0.0) -> None:
        """Until they fire, each within its time since the fault (of the monotonic clock), and `more` that the service takes."""
        allowed, missing = due(), set(alerts)
        while missing:
            missing -= self.firing()
            passed = time.monotonic() - fault
            late = {alert for alert in missing if passed > allowed[alert] + more}
            assert not late, (late, passed, self.firing(), self.rig.tail(20))
            time.sleep(0.2)

    def wait_for_the_end(self, alert: str, timeout: float = 120) -> None:
        """Until it fires no more."""
        self.rig.wait_for(lambda: alert not in self.firing(), timeout)


@pytest.fixture
def rules(tmp_path):
    return hurried(tmp_path)


def test_a_stream_that_is_late_throttled_rejected_stuck_and_gone(tmp_path, rules):
    hours, began = 13 * 3600.0, time.time()
    ahead = {"seconds": -hours}
    with strict_kinesis(clock=lambda: time.time() + ahead["seconds"]) as kinesis:
        kinesis.create(STREAM, shards=1)
        events = [
            EVENT.format(number=number, city="Gotham" if number % 2 else "Jakarta").encode() for number in range(20_000)
        ]
        kinesis.put(STREAM, events)
        ahead["seconds"] = 0.0
        kinesis.set(throttle=0.5)
        slow = {"sources.kinesis.max_records_per_batch": "40", "sources.kinesis.max_records_per_shard": "40"}
        limits = {"quality.on_breach": "alert", "quality.max_dead_ratio": "0.1", "quality.min_rows": "10"}
        lossy = {"sources.kinesis.fail_on_data_loss": "false"}
        rig = Rig(tmp_path, kinesis, settings={**QUICK, **slow, **limits, **lossy, "sources.csv.enabled": "false"})
        service = rig.start()
        try:
            rig.wait_for(lambda: any(line.get("message") == "metrics" for line in rig.lines()), timeout=300)
            with prometheus_server(tmp_path / "prometheus", address(rig).removeprefix("http://"), rules) as prometheus:
                watched = Watched(rig, prometheus)
                rig.wait_for(lambda: rig.committed() > 0, timeout=300)
                watched.wait(
                    "IngestRetentionAtRisk",
                    "IngestLagGrowing",
                    "IngestThrottled",
                    "IngestDeadLetters",
                    "IngestBreach",
                    fault=time.monotonic(),
                )
                assert not {"IngestDown", "IngestNoData", "IngestRestarts", "IngestUnpublished"} & watched.firing()
                kinesis.set(throttle=1.0)
                watched.wait(
                    "IngestStalled", "IngestNoData", "IngestNotReady", fault=time.monotonic(), more=STALLED_AFTER
                )
                assert not {"IngestDown", "IngestRestarts", "IngestUnpublished"} & watched.firing()
                kinesis.set(throttle=0.0)
                kinesis.delete(STREAM)
                watched.wait("IngestRestarts", fault=time.monotonic())
                assert "IngestDataLost" not in watched.firing()
                kinesis.create(STREAM, shards=1)
                kinesis.put(STREAM, events[:10])
                watched.wait("IngestDataLost", fault=time.monotonic(), more=RESTART)
                rig.kill(service)
                watched.wait("IngestDown", fault=time.monotonic())
        finally:
            rig.kill(service)
        assert time.time() - began < hours


def test_a_commit_that_died_half_way(tmp_path, rules):
    with strict_kinesis() as kinesis:
        kinesis.create(STREAM, shards=1)
        kinesis.put(STREAM, [EVENT.format(number=number, city="Jakarta").encode() for number in range(100)])
        rig = Rig(tmp_path, kinesis, settings={**QUICK, "sources.csv.enabled": "false"})
        service = rig.start(fault="hang-after-entry")
        try:
            rig.wait_for(rig.marker.exists, timeout=300)
            with prometheus_server(tmp_path / "prometheus", address(rig).removeprefix("http://"), rules) as prometheus:
                Watched(rig, prometheus).wait("IngestUnpublished", "IngestStalled", fault=time.monotonic())
        finally:
            rig.kill(service)


def test_a_lake_with_a_missing_file_after_its_audit(tmp_path, rules):
    with strict_kinesis() as kinesis:
        kinesis.create(STREAM, shards=1)
        kinesis.put(STREAM, [EVENT.format(number=number, city="Jakarta").encode() for number in range(100)])
        rig = Rig(tmp_path, kinesis, settings={**QUICK, "sources.csv.enabled": "false"})
        service = rig.start()
        try:
            rig.wait_for(lambda: rig.committed() == 100, timeout=300)
            rig.batch("audit")
            with prometheus_server(tmp_path / "prometheus", address(rig).removeprefix("http://"), rules) as prometheus:
                watched = Watched(rig, prometheus)
                rig.wait_for(lambda: prometheus.query("qsr_audit_ok") == {("qsr_audit_ok",): 1}, timeout=60)
                assert "IngestAudit" not in watched.firing()
                file = next(Path(rig.lake, "clean").rglob("part-*.parquet"))
                kept = file.read_bytes()
                file.unlink()
                with pytest.raises(AssertionError, match="is not there"):
                    rig.batch("audit")
                watched.wait("IngestAudit", fault=time.monotonic())
                file.write_bytes(kept)
                rig.batch("audit")
                watched.wait_for_the_end("IngestAudit")
        finally:
            rig.kill(service)


def test_a_heap_that_stays_full(tmp_path, rules):
    with strict_kinesis() as kinesis:
        kinesis.create(STREAM, shards=1)
        kinesis.put(STREAM, [EVENT.format(number=number, city="Jakarta").encode() for number in range(100)])
        heap = {"spark.conf.spark.driver.memory": "1g"}
        rig = Rig(tmp_path, kinesis, settings={**QUICK, **heap, "sources.csv.enabled": "false"})
        service = rig.start(fault="leak-heap")
        try:
            rig.wait_for(lambda: rig.committed() == 100, timeout=300)
            with prometheus_server(tmp_path / "prometheus", address(rig).removeprefix("http://"), rules) as prometheus:
                watched = Watched(rig, prometheus)
                rig.wait_for(lambda: prometheus.query('qsr_jvm_memory_bytes{area="heap"}'), timeout=60)
                assert "IngestMemory" not in watched.firing()
                rig.marker.touch()
                full = 'qsr_jvm_memory_bytes{area="heap"} / qsr_jvm_memory_limit_bytes > 0.9'
                rig.wait_for(lambda: prometheus.query(full), timeout=60)
                watched.wait("IngestMemory", fault=time.monotonic())
        finally:
            rig.kill(service)


def test_a_process_that_dies_soon_after_each_start(tmp_path, rules):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    started = "qsr_start_timestamp_seconds"
    with strict_kinesis() as kinesis:
        kinesis.create(STREAM, shards=1)
        rig = Rig(tmp_path, kinesis, settings={**QUICK, "sources.csv.enabled": "false", "metrics.port": str(port)})
        with prometheus_server(tmp_path / "prometheus", f"127.0.0.1:{port}", rules) as prometheus:
            watched = Watched(rig, prometheus)
            for _ in range(4):
                assert "IngestCrashLoop" not in watched.firing()
                service, begun = rig.start(), time.time()
                try:
                    rig.wait_for(partial(prometheus.query, f"{started} > {begun}"), timeout=120)
                finally:
                    rig.kill(service)
            watched.wait("IngestCrashLoop", fault=time.monotonic())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")
def test_a_disk_that_runs_full_stops_the_service_and_loses_nothing(tmp_path, rules):
    with strict_kinesis() as kinesis, small_disk(tmp_path / "disk", 256) as disk:
        kinesis.create(STREAM, shards=1)
        places = {"lake.checkpoints": str(disk / "checkpoints"), "sources.csv.enabled": "false"}
        rig = Rig(tmp_path, kinesis, lake=str(disk / "lake"), settings={**QUICK, **places})
        service = rig.start(SPARK_LOCAL_DIRS=str(disk))
        filler = disk / "filler"
        try:
            rig.wait_for(lambda: ask(rig, "/readyz")[0] == 200, timeout=300)
            with prometheus_server(tmp_path / "prometheus", address(rig).removeprefix("http://"), rules) as prometheus:
                watched = Watched(rig, prometheus)
                rig.wait_for(lambda: prometheus.query("qsr_disk_free_bytes"), timeout=60)
                assert "IngestDiskFull" not in watched.firing()
                fill(filler)
                filled = time.monotonic()
                kinesis.put(STREAM, [EVENT.format(number=number, city="Jakarta").encode() for number in range(500)])
                watched.wait("IngestDiskFull", fault=filled)
                rig.wait_for(lambda: prometheus.query("qsr_failures_total"), timeout=120)
                assert {key[1] for key in prometheus.query("qsr_disk_free_bytes")} == {"lake", "scratch"}
                assert rig.committed() == 0
                filler.unlink()
                rig.wait_for(lambda: rig.committed() == 500, timeout=300)
                watched.wait_for_the_end("IngestDiskFull")
        finally:
            rig.kill(service)
        rig.check()


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[Path]:
    """A file system of so many MiB, in memory."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(file: Path) -> None:
    """Write until there is no room for another byte."""
    with suppress(OSError), file.open("wb", buffering=0) as filler:
        for size in (1 << 20, 1):
            with suppress(OSError):
                while True:
                    filler.write(bytes(size))


def test_the_rules_are_hurried_and_nothing_else(tmp_path):
    text = hurried(tmp_path).read_text()
    assert "[30s]" in text
    assert "for: 20s" in text
    assert "offset 60s" in text
    assert "> 30\n" in text
    assert "900" not in text
    assert "> qsr_retention_seconds / 2" in text
    assert str(REPOSITORY) not in text


def test_an_alert_has_the_time_of_its_range_and_of_its_patience():
    times = {alert: seconds - SLACK for alert, seconds in due().items()}
    assert times["IngestDown"] == 4
    assert times["IngestStalled"] == 32
    assert times["IngestLagGrowing"] == 70
    assert times["IngestNoData"] == 70
    assert times["IngestBreach"] == 0
