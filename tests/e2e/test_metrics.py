"""The metrics of the real service, over known input and a `kill -9` between commit and publication."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from streaming_app.metrics.catalogue import CATALOGUE
from tests.fault.rig import STREAM, Rig
from tests.prometheus_server import INSTALLED, prometheus_server
from tests.strict_kinesis import strict_kinesis

pytestmark = [pytest.mark.spark, pytest.mark.drill, pytest.mark.timeout(600)]
GOLDEN = Path(__file__).parent / "golden" / "orders"
ROWS = {"kinesis": "stream", "csv": "batch"}
NOT_HERE = {
    "qsr_breaches_total",  # no limit is set
    "qsr_warnings_total",  # no row of the input only warns
    "qsr_infos_total",
    "qsr_failures_total",  # the process was killed; nothing failed by itself
}


def address(rig: Rig) -> str:
    """Of the service that was started last."""
    return [line["url"] for line in rig.lines() if line.get("message") == "metrics"][-1].removesuffix("/metrics")


def ask(rig: Rig, path: str) -> tuple[int, str]:
    """What the service that was started last answers; status 0 before it says where."""
    try:
        with urllib.request.urlopen(address(rig) + path, timeout=5) as answer:  # noqa: S310 - http
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except (IndexError, OSError):
        return 0, ""


def samples(rig: Rig) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(ask(rig, "/metrics")[1])
    found = (sample for family in families for sample in family.samples)
    return {(sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value for sample in found}


def expected() -> dict[tuple[str, ...], float]:
    """The figures of the golden folder, from its expected rows."""
    rows = {
        table: json.loads((GOLDEN / "expected" / f"{table}.json").read_text()) for table in ("clean", "dead_letter")
    }
    found: Counter[tuple[str, ...]] = Counter()
    for source, name in ROWS.items():
        clean, dead = ([row for row in each if row["input_source"] == name] for each in rows.values())
        found["qsr_rows_read_total", source] = len(clean) + len(dead)
        found["qsr_rows_clean_total", source] = len(clean)
        found["qsr_rows_duplicate_total", source] = 0
        for stage in ("decode", "cast", "rule", "duplicate"):
            found["qsr_rows_dead_total", source, stage] = sum(row["stage"] == stage for row in dead)
        found.update(("qsr_rejections_total", reason, source) for row in dead for reason in row["reasons"])
    return dict(found)


def totals(rig: Rig) -> dict[tuple[str, ...], float]:
    return {key: value for key, value in samples(rig).items() if key in TRUTH or key[0] == "qsr_rejections_total"}


def missing(found: dict[tuple[str, ...], float]) -> set[str]:
    """Metrics of the catalogue that are not served."""
    names = {re.sub(r"_(bucket|sum|count)$", "", key[0]) for key in found}
    return {metric.name for metric in CATALOGUE} - names


TRUTH = expected()


def send(rig: Rig, part: slice) -> None:
    """A part of the golden folder's events and files."""
    rig.kinesis.put(STREAM, (GOLDEN / "input" / "events.ndjson").read_bytes().splitlines()[part])
    for file in sorted((GOLDEN / "input").glob("*.csv"))[part]:
        rig.storage.put(f"raw/{file.name}", file.read_bytes())


def test_known_input_gives_exactly_the_known_figures_over_a_kill_and_a_restart(tmp_path):
    with strict_kinesis() as kinesis:
        kinesis.create(STREAM, shards=1)
        rig = Rig(tmp_path, kinesis)
        send(rig, slice(0, None, 2))
        service = rig.start(fault="hang-after-entry")
        try:
            rig.wait_for(rig.marker.exists)
        finally:
            rig.kill(service)
        service = rig.start()
        try:
            rig.wait_for(lambda: ask(rig, "/readyz")[0] == 200)
            send(
                rig, slice(1, None, 2)
            )  # so that this process has a micro-batch of each source, whatever the first one ended
            rig.wait_for(lambda: totals(rig) == TRUTH)
            assert json.loads(ask(rig, "/readyz")[1]) == {
                "ready": True,
                "sources": {"csv": "running", "kinesis": "running"},
            }
            rig.wait_for(lambda: missing(samples(rig)) == NOT_HERE)
            found = samples(rig)
        finally:
            rig.kill(service)
        assert (
            found["qsr_recovered_batches_total", "finished", "kinesis"]
            + found["qsr_recovered_batches_total", "finished", "csv"]
            >= 1
        )
        service = rig.start()
        try:
            rig.wait_for(lambda: ask(rig, "/readyz")[0] == 200)
            assert totals(rig) == TRUTH  # since ever, without reading a row again
            assert samples(rig)["qsr_lag_seconds", "kinesis"] == 0  # nothing has arrived since, and it is known
            scraped_exactly(rig, tmp_path / "prometheus", service)
        finally:
            rig.kill(service)


def scraped_exactly(rig: Rig, folder: Path, service) -> None:
    """A real Prometheus has the same figures, and sees the service die."""
    if not INSTALLED:
        return
    with prometheus_server(folder, address(rig).removeprefix("http://")) as prometheus:
        rig.wait_for(lambda: prometheus.query("qsr_ready"), timeout=30)
        found = prometheus.query('{__name__=~"qsr_rows_.*_total|qsr_rejections_total"}')
        assert found == TRUTH
        assert prometheus.query("qsr_ready") == {("qsr_ready",): 1}
        assert prometheus.query('ALERTS{alertname="IngestDown"}') == {}
        rig.kill(service)
        rig.wait_for(lambda: prometheus.query('ALERTS{alertname="IngestDown"}'), timeout=30)
