"""The service in a child process that is killed and started again, with inputs that never rest and a known truth."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq

from streaming_app.producer import events, sample_rows
from streaming_app.storage import StorageOptions, open_storage
from tests.moto_server import CREDENTIALS
from tests.strict_kinesis import StrictKinesis

REPOSITORY = Path(__file__).resolve().parents[2]
HOOKS = Path(__file__).parent / "hooks"
STREAM = "pos-orders"
# Spark's own checkpoint on S3, too: `make s3a-jars`, which `make test-lake` calls.
CHECKPOINTS_ON_S3 = {
    "lake.checkpoints": "",
    "spark.conf.spark.driver.extraClassPath": f"{REPOSITORY}/build/s3a/*",
}


@dataclass
class Rig:
    """One lake, one stream, one raw folder. `s3_endpoint` puts lake and raw on S3 (checkpoints stay local)."""

    folder: Path
    kinesis: StrictKinesis
    lake: str = ""
    s3_endpoint: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    csv_positions: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lake = self.lake or str(self.folder / "lake")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = self.folder / "service.log"
        options = StorageOptions(endpoint_url=self.s3_endpoint, region="us-east-1", path_style=True)
        self.storage = open_storage(self.lake, options)

    # Inputs.

    def feed(self, *, rate: float = 200.0, csv_every: float = 3.0, seed: int = 1) -> None:
        """Begin to put events and drop files, until `rest`."""
        self._stop.clear()
        self._threads = [
            threading.Thread(target=self._put_events, args=(rate, seed), daemon=True),
            threading.Thread(target=self._drop_files, args=(csv_every, seed), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def rest(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _put_events(self, rate: float, seed: int) -> None:
        made = events(seed, start=datetime.now(UTC))
        while not self._stop.wait(0.1):
            batch = [next(made) for _ in range(max(1, int(rate / 10)))]
            self.kinesis.put(STREAM, [event.payload for event in batch])

    def _drop_files(self, every: float, seed: int) -> None:
        number = 0
        while not self._stop.wait(every):
            self.drop_file(f"orders-{seed}-{number}.csv", seed=seed * 1000 + number)
            number += 1

    def drop_file(self, name: str, *, seed: int, rows: int = 200) -> None:
        """One upload with every kind of fault in it, whole at once."""
        from streaming_app.producer.samples import _write

        local = self.folder / "upload.tmp"
        _write(local, sample_rows(seed, rows, faults=True))
        self.storage.put(f"raw/{name}", local.read_bytes())
        self.csv_positions += [f"{name}#{row}" for row in range(1, rows + 1)]

    # The service.

    def start(self, *more: str, fault: str = "", **variables: str) -> subprocess.Popen[bytes]:
        """The service in a process group of its own, with these variables in its environment."""
        environment = {
            **os.environ,
            **CREDENTIALS,
            "QSR_FAULT": fault,
            "QSR_FAULT_MARKER": str(self.marker),
            **variables,
        }
        environment["PYTHONPATH"] = os.pathsep.join([str(HOOKS), str(REPOSITORY)])
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "streaming_app", "run", "--config", "conf/local.yaml", *self.overrides, *more],
                cwd=REPOSITORY,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def overrides(self) -> list[str]:
        """How the configuration differs from conf/local.yaml."""
        settings = {
            "lake.root": self.lake,
            "lake.checkpoints": str(self.folder / "checkpoints"),
            "sources.kinesis.stream": STREAM,
            "sources.kinesis.endpoint_url": self.kinesis.url,
            "sources.kinesis.region": "us-east-1",
            "sources.csv.settle": "100ms",
            "service.restart_backoff": "200ms",
            "logging.format": "json",
            **self.settings,
        }
        if self.s3_endpoint:
            settings |= {
                "lake.s3.endpoint_url": self.s3_endpoint,
                "lake.s3.path_style": "true",
                "lake.s3.region": "us-east-1",
            }
        return [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]

    @property
    def marker(self) -> Path:
        """Exists once the fault was reached."""
        return self.folder / "fault-reached"

    def kill(self, service: subprocess.Popen[bytes]) -> None:
        """The machine loses power: every process of the service at once, without a word."""
        with suppress(ProcessLookupError):
            os.killpg(service.pid, signal.SIGKILL)
        service.wait()

    def run_to_the_end(self, timeout: float = 240) -> None:
        """Let the service read everything there is and stop by itself."""
        service = self.start("--available-now")
        try:
            code = service.wait(timeout)
        finally:
            self.kill(service)
        assert code == 0, f"exit {code}\n{self.tail()}"

    def committed(self) -> int:
        """Rows in the ledgers so far."""
        return sum(line.get("read", 0) for line in self.lines() if line.get("message") == "committed")

    def lines(self) -> list[dict]:
        found = []
        for text in self.log.read_text(errors="replace").splitlines() if self.log.exists() else []:
            with suppress(ValueError):
                found.append(json.loads(text))
        return [line for line in found if isinstance(line, dict)]

    def wait_for(self, what, timeout: float = 120) -> None:
        """Until `what()` is true; the service's log goes into the failure."""
        deadline = time.monotonic() + timeout
        while not what():
            assert time.monotonic() < deadline, self.tail()
            time.sleep(0.05)

    def tail(self, lines: int = 60) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    # The truth.

    def check(self) -> None:
        """Every position sent is visible exactly once, nothing else is, and the audit agrees."""
        seen = Counter(self.positions())
        sent = Counter([*self.kinesis.records(STREAM), *self.csv_positions])
        assert not sent - seen, f"lost {len(sent - seen)}, first {sorted(sent - seen)[:3]}"
        assert not seen - sent, f"too many {len(seen - sent)}, first {sorted((seen - sent).items())[:3]}"
        self.batch("audit")

    def batch(self, *command: str, option: str = "--set", timeout: float = 240) -> str:
        """What a command of batch_app prints; it has to succeed. `option` overrides a setting of the configuration."""
        overrides = [option if part == "--set" else part for part in self.overrides]
        done = subprocess.run(
            [sys.executable, "-m", "batch_app", *command, "--config", "conf/local.yaml", *overrides],
            cwd=REPOSITORY,
            env={**os.environ, **CREDENTIALS},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def positions(self) -> list[str]:
        """What a reader of the lake sees."""
        found: list[str] = []
        for table in ("clean", "dead_letter"):
            for item in self.storage.list(table):
                if item.key.endswith(".parquet"):
                    with self.storage.open(item.key) as file:
                        content = pq.read_table(_seekable(file), columns=["source_position"])
                    found += content["source_position"].to_pylist()
        return found


def _seekable(file):
    import io

    return io.BytesIO(file.read())


def random_times(seed: int, count: int, least: float, most: float) -> list[float]:
    """When to kill, in seconds after the start."""
    source = random.Random(seed)
    return [source.uniform(least, most) for _ in range(count)]
