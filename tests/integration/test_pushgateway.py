"""A real Pushgateway keeps exactly the known figures, and hands them on as Prometheus reads them."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from streaming_app.config.models import PushgatewayConfig
from streaming_app.metrics.catalogue import CATALOGUE
from streaming_app.metrics.pushgateway import Pushgateway
from streaming_app.metrics.pushing import Pusher
from streaming_app.metrics.values import Values
from tests.metrics_lake import everything, new_recorder, run
from tests.tools import needs, program

NAMES = ("prometheus-pushgateway", "pushgateway")
pytestmark = needs(*NAMES, package="prometheus-pushgateway")


@contextmanager
def pushgateway(folder: Path, *more: str) -> Iterator[str]:
    """Its address; gone at the end."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with (folder / "log").open("wb") as log:
        command = [str(program(*NAMES)), f"--web.listen-address={address}", *more]
        with subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as child:
            try:
                _wait_for(f"http://{address}")
                yield f"http://{address}"
            finally:
                child.kill()


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            urllib.request.urlopen(f"{url}/-/ready", timeout=1).close()  # noqa: S310 - http
        except urllib.error.HTTPError:
            return  # it asks for a password
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


def served(url: str) -> dict[tuple[str, ...], float]:
    """What the gateway hands on, by name and labels in order of their names."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:  # noqa: S310 - http
        families = text_string_to_metric_families(answer.read().decode())
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in families
        for sample in family.samples
        if sample.labels.get("job") == "orders"
    }


@pytest.fixture
def recorder():
    return new_recorder()


def test_a_run_that_has_ended_has_left_its_figures(tmp_path, recorder):
    with pushgateway(tmp_path) as url:
        config = PushgatewayConfig(url=url, job="orders", instance="here")
        pusher = Pusher("the Pushgateway", 0.1, Pushgateway(recorder._values, config).send)
        run(recorder, 0, 1)
        time.sleep(0.5)
        run(recorder, 2)
        pusher.close()
        found = served(url)
        assert found["qsr_rows_read_total", "here", "orders", "kinesis"] == 30
        assert found["qsr_rejections_total", "here", "orders", "quantity_positive", "kinesis"] == 6
        assert found["qsr_batch_duration_seconds_count", "here", "orders", "kinesis"] == 3
        assert found["push_failure_time_seconds", "here", "orders"] == 0


def test_it_takes_every_metric_whatever_its_labels_say(tmp_path):
    values = Values()
    everything(values, 'a"b\\c\nd{}<script> \u202e')
    with pushgateway(tmp_path) as url:
        Pushgateway(values, PushgatewayConfig(url=url, job="orders", instance="a/b")).send()
        names = {key[0] for key in served(url)}
    assert {metric.name for metric in CATALOGUE if metric.kind != "histogram"} <= names
    assert "qsr_batch_duration_seconds_bucket" in names


def test_a_gateway_with_a_password_gets_it(tmp_path, recorder):
    users = {"qsr": "$2b$04$kq6k8f7fER41jbiY6vawN.rlFEweBd.tvPStqvKTORqYVaCy8uWEm"}  # bcrypt of the password below
    (tmp_path / "web.json").write_text(json.dumps({"basic_auth_users": users}))  # JSON is YAML
    with pushgateway(tmp_path, "--web.config.file=web.json") as url:
        right = {"user": "qsr", "password": "a password for tests"}
        Pushgateway(recorder._values, PushgatewayConfig(url=url, **right)).send()
        with pytest.raises(urllib.error.HTTPError, match="401"):
            Pushgateway(recorder._values, PushgatewayConfig(url=url, **{**right, "password": "another"})).send()


def test_nobody_waits_for_a_gateway_that_is_not_there(recorder):
    pusher = Pusher(
        "the Pushgateway", 0.01, Pushgateway(recorder._values, PushgatewayConfig(url="http://127.0.0.1:9")).send
    )
    begun = time.monotonic()
    run(recorder, 0, 1, 2)
    pusher.close(timeout=0.5)
    assert time.monotonic() - begun < 1.5
