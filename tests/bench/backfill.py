"""What a backfill costs: `python -m tests.bench.backfill [ROWS] [FOLDER]`, by default 500,000 events in 20 gzip files of no delimiter.

Each command in a process of its own, Spark's start included; one line of JSON each. `killed` is `kill -9` with 6 files read, and what
the next run then took; at the end the audit has to find no difference.
"""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
FILES, READ = 20, 6


def packed(rows: int, folder: Path) -> list[Path]:
    """The bench's events as Firehose's copy has them."""
    made = folder / "data"
    subprocess.run(
        [sys.executable, "-m", "tests.bench.generate", "--rows", str(rows), "--files", str(FILES), "--out", str(made)],
        cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    files = sorted((made / "ndjson").iterdir())
    target = folder / "copy/2026/03/01"
    target.mkdir(parents=True)
    for file in files:
        (target / f"{file.stem}.json.gz").write_bytes(gzip.compress(file.read_bytes().replace(b"\n", b""), 1))
    return sorted(target.iterdir())


def command(lake: Path, *arguments: str) -> list[str]:
    settings = {"lake.root": str(lake), "lake.checkpoints": f"{lake}/checkpoints", "sources.kinesis.enabled": "false"}
    overrides = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return [sys.executable, "-m", "batch_app", *arguments, "--config", "conf/local.yaml", *overrides]


def measured(what: str, lake: Path, *arguments: str) -> None:
    begun = time.monotonic()
    done = subprocess.run(command(lake, *arguments, "--json"), cwd=REPOSITORY, check=True, capture_output=True)
    report = json.loads(done.stdout)
    counts = {key: report[key] for key in ("files", "already", "finished", "read", "clean", "dead", "duplicates")}
    print(json.dumps({"what": what, "seconds": round(time.monotonic() - begun, 1), **counts}), flush=True)  # noqa: T201 - the result


def killed(lake: Path, copy: Path) -> int:
    """A run that dies with some files read; returns how many."""
    live = lake / "checkpoints/backfill_stream/read_log/live"
    child = subprocess.Popen(
        command(lake, "backfill", str(copy)), cwd=REPOSITORY, start_new_session=True, stderr=subprocess.DEVNULL
    )
    while (read := len(list(live.glob("*-u-*")))) < READ and child.poll() is None:
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    return read


def main(rows: int, folder: Path) -> None:
    files = packed(rows, folder)
    copy, lake = folder / "copy", folder / "lake"
    measured("backfill", lake, "backfill", str(copy))
    measured("the same files again", lake, "backfill", str(copy))
    again = folder / "again"
    again.mkdir()
    for file in files:
        (again / file.name).hardlink_to(file)
    measured("under other names, --skip-existing", lake, "backfill", "--skip-existing", str(again))
    second = folder / "lake-killed"
    read = killed(second, copy)
    measured(f"after kill -9 with {read} files read", second, "backfill", str(copy))
    for each in (lake, second):
        subprocess.run(command(each, "audit", "--settled"), cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 500_000, Path(sys.argv[2] if len(sys.argv) > 2 else "build/backfill")
    )
