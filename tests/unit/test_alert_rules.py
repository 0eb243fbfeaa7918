"""Prometheus's alert rules: on metrics that exist, each in the runbook, each shown firing and silent by promtool."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from streaming_app.metrics.catalogue import CATALOGUE
from tests.prometheus_server import PROMTOOL

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "deploy" / "monitoring"
RULES = [rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
TESTS = yaml.safe_load((FOLDER / "alerts.test.yml").read_text())["tests"]
RUNBOOK = (REPOSITORY / "docs" / "runbook.md").read_text()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_looks_at_metrics_and_labels_that_exist(rule):
    known = {metric.name: metric for metric in CATALOGUE}
    used = re.findall(r"(qsr_\w+)(?:\{(\w+)=)?", rule["expr"])
    assert used or rule["expr"].startswith("up{")
    for name, label in used:
        assert name in known
        assert not label or label in known[name].labels


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_has_its_paragraph_in_the_runbook(rule):
    assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"
    assert f"\n## {rule['alert']}\n" in RUNBOOK
    assert rule["labels"]["severity"] in {"page", "ticket"}


def test_cloudwatch_has_an_alarm_for_each_alert_and_no_other():
    """By name and severity; what the alarms say is held by tests/deploy/test_terraform.py."""
    text = (REPOSITORY / "deploy/terraform/modules/alerts/alarms.tf").read_text()
    alarms = dict(re.findall(r'name += "(Ingest\w+)".*?severity += "(\w+)"', text, re.DOTALL))
    alarms["IngestDown"] = "page"  # a resource of its own
    assert 'alarm_name          = "${var.name}-IngestDown"' in text
    assert alarms == {rule["alert"]: rule["labels"]["severity"] for rule in RULES}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_is_shown_firing_and_silent(rule):
    cases = [case for test in TESTS for case in test["alert_rule_test"] if case["alertname"] == rule["alert"]]
    assert {bool(case["exp_alerts"]) for case in cases} == {True, False}


@PROMTOOL
@pytest.mark.parametrize("command", [["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]])
def test_promtool_agrees(command):
    done = subprocess.run(["promtool", *command], cwd=FOLDER, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
