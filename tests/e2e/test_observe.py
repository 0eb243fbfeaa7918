"""`make observe` as people meet it: the demo runs, its page is there, and Prometheus scrapes it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress

import pytest

from tests.fault.rig import REPOSITORY
from tests.prometheus_server import PROMETHEUS, Prometheus

pytestmark = [pytest.mark.spark, pytest.mark.drill, pytest.mark.timeout(600)]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def until(what, child: subprocess.Popen[bytes], log, timeout: float = 400) -> None:
    deadline = time.monotonic() + timeout
    while not what():
        assert child.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def page(port: int) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
        return answer.status == 200
    return False


@PROMETHEUS
def test_the_demo_is_watched_and_leaves_nothing_behind(tmp_path):
    metrics, port = free_port(), free_port()
    more = {"PYTHON": sys.executable, "QSR_METRICS_PORT": str(metrics), "PROMETHEUS_PORT": str(port)}
    command = ["bash", "deploy/monitoring/observe.sh", "--seconds", "3600", "--lake", str(tmp_path / "lake")]
    log = tmp_path / "log"
    prometheus = Prometheus(f"http://127.0.0.1:{port}")
    with log.open("wb") as out, subprocess.Popen(
        command, cwd=REPOSITORY, env={**os.environ, **more}, stdout=out, stderr=out, start_new_session=True
    ) as child:  # fmt: skip
        try:
            until(lambda: page(metrics), child, log)
            until(lambda: sum(prometheus.query("qsr_rows_read_total").values()) > 0, child, log)
            assert f"http://127.0.0.1:{metrics}/" in log.read_text()
            os.killpg(child.pid, signal.SIGINT)
            child.wait(200)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
    assert prometheus.query("up") == {}


@pytest.mark.parametrize(
    "name",
    [
        "QSR_METRICS_PORT",
        pytest.param("PROMETHEUS_PORT", marks=PROMETHEUS),
    ],
)
def test_a_port_that_is_taken_is_named_before_anything_starts(name):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = {"QSR_METRICS_PORT": str(free_port()), "PROMETHEUS_PORT": str(free_port())}
        ports[name] = str(taken.getsockname()[1])
        done = subprocess.run(
            ["bash", "deploy/monitoring/observe.sh"],
            cwd=REPOSITORY,
            env={**os.environ, **ports, "PYTHON": "false"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 2
    assert f"port {ports[name]} is taken by another program: set {name} to a free one" in done.stderr
