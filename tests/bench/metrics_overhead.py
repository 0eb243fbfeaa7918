"""The whole service with all of its metrics and without any: CPU of the process tree. `python -m tests.bench.metrics_overhead`.

With them it is scraped every five seconds and its live page is refreshed every two; 500,000 CSV rows
in micro-batches of 12,500, as fast as they go. Runs alternate, since the machine's mood changes; what is compared is CPU time,
which other programs disturb less than the clock.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import threading
import urllib.request
from contextlib import suppress
from pathlib import Path

from tests.bench.generate import generated
from tests.bench.measure import run
from tests.bench.run import WORK, service

ROWS, FILES, ROUNDS, TIMEOUT = 500_000, 40, 3, 600.0


class Audience:
    """Looks at a service as soon as its log names the address, until it is told to stop."""

    def __init__(self, log: Path) -> None:
        self._log, self._ended, self.looks = log, threading.Event(), 0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        seconds = 0
        while not self._ended.wait(1):
            address, seconds = self._address(), seconds + 1
            due = [path for path, every in (("/metrics", 5), ("/api/live", 2)) if address and not seconds % every]
            for path in due:
                with suppress(OSError), urllib.request.urlopen(address + path, timeout=5) as answer:  # noqa: S310 - http
                    answer.read()
            self.looks += len(due)

    def _address(self) -> str:
        for line in self._log.read_text(errors="replace").splitlines() if self._log.exists() else ():
            with suppress(ValueError):
                found = json.loads(line)
                if isinstance(found, dict) and found.get("message") == "metrics":
                    return str(found["url"]).removesuffix("/metrics")
        return ""


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def once(data: Path, name: str, *, metrics: bool) -> float:
    """CPU seconds of one run."""
    lake, log = WORK / f"overhead-{name}", WORK / f"overhead-{name}.log"
    shutil.rmtree(lake, ignore_errors=True)
    log.unlink(missing_ok=True)
    settings = (
        f"metrics.enabled={str(metrics).lower()}",
        "sources.csv.enabled=true",
        f"sources.csv.path={data / 'csv'}",
        "sources.csv.max_files_per_batch=1",
    )
    audience = Audience(log) if metrics else None
    usage = run(service(lake, *settings, more=("--available-now",)), log, TIMEOUT)
    if audience:
        audience.stop()
    assert usage.exit_code == 0, log
    looks = audience.looks if audience else 0
    say(f"{name}: {usage.cpu_seconds:.1f} s of CPU, {usage.wall_seconds:.1f} s by the clock, {looks} looks")
    return usage.cpu_seconds


def main() -> None:
    WORK.mkdir(parents=True, exist_ok=True)
    data = WORK / "overhead-data"
    generated(data, ROWS, FILES)
    found: dict[bool, list[float]] = {False: [], True: []}
    for number in range(ROUNDS):
        for metrics in (False, True) if number % 2 else (True, False):
            found[metrics].append(once(data, f"{'with' if metrics else 'without'}-{number}", metrics=metrics))
    without, with_them = (statistics.median(found[metrics]) for metrics in (False, True))
    say(f"median {without:.1f} s without, {with_them:.1f} s with: {with_them / without - 1:+.1%}")


if __name__ == "__main__":
    main()
