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
from tests.prometheus_server import INSTALLED, PROMETHEUS, prometheus_server
from tests.strict_kinesis import strict_kinesis

pytestmark = [pytest.mark.spark, pytest.mark.drill, pytest.mark.timeout(600)]
GOLDEN = Path(__file__).parent / "golden" / "orders"
ROWS = {"kinesis": "stream", "csv": "batch"}
NOT_HERE = {
    "qsr_breaches_total",  # no limit is set
    "qsr_warnings_total",  # no row of the input only warns
    "qsr_infos_total",
    "qsr_failures_total",  # the process was killed; nothing failed by itself
    "qsr_restarts_by_kind_total",
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
            rig.batch("audit")
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
            assert samples(rig)["qsr_lag_records", "kinesis"] == 0
            rig.wait_for(lambda: samples(rig).get(("qsr_audit_ok",)) == 1)  # of the run before
            scraped_exactly(rig, tmp_path / "prometheus", service)
        finally:
            rig.kill(service)


def event(number: int) -> bytes:
    """Every fourth order is from a city that is not known."""
    city = "Jakarta" if number % 4 else "Gotham"
    return json.dumps(
        {"order_id": f"o{number}", "customer_id": "C1", "store_id": "S1", "city": city, "item": "Tea", "quantity": 1}
        | {"amount": 12.50, "payment_method": "cash", "order_ts": "2026-03-01T09:00:00Z"}
    ).encode()


@PROMETHEUS
def test_known_rows_throttles_and_a_split_are_scraped_exactly(tmp_path):
    """2,000 records wait in a shard that is split while they are read, 100 to a micro-batch; ten calls fail in between."""
    with strict_kinesis() as kinesis:
        (shard,) = kinesis.create(STREAM, shards=1)
        events = [event(number) for number in range(2100)]
        kinesis.put(STREAM, events[:2000])
        few = {"sources.kinesis.max_records_per_batch": "100", "sources.kinesis.max_records_per_shard": "100"}
        rig = Rig(tmp_path, kinesis, settings={**few, "sources.csv.enabled": "false", "metrics.sample_every": "1s"})
        service = rig.start()
        try:
            rig.wait_for(lambda: rig.committed() >= 100, timeout=300)
            with prometheus_server(tmp_path / "prometheus", address(rig).removeprefix("http://")) as prometheus:
                kinesis.split(STREAM, shard)
                kinesis.put(STREAM, events[2000:])
                kinesis.script.extend(["ProvisionedThroughputExceededException"] * 7 + ["ExpiredIteratorException"] * 3)
                rig.wait_for(lambda: prometheus.query("qsr_shards_draining == 1"), timeout=60)
                assert prometheus.query("qsr_lag_seconds > 0")
                wanted = {
                    "qsr_rows_read_total": 2100,
                    "qsr_rows_clean_total": 1575,
                    "sum(qsr_rows_dead_total)": 525,
                    'qsr_rows_dead_total{stage="rule"}': 525,
                    'qsr_rejections_total{reason="city.in_set"}': 525,
                    "qsr_read_bytes_total": sum(map(len, events)),
                    "qsr_kinesis_throttles_total": 7,
                    "qsr_kinesis_renewals_total": 3,
                    "qsr_shards_open": 2,
                    "qsr_shards_draining": 0,
                    "qsr_lag_seconds": 0,
                    "qsr_lag_records": 0,
                    "qsr_unpublished_batches": 0,
                    "sum(qsr_failures_total) or vector(0)": 0,
                }
                rig.wait_for(lambda: rig.committed() == 2100, timeout=400)

                def found() -> dict[str, float]:
                    return {text: sum(prometheus.query(text).values()) for text in wanted}

                rig.wait_for(lambda: found() == wanted, timeout=60)
                assert found() == wanted
                batches = sum(prometheus.query("qsr_batches_total").values())
                counted = sum(prometheus.query("qsr_batch_duration_seconds_count").values())
                assert batches == counted == sum(line.get("message") == "committed" for line in rig.lines())
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
        rig.wait_for(
            lambda: prometheus.query('ALERTS{alertname="IngestDown"}') == {}, timeout=30
        )  # of its first second
        rig.kill(service)
        rig.wait_for(lambda: prometheus.query('ALERTS{alertname="IngestDown"}'), timeout=30)
