"""A real Prometheus with the shipped alert rules, scraping one service; only where it is installed (Debian: prometheus)."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.tools import REQUIRED, needs, program

INSTALLED = REQUIRED or program("prometheus") is not None
PROMETHEUS = needs("prometheus", package="prometheus")
PROMTOOL = needs("promtool", package="prometheus")
RULES = Path(__file__).resolve().parents[1] / "deploy" / "monitoring" / "alerts.yml"


class Prometheus:
    """Answers queries at `url`."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expression: str) -> dict[tuple[str, ...], float]:
        """Values of now by name and labels (in order of the labels' names, without job and instance); empty until it is up."""
        address = f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310 - http
                found = json.load(answer)["data"]["result"]
        except OSError:
            return {}
        return {_key(each["metric"]): float(each["value"][1]) for each in found}


def _key(labels: dict[str, str]) -> tuple[str, ...]:
    names = sorted(labels.keys() - {"__name__", "job", "instance"})
    return (labels.get("__name__", ""), *(labels[name] for name in names))


@contextmanager
def prometheus_server(
    folder: Path, target: str, rules: Path = RULES, *, program: str = "prometheus", more: tuple[str, ...] = ()
) -> Iterator[Prometheus]:
    """Scrapes `target` (host:port) every second, on a free port, with `more` arguments; gone at the end."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    folder.mkdir()
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": "qsr-ingest", "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(configuration))  # JSON is YAML
    command = [
        program,
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        f"--web.listen-address={address}",
        *more,
    ]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as child:
        try:
            yield Prometheus(f"http://{address}")
        finally:
            child.kill()
