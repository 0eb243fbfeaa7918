"""The suite's file while the service runs: a good change is offered once, a broken one refused and told of once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from streaming_app.arguments import load_all
from streaming_app.errors import Problem
from streaming_app.suite_watch import SuiteWatch
from tests.moto_server import CREDENTIALS, moto_server

CONF = Path(__file__).resolve().parents[2] / "conf"
SUITE = """
name: s
expectations:
  - {{type: expect_column_values_to_be_between, kwargs: {{column: amount, min_value: {least}}}, severity: {severity}}}
"""


def text(least: object = 0, severity: str = "critical") -> str:
    return SUITE.format(least=least, severity=severity)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "orders.yaml").write_text((CONF / "datasets/orders.yaml").read_text())
    (tmp_path / "suite.yaml").write_text(text())
    (tmp_path / "conf.yaml").write_text(
        "dataset: orders.yaml\nsuite: suite.yaml\nlake: {root: lake}\nsources: {csv: {enabled: true}}\n"
    )
    return tmp_path


class Watched:
    def __init__(self, folder: Path, *overrides: str, **options) -> None:
        self.alerts: list = []
        self.file = folder / "suite.yaml"
        loaded, self.suite = load_all(str(folder / "conf.yaml"), overrides)
        self.watch = SuiteWatch(loaded, self.suite, 0.05, alert=self.alerts.append, settle=0.01, **options)

    def look(self, content: str | None = None):
        if content is not None:
            self.file.write_text(content)
        self.watch.look()
        return self.watch.take()


def test_changed_suite_is_offered_once(folder):
    watched = Watched(folder)
    assert watched.look() is None
    changed = watched.look(text(5))
    assert changed.rules[0].kwargs["min_value"] == 5
    assert watched.look() is None
    assert watched.look(text()).fingerprint == watched.suite.fingerprint
    assert not watched.alerts


def test_change_of_comments_changes_nothing(folder):
    watched = Watched(folder)
    assert watched.look("# hello\n" + text()) is None
    assert not watched.alerts


@pytest.mark.parametrize("broken", ["", "{", text('"0"'), text(severity="fatal"), None])
def test_broken_suite_is_refused_told_of_once_and_the_old_one_stays(folder, broken):
    watched = Watched(folder)
    if broken is None:
        watched.file.unlink()
    assert watched.look(broken) is None
    assert watched.look() is None
    (alert,) = watched.alerts
    assert "suite.yaml" in alert.text
    assert f"The suite {watched.suite.fingerprint} stays in force." in alert.text
    assert watched.look(text(7)) is not None


def test_suite_that_fails_a_further_check_is_refused(folder):
    watched = Watched(folder, check=lambda _: [Problem("suite.yaml", "examples[0]", "should fail x")])
    assert watched.look(text(5)) is None
    assert "suite.yaml: examples[0]: should fail x" in watched.alerts[0].text


def test_file_that_is_still_being_written_is_waited_for(folder, monkeypatch):
    watched = Watched(folder)
    watched.watch._settle = 0.2
    watched.file.write_text("name: s\n")
    import threading

    timer = threading.Timer(0.05, lambda: watched.file.write_text(text(3)))
    timer.start()
    assert watched.look().rules[0].kwargs["min_value"] == 3
    assert not watched.alerts


def test_thread_looks_by_itself(folder):
    watched = Watched(folder)
    watched.watch.start()
    try:
        watched.file.write_text(text(9))
        deadline = time.monotonic() + 5
        while (found := watched.watch.take()) is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert found.rules[0].kwargs["min_value"] == 9
    finally:
        watched.watch.stop()


def test_suite_on_s3(folder, monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with moto_server() as aws:
        s3 = aws.client("s3")
        s3.create_bucket(Bucket="rules-bucket")
        s3.put_object(Bucket="rules-bucket", Key="suites/orders.yaml", Body=text().encode())
        watched = Watched(
            folder,
            "suite=s3://rules-bucket/suites/orders.yaml",
            f"lake.s3.endpoint_url={aws.url}",
            "lake.s3.path_style=true",
            "lake.s3.region=us-east-1",
        )
        assert watched.look() is None
        s3.put_object(Bucket="rules-bucket", Key="suites/orders.yaml", Body=text(4).encode())
        assert watched.look().rules[0].kwargs["min_value"] == 4
        s3.delete_object(Bucket="rules-bucket", Key="suites/orders.yaml")
        assert watched.look() is None
        assert "s3://rules-bucket/suites/orders.yaml: cannot be read: there is no such object" in watched.alerts[0].text
