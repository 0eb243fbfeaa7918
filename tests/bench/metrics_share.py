"""What share of a service's CPU its metrics take, counted from inside: `python -m tests.bench.metrics_share`.

The real service reads 500,000 CSV rows in micro-batches of 12,500 as fast as it can, is scraped every five seconds, and its live page is
refreshed every two. What the metrics spend is counted thread by thread (metered_service.py) and divided by the CPU time of the
whole process tree. Other programs on the machine change both numbers alike, which a comparison of two runs cannot say: single
runs differ by more than what is looked for (metrics_overhead.py).
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench.generate import generated
from tests.bench.measure import run
from tests.bench.metrics_overhead import FILES, ROWS, TIMEOUT, Audience, say
from tests.bench.run import WORK, service

ROUNDS = 3


def metered(command: Sequence[str], spent: Path) -> list[str]:
    """The service's command line with its counting twin in front."""
    module = command.index("streaming_app")
    return [*command[:module], "tests.bench.metered_service", str(spent), *command[module + 1 :]]


def once(data: Path, name: str) -> tuple[float, float, dict[str, float]]:
    """CPU and wall seconds of a run, and the CPU seconds of its metrics by part."""
    lake, log, spent = WORK / f"share-{name}", WORK / f"share-{name}.log", WORK / f"share-{name}.json"
    shutil.rmtree(lake, ignore_errors=True)
    log.unlink(missing_ok=True)
    settings = (
        "sources.csv.enabled=true",
        f"sources.csv.path={data / 'csv'}",
        "sources.csv.max_files_per_batch=1",
        "metrics.enabled=true",
    )
    audience = Audience(log)
    usage = run(metered(service(lake, *settings, more=("--available-now",)), spent), log, TIMEOUT)
    audience.stop()
    assert usage.exit_code == 0, log
    parts: dict[str, float] = json.loads(spent.read_text())
    own = sum(parts.values())
    say(
        f"{name}: {own:.2f} s of {usage.cpu_seconds:.1f} s of CPU, {own / usage.cpu_seconds:.2%}; {usage.wall_seconds:.1f} s by the"
        f" clock, {audience.looks} looks"
    )
    return usage.cpu_seconds, usage.wall_seconds, parts


def main() -> None:
    WORK.mkdir(parents=True, exist_ok=True)
    data = WORK / "overhead-data"
    generated(data, ROWS, FILES)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    found = [once(data, str(number)) for number in range(rounds)]
    say(f"median {statistics.median(sum(parts.values()) / cpu for cpu, _, parts in found):.2%} of the CPU")
    last = found[-1][2]
    for part, seconds in sorted(last.items(), key=lambda item: -item[1]):
        say(f"  {seconds * 1000:7.1f} ms  {part}")


if __name__ == "__main__":
    main()
