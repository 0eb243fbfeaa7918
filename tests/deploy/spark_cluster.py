"""A standalone Spark cluster of processes: a master and two workers on this machine, on free ports, gone at the end."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.submitting import SPARK_HOME

_DEPLOY = "org.apache.spark.deploy"
_PATIENCE = 300  # seconds; a JVM on a busy machine


@dataclass(frozen=True)
class Cluster:
    """Its address, and the folder of each worker."""

    url: str
    workers: tuple[Path, ...]

    def executors(self) -> list[Path]:
        """Folders of the executors that ran, of all workers; the archive is unpacked in each."""
        return [folder for worker in self.workers for folder in worker.glob("app-*/*") if folder.is_dir()]


@contextmanager
def spark_cluster(folder: Path, environment: Mapping[str, str]) -> Iterator[Cluster]:
    """Two workers of one core each, whose processes have this environment and no other."""
    with ExitStack() as ending:
        log = folder / "master.log"
        ports = ("--host", "127.0.0.1", "--webui-port", "0")
        ending.enter_context(_daemon(f"{_DEPLOY}.master.Master", ["--port", "0", *ports], log, environment))
        url = _wait_for(log, r"Starting Spark master at (spark://\S+)")
        workers = tuple(folder / f"worker-{number}" for number in (1, 2))
        for place in workers:
            place.mkdir()
            arguments = [*ports, "--cores", "1", "--memory", "1g", "--work-dir", str(place), url]
            ending.enter_context(_daemon(f"{_DEPLOY}.worker.Worker", arguments, place.with_suffix(".log"), environment))
        for place in workers:
            _wait_for(place.with_suffix(".log"), r"(Successfully registered with master)")
        yield Cluster(url, workers)


@contextmanager
def _daemon(name: str, arguments: list[str], log: Path, environment: Mapping[str, str]) -> Iterator[None]:
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [SPARK_HOME / "bin" / "spark-class", name, *arguments],
            env=dict(environment),
            stdout=output,
            stderr=output,
            cwd=log.parent,
        ) as child,
    ):
        try:
            yield
        finally:
            child.terminate()


def _wait_for(log: Path, pattern: str) -> str:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        found = re.search(pattern, log.read_text(errors="replace"))
        if found:
            return found[1]
        time.sleep(0.2)
    raise AssertionError(f"{log.name} does not say {pattern}:\n{log.read_text()[-2000:]}")
