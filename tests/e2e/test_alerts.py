"""Each fault is caused for real, and its alert fires in a real Prometheus within its time.

The shipped rules run 30 times as fast: every duration is divided, and so is the one threshold that is a waiting time. All
other thresholds are the shipped ones: records are really 13 hours old, half of the calls are really refused, a disk and a heap
are really full. The disk is a file system in memory of the test's own, which only root may mount.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import yaml

from tests.e2e.test_metrics import address, ask
from tests.fault.rig import REPOSITORY, STREAM, Rig
from tests.prometheus_server import INSTALLED, RULES, prometheus_server
from tests.strict_kinesis import strict_kinesis

pytestmark = [
    pytest.mark.spark,
    pytest.mark.drill,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not INSTALLED, reason="needs Prometheus"),
]
FASTER = 30
UNITS = {"s": 1, "m": 60, "h": 3600}
EVENT = (
    '{{"order_id":"o{number}","customer_id":"C1","store_id":"S1","city":"{city}","item":"Tea","quantity":1,'
    '"amount":12.50,"payment_method":"cash","order_ts":"2026-03-01T09:00:00Z"}}'
)
QUICK = {"metrics.sample_every": "1s", "metrics.stalled_after": "10s", "service.max_restarts": "1000"}


def hurried(folder: Path) -> Path:
    """The shipped rules for a day that lasts 48 minutes; it is always opening time."""
    text = RULES.read_text()
    text = re.sub(r"(?<=\[)(\d+)([smh])(?=\])|(?<=for: )(\d+)([smh])", _shorter, text)
    text = text.replace("> 900", f"> {900 // FASTER}").replace(
        "hour() >= 4 and hour() < 15", "hour() >= 0 and hour() < 24"
    )
    shipped = {rule["alert"] for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]}
    assert {rule["alert"] for rule in yaml.safe_load(text)["groups"][0]["rules"]} == shipped
    (folder / "alerts.yml").write_text(text)
    return folder / "alerts.yml"


def _shorter(found: re.Match[str]) -> str:
    number, unit = (found[1], found[2]) if found[1] else (found[3], found[4])
    return f"{int(number) * UNITS[unit] / FASTER:.0f}s"


class Watched:
    """Which alerts fire."""

    def __init__(self, rig: Rig, prometheus) -> None:
        self.rig, self.prometheus = rig, prometheus

    def firing(self) -> set[str]:
        found = self.prometheus.query('sum by (alertname) (ALERTS{alertstate="firing"})')
        return {alert for _, alert in found}

    def wait(self, *alerts: str, timeout: float = 300) -> None:
        """Until they fire."""
        wanted = set(alerts)
        deadline = time.monotonic() + timeout
        while not wanted <= self.firing():
            assert time.monotonic() < deadline, (wanted - self.firing(), self.firing(), self.rig.tail(20))
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
                watched.wait(
                    "IngestRetentionAtRisk", "IngestLagGrowing", "IngestThrottled", "IngestDeadLetters", "IngestBreach"
                )
                assert not {"IngestDown", "IngestNoData", "IngestRestarts", "IngestUnpublished"} & watched.firing()
                kinesis.set(throttle=1.0)
                watched.wait("IngestStalled", "IngestNoData", "IngestNotReady")
                assert not {"IngestDown", "IngestRestarts", "IngestUnpublished"} & watched.firing()
                kinesis.set(throttle=0.0)
                kinesis.delete(STREAM)
                watched.wait("IngestRestarts")
                assert "IngestDataLost" not in watched.firing()
                kinesis.create(STREAM, shards=1)
                kinesis.put(STREAM, events[:10])
                watched.wait("IngestDataLost")
                rig.kill(service)
                watched.wait("IngestDown")
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
                Watched(rig, prometheus).wait("IngestUnpublished", "IngestStalled")
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
                watched.wait("IngestAudit")
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
                watched.wait("IngestMemory")
        finally:
            rig.kill(service)


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
                kinesis.put(STREAM, [EVENT.format(number=number, city="Jakarta").encode() for number in range(500)])
                watched.wait("IngestDiskFull")
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
    assert "> 43200" in text
    assert str(REPOSITORY) not in text
