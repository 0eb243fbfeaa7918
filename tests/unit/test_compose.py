"""The compose file's parts fit each other. No engine runs it here: what can be checked without one is."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from streaming_app.arguments import load_all
from streaming_app.errors import ConfigError
from tests.prometheus_server import PROMTOOL

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]


def mounts(service: str) -> dict[str, Path]:
    """Files of this repository by their place in the container."""
    parts = [volume.split(":") for volume in SERVICES[service]["volumes"]]
    assert all(mode == "ro" for _, _, mode in parts)
    return {target: (DEPLOY / source).resolve() for source, target, _ in parts}


def test_everything_that_is_mounted_is_there():
    assert all(place.exists() for service in ("prometheus", "grafana") for place in mounts(service).values())


def test_everything_that_is_copied_is_there():
    build = SERVICES["service"]["build"]
    for line in build["dockerfile_inline"].splitlines():
        if line.startswith("COPY "):
            *sources, _ = line.split()[1:]
            assert all((DEPLOY / build["context"] / source).exists() for source in sources), line


def test_nothing_is_open_to_other_machines():
    ports = [port for service in SERVICES.values() for port in service["ports"]]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_service_would_start_with_its_token_and_not_without(monkeypatch):
    for name, value in SERVICES["service"]["environment"].items():
        monkeypatch.setenv(name, re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value))
    config = load_all(str(DEPLOY.parent / "conf/local.yaml"), ())[0].config.metrics
    assert (config.host, config.port) == ("0.0.0.0", 9464)  # noqa: S104
    monkeypatch.setenv("QSR_METRICS_TOKEN", "")
    with pytest.raises(ConfigError, match="token"):
        load_all(str(DEPLOY.parent / "conf/local.yaml"), ())


def test_prometheus_has_the_same_token_and_finds_its_service():
    found = yaml.safe_load(mounts("prometheus")["/etc/prometheus/prometheus.yml"].read_text())
    (scrape,) = found["scrape_configs"]
    (config,) = SERVICES["prometheus"]["configs"]
    assert scrape["authorization"]["credentials_file"] == config["target"]
    assert COMPOSE["configs"][config["source"]]["content"] == SERVICES["service"]["environment"]["QSR_METRICS_TOKEN"]
    assert scrape["static_configs"] == [{"targets": ["service:9464"]}]
    assert scrape["job_name"] == "qsr-ingest"  # the alerts know it by this name
    assert f"/etc/prometheus/{found['rule_files'][0]}" in mounts("prometheus")


def test_grafana_finds_its_dashboards_and_prometheus():
    inside = mounts("grafana")
    provisioning = inside["/etc/grafana/provisioning"]
    (provider,) = yaml.safe_load((provisioning / "dashboards/qsr-ingest.yaml").read_text())["providers"]
    assert list(inside[provider["options"]["path"]].glob("*.json"))
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert source["isDefault"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (inside[str(Path(home).parent)] / Path(home).name).exists()


@PROMTOOL
@pytest.mark.parametrize("name", ["prometheus.yml", "prometheus.compose.yml"])
def test_prometheus_understands_its_configuration(name):
    command = ["promtool", "check", "config", "--syntax-only", str(DEPLOY / "monitoring" / name)]
    made = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
