"""Grafana's dashboards are what the code makes, ask for metrics that exist, and leave none out."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest

from streaming_app.metrics.catalogue import CATALOGUE
from tests.prometheus_server import PROMTOOL

MONITORING = Path(__file__).resolve().parents[2] / "deploy" / "monitoring"
FILES = sorted((MONITORING / "grafana").glob("*.json"))
RUNBOOK = (MONITORING.parents[1] / "docs" / "runbook.md").read_text()


def panels(file: Path) -> list[dict]:
    return [panel for panel in json.loads(file.read_text())["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    return [target["expr"] for file in FILES for panel in panels(file) for target in panel["targets"]]


def test_the_files_are_what_the_code_makes():
    pytest.importorskip("grafana_foundation_sdk", reason="a development dependency; `make setup` installs it")
    specification = importlib.util.spec_from_file_location("dashboards", MONITORING / "dashboards.py")
    module = importlib.util.module_from_spec(specification)
    before = list(sys.path)
    try:
        specification.loader.exec_module(module)
    finally:
        sys.path[:] = before
    made = {f"{board.uid}.json": module.made(board) for board in module.BOARDS}
    assert {file.name: file.read_text() for file in FILES} == made, "run: make dashboards"


def test_every_metric_is_on_a_dashboard_and_no_other_is_asked_for():
    asked = {
        re.sub(r"_(bucket|sum|count)$", "", name) for text in expressions() for name in re.findall(r"qsr_\w+", text)
    }
    assert asked == {metric.name for metric in CATALOGUE}


def test_every_question_is_about_the_chosen_services():
    for text in expressions():
        assert text.count('instance=~"$instance"') == len(re.findall(r"qsr_\w+", text)), text


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_panels_lie_side_by_side(file):
    document = json.loads(file.read_text())
    places = [panel["gridPos"] for panel in document["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below, (one, other)
    assert len({panel["id"] for panel in document["panels"]}) == len(places)
    assert document["uid"] == file.stem


def test_texts_point_to_paragraphs_of_the_runbook():
    headings = {line[3:].lower() for line in RUNBOOK.splitlines() if line.startswith("## ")}
    named = {
        name
        for file in FILES
        for panel in panels(file)
        for name in re.findall(r"runbook\.md#(\w+)", panel["description"])
    }
    assert named
    assert named <= headings


@PROMTOOL
def test_prometheus_understands_every_question(tmp_path):
    rules = [{"record": f"panel{number}", "expr": concrete(text)} for number, text in enumerate(expressions())]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    made = subprocess.run(
        ["promtool", "check", "rules", str(tmp_path / "rules.yml")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr


def concrete(text: str) -> str:
    """As Grafana asks."""
    return text.replace("$instance", ".*").replace("$__rate_interval", "1m")
