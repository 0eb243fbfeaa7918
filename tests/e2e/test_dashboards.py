"""Every panel of every dashboard has data once a real Prometheus has scraped a real run of the service."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import yaml

from tests.e2e.test_metrics import address
from tests.fault.rig import REPOSITORY, STREAM, Rig
from tests.prometheus_server import PROMETHEUS, prometheus_server
from tests.strict_kinesis import strict_kinesis

pytestmark = [pytest.mark.spark, pytest.mark.drill, pytest.mark.timeout(900)]
BOARDS = sorted((REPOSITORY / "deploy/monitoring/grafana").glob("*.json"))
SEVERITIES = {"city.in_set": "warning", "payment_method.in_set": "info"}


def suite(folder: Path) -> str:
    """The shipped one, with a rule of each severity."""
    document = yaml.safe_load((REPOSITORY / "conf/expectations/orders.yaml").read_text())
    for rule in document["expectations"]:
        rule["severity"] = SEVERITIES.get(rule["meta"]["id"], rule["severity"])
    document.pop("examples", None)
    (folder / "suite.yaml").write_text(yaml.safe_dump(document))
    return str(folder / "suite.yaml")


def questions() -> dict[str, str]:
    """What Grafana asks, by dashboard, panel and letter."""
    return {
        f"{file.stem}: {panel['title']} {target['refId']}": target["expr"]
        .replace("$instance", ".*")
        .replace("$__rate_interval", "1m")
        for file in BOARDS
        for panel in json.loads(file.read_text())["panels"]
        for target in panel.get("targets", ())
    }


@PROMETHEUS
def test_every_panel_has_data(tmp_path):
    with strict_kinesis() as kinesis:
        kinesis.create(STREAM, shards=2)
        limits = {"quality.on_breach": "alert", "quality.max_dead_ratio": "0.001", "quality.min_rows": "1"}
        rig = Rig(tmp_path, kinesis, settings={"suite": suite(tmp_path), **limits})
        service = rig.start()
        rig.feed(rate=60, csv_every=2)  # until the end, so that every rate has something to count
        try:
            rig.wait_for(lambda: rig.committed() > 0, timeout=300)
            rig.batch("audit")
            with prometheus_server(tmp_path / "prometheus", address(rig).removeprefix("http://")) as prometheus:
                missing = dict(questions())

                def all_answered() -> bool:
                    for name, text in list(missing.items()):
                        if any(not math.isnan(value) for value in prometheus.query(text).values()):
                            del missing[name]
                    return not missing

                try:
                    rig.wait_for(all_answered, timeout=400)
                except AssertionError:
                    pytest.fail(f"panels without data: {missing}")
        finally:
            rig.rest()
            rig.kill(service)
