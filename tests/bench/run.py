"""`make bench`: our service against the usual job, Kinesis at full speed, and how fresh rows are.

    python -m tests.bench.run [--rows N] [--only CASE] [--quick] [--rounds N]

Every case runs in a child process and is measured whole: start-up of Python and the JVM included. `steady` is rows per
second between the first and the last committed micro-batch. A figure counts only when the output equals the generator's
manifest; a case whose output differs is shown as WRONG and the command ends with 1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import yaml
from rich.console import Console
from rich.table import Table

from streaming_app.journal.ledger import Ledger
from streaming_app.storage import open_storage
from tests.bench import freshness, verify
from tests.bench.generate import generated
from tests.bench.measure import Measured, Usage, run

BUILD: Final = Path("build")
WORK: Final = BUILD / "bench"
DATA: Final = BUILD / "bench-data"
CONFIG: Final = "conf/bench.yaml"
FILES: Final = 20
FILES_PER_BATCH: Final = 4
SHARDS: Final = 4
TIMEOUT: Final = 1800  # seconds
FRESH_RATE: Final = 4000  # records a second
FRESH_SHARDS: Final = 2
SHARD_RATE: Final = 1000  # records a second that a shard takes at most (AWS service quotas)
WARM_UP: Final = 10  # seconds of arrivals that do not count: the first micro-batch loads classes and starts workers
SLOWEST_START: Final = 300  # seconds that a busy machine may take until all rows are visible
GIB: Final = 1 << 30
_COLUMNS: Final = (
    "whole rows/s",
    "steady rows/s",
    "wall s",
    "CPU s",
    "peak RSS GiB",
    "peak PSS GiB",
    "files",
    "output",
)


@dataclass(frozen=True)
class Batches:
    """Rows after the first micro-batch, and the seconds they took; zero when there was only one."""

    rows: int = 0
    seconds: float = 0.0

    @property
    def per_second(self) -> float | None:
        """Steady rows per second."""
        return self.rows / self.seconds if self.seconds else None


@dataclass
class Result:
    """One measured case."""

    case: str
    rows: int
    usage: Usage
    steady: Batches
    files: int
    wrong: list[str]
    load_before: float
    extra: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object; rates are rows per second, times seconds, memory GiB."""
        return {
            "case": self.case,
            "rows": self.rows,
            "whole_rows_per_second": round(self.rows / self.usage.wall_seconds),
            "steady_rows_per_second": round(self.steady.per_second) if self.steady.per_second else None,
            "wall_seconds": round(self.usage.wall_seconds, 2),
            "cpu_seconds": round(self.usage.cpu_seconds, 2),
            "peak_rss_gib": round(self.usage.peak_rss / GIB, 2),
            "peak_pss_gib": round(self.usage.peak_pss / GIB, 2),
            "files": self.files,
            "cpu_by_program": self.usage.cpu_by_program,
            "load_before": self.load_before,
            "wrong": self.wrong,
            **self.extra,
        }


@dataclass(frozen=True)
class Bench:
    """What to run: the input with its manifest, and how often and how long."""

    data: Path
    manifest: dict[str, Any]
    rounds: int
    fresh_seconds: int
    shards: int  # of the case that writes each at its limit


def service(lake: Path, *settings: str, more: tuple[str, ...] = ()) -> list[str]:
    """The command line of our service."""
    sets = [argument for setting in (f"lake.root={lake}", *settings) for argument in ("--set", setting)]
    return [sys.executable, "-m", "streaming_app", "run", "--config", CONFIG, *more, *sets]


def ledger_batches(lake: Path, source: str) -> Batches:
    """Our micro-batches, from the ledger."""
    entries = list(Ledger(open_storage(str(lake / "checkpoints" / source))).entries())
    if len(entries) < 2:
        return Batches()
    return Batches(sum(entry.counts.read for entry in entries[1:]), entries[-1].committed_at - entries[0].committed_at)


def printed_batches(log: Path, rows: int) -> Batches:
    """The usual job's micro-batches, all of the same size, from what it printed."""
    lines = log.read_text(errors="replace").splitlines()
    ended = [json.loads(line)["at"] for line in lines if line.startswith('{"batch"')]
    return Batches(rows * (len(ended) - 1) // len(ended), ended[-1] - ended[0]) if len(ended) > 1 else Batches()


def fresh_folder(case: str) -> Path:
    """An empty folder for a case's lake."""
    folder = WORK / case
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@dataclass(frozen=True)
class Run:
    """A case whose process has ended: what it should have written, where, and what it used."""

    case: str
    lake: Path
    manifest: dict[str, Any]
    usage: Usage
    load_before: float

    def checked(self, steady: Callable[[], Batches], **extra: Any) -> Result:
        """Compare the output with the manifest; only then are micro-batches looked at."""
        failed = f"exit code {self.usage.exit_code}, see {_log(self.case)}"
        wrong = [failed] if self.usage.exit_code else verify.differences(self.lake, self.manifest)
        return Result(
            case=self.case,
            rows=self.manifest["rows"],
            usage=self.usage,
            steady=Batches() if wrong else steady(),
            files=verify.count_files(self.lake),
            wrong=wrong,
            load_before=round(self.load_before, 1),
            extra=extra,
        )


def _log(case: str) -> Path:
    return WORK / f"{case}.log"


def plain() -> tuple[str, ...]:
    """Settings that look for no duplicates, as the usual job does not; everything else is as shipped."""
    dataset = yaml.safe_load((Path(CONFIG).parent / "datasets/orders.yaml").read_text())
    del dataset["deduplicate"]
    file = WORK.absolute() / "orders-plain.yaml"
    file.write_text(yaml.safe_dump(dataset))
    return (f"dataset={file}",)


def csv_ours(bench: Bench, number: int, *, deduplicate: bool = True) -> Result:
    """Our service reads all CSV files and stops."""
    case = f"csv-ours{'' if deduplicate else '-plain'}-{number}"
    lake, load = fresh_folder(case), os.getloadavg()[0]
    settings = (
        "sources.csv.enabled=true",
        f"sources.csv.path={bench.data / 'csv'}",
        f"sources.csv.max_files_per_batch={FILES_PER_BATCH}",
        *(() if deduplicate else plain()),
    )
    usage = run(service(lake, *settings, more=("--available-now",)), _log(case), TIMEOUT)
    return Run(case, lake, bench.manifest, usage, load).checked(lambda: ledger_batches(lake, "csv"))


def csv_usual(bench: Bench, number: int, *, persist: bool) -> Result:
    """The usual job reads the same files in the same micro-batches."""
    case = f"csv-usual{'-persist' if persist else ''}-{number}"
    lake, load = fresh_folder(case), os.getloadavg()[0]
    command = [sys.executable, "-m", "tests.bench.usual_job", "--input", str(bench.data / "csv"), "--out", str(lake)]
    command += ["--files-per-batch", str(FILES_PER_BATCH), *(["--persist"] if persist else [])]
    usage = run(command, _log(case), TIMEOUT)
    finished = Run(case, lake, bench.manifest, usage, load)
    return finished.checked(lambda: printed_batches(_log(case), bench.manifest["rows"]))


@contextmanager
def emulator(data: Path, shards: int, *more: str) -> Iterator[str]:
    """The address of an emulator that serves the data; it ends with the block."""
    command = [
        sys.executable,
        "-m",
        "tests.bench.emulator",
        "--data",
        str(data / "ndjson"),
        "--shards",
        str(shards),
        *more,
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            port = child.stdout.readline().removeprefix("ready").strip()
            if not port:
                raise SystemExit("the emulator did not start; its message is above")
            yield f"http://127.0.0.1:{port}"
        finally:
            child.kill()


def kinesis_settings(endpoint: str) -> tuple[str, ...]:
    """Settings for the emulator, which takes any credentials."""
    os.environ.update(
        {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_EC2_METADATA_DISABLED": "true"}
    )
    return ("sources.kinesis.enabled=true", f"sources.kinesis.endpoint_url={endpoint}")


def kinesis_full_speed(bench: Bench, number: int, *, deduplicate: bool = True) -> Result:
    """Our service reads all there is in the stream and stops."""
    case = f"kinesis-ours{'' if deduplicate else '-plain'}-{number}"
    more = () if deduplicate else plain()
    with emulator(bench.data, SHARDS) as endpoint:
        lake, load = fresh_folder(case), os.getloadavg()[0]
        command = service(lake, *kinesis_settings(endpoint), *more, more=("--available-now",))
        usage = run(command, _log(case), TIMEOUT)
        served = freshness.fetch(f"{endpoint}/stats")
    extra = {"emulator_cpu_seconds": round(served["cpu_seconds"], 2), "get_records_calls": served["calls"]}
    return Run(case, lake, bench.manifest, usage, load).checked(lambda: ledger_batches(lake, "kinesis"), **extra)


@dataclass(frozen=True)
class Arriving:
    """Records arrive at so many a second over so many shards; `more` are options of the emulator."""

    rate: int
    shards: int
    more: tuple[str, ...] = ()


def kinesis_freshness(bench: Bench, number: int) -> Result:
    """Records arrive at a steady rate while the service runs at a 1 s trigger."""
    return _arriving(bench, f"freshness-ours-{number}", Arriving(FRESH_RATE, FRESH_SHARDS))


def kinesis_busy_shards(bench: Bench, number: int) -> Result:
    """Every shard is written to at its limit and read within its limits: the service keeps up when rows do not get older."""
    return _arriving(bench, f"shards-ours-{number}", Arriving(SHARD_RATE * bench.shards, bench.shards, ("--limits",)))


def _arriving(bench: Bench, case: str, arriving: Arriving) -> Result:
    """The service runs at a 1 s trigger and is stopped when all rows are visible; their ages, and those of the later half."""
    rows = arriving.rate * (WARM_UP + bench.fresh_seconds)
    data = DATA / f"fresh-{rows}"
    manifest = generated(data, rows, 1)
    with emulator(data, arriving.shards, "--feed", str(arriving.rate), *arriving.more) as endpoint:
        lake, load = fresh_folder(case), os.getloadavg()[0]
        watcher = freshness.LakeWatcher(lake)
        watcher.start()
        measured = Measured(service(lake, *kinesis_settings(endpoint), "service.trigger=1s"), _log(case))
        try:
            _until_all_visible(measured, lake, rows, arriving.rate)
        finally:
            measured.stop()
            usage = measured.wait(120)
        watcher.stop()
        served = freshness.fetch(f"{endpoint}/stats")
        arrivals = freshness.fetch_arrivals(endpoint, arriving.shards)
    result = Run(case, lake, manifest, usage, load).checked(lambda: ledger_batches(lake, "kinesis"))
    if not result.wrong:
        since = served["feed_started_ms"] / 1000 + WARM_UP
        later = since + bench.fresh_seconds / 2
        result.extra |= {
            "records_per_second": arriving.rate,
            "shards": arriving.shards,
            "emulator_cpu_seconds": round(served["cpu_seconds"], 2),
            "age_seconds": freshness.ages(watcher.seen, arrivals, since=since).to_json(),
            "age_seconds_later_half": freshness.ages(watcher.seen, arrivals, since=later).to_json(),
        }
    return result


def _until_all_visible(measured: Measured, lake: Path, rows: int, rate: int) -> None:
    """Wait until the ledger has counted all rows, or the service has ended."""
    deadline = time.monotonic() + rows / rate + SLOWEST_START
    ledger = Ledger(open_storage(str(lake / "checkpoints" / "kinesis")))
    while measured.running and time.monotonic() < deadline:
        time.sleep(2)
        if sum(entry.counts.read for entry in ledger.entries()) >= rows:
            return


CASES: Final[dict[str, Callable[[Bench, int], Result]]] = {
    "csv-ours": csv_ours,
    "csv-ours-plain": lambda bench, number: csv_ours(bench, number, deduplicate=False),
    "csv-usual": lambda bench, number: csv_usual(bench, number, persist=False),
    "csv-usual-persist": lambda bench, number: csv_usual(bench, number, persist=True),
    "kinesis-ours": kinesis_full_speed,
    "kinesis-ours-plain": lambda bench, number: kinesis_full_speed(bench, number, deduplicate=False),
    "freshness-ours": kinesis_freshness,
    "shards-ours": kinesis_busy_shards,
}


def table(results: list[Result]) -> Table:
    """The results for people."""
    shown = Table(title="whole: start-up included; steady: first to last committed micro-batch", title_justify="left")
    shown.add_column("case")
    for name in _COLUMNS:
        shown.add_column(name, justify="right")
    for result in results:
        value = result.to_json()
        steady = value["steady_rows_per_second"]
        shown.add_row(
            result.case,
            f"{value['whole_rows_per_second']:,}",
            f"{steady:,}" if steady else "-",
            f"{value['wall_seconds']:.1f}",
            f"{value['cpu_seconds']:.1f}",
            f"{value['peak_rss_gib']:.2f}",
            f"{value['peak_pss_gib']:.2f}",
            f"{result.files:,}",
            "WRONG" if result.wrong else "as expected",
        )
    return shown


def summary(results: list[Result]) -> list[str]:
    """The sentences that the goals are about; best round of each, the usual job in its better form."""
    right = [result for result in results if not result.wrong]
    lines = _against_usual(right, "csv-ours-plain", "neither looking for duplicates")
    lines += _against_usual([result for result in right if "-plain" not in result.case], "csv-ours", "ours as shipped")
    for result in right:
        if "age_seconds" in result.extra:
            ages, later = result.extra["age_seconds"], result.extra["age_seconds_later_half"]
            lines.append(
                f"event to queryable at {result.extra['records_per_second']:,} records/s over {result.extra['shards']} shards,"
                f" 1 s trigger: mean {ages['mean']:.2f} s, p95 {ages['p95']:.2f} s, max {ages['max']:.2f} s over"
                f" {ages['rows']:,} rows in {result.files} files; in the later half mean {later['mean']:.2f} s"
            )
    return lines + [f"{result.case}: {problem}" for result in results for problem in result.wrong]


def _against_usual(results: list[Result], case: str, how: str) -> list[str]:
    ours = [result.to_json() for result in results if result.case.startswith(case)]
    usual = [result.to_json() for result in results if result.case.startswith("csv-usual")]
    if not ours or not usual:
        return []
    names = {"whole process": "whole_rows_per_second", "steady": "steady_rows_per_second"}
    ratios = {said: _best(ours, name) / _best(usual, name) for said, name in names.items() if _best(usual, name)}
    cpu = min(one["cpu_seconds"] for one in usual) / min(one["cpu_seconds"] for one in ours)
    said = ", ".join(f"{ratio:.1f}x {name}" for name, ratio in ratios.items())
    return [f"CSV against the usual job, {how}: {said}, {cpu:.1f}x fewer CPU seconds"]


def _best(results: list[dict[str, Any]], name: str) -> float:
    return max((float(result[name] or 0) for result in results), default=0.0)


def about_machine() -> dict[str, Any]:
    """What the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    packages = {name: version(name) for name in ("pyspark", "pyarrow", "boto3")}
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "python": platform.python_version(),
        **packages,
    }


def _chosen(beginning: str) -> list[str]:
    names = [name for name in CASES if name.startswith(beginning)]
    if not names:
        raise argparse.ArgumentTypeError(f"no case begins with {beginning!r}; there are {', '.join(CASES)}")
    return names


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument(
        "--only", type=_chosen, action="extend", metavar="CASE", help=f"of {', '.join(CASES)}; a beginning will do"
    )
    parser.add_argument(
        "--quick", action="store_true", help="200,000 rows and 15 s of arrivals: does everything still work?"
    )
    parser.add_argument(
        "--shards", type=int, default=40, help="of the case shards-ours, 1,000 records a second each (default 40)"
    )
    parser.add_argument("--rounds", type=int, default=1, help="each case so often, in turn")
    parser.add_argument("--out", type=Path, default=BUILD / "bench.json")
    return parser.parse_args()


def main() -> int:
    """The command line; 1 when any output was not as expected."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended too
    console = Console(width=None if sys.stdout.isatty() else 140)
    rows = 200_000 if arguments.quick else arguments.rows
    data = DATA / f"rows-{rows}"
    WORK.mkdir(parents=True, exist_ok=True)
    console.print(f"input: {rows:,} rows in {data}")
    bench = Bench(data, generated(data, rows, FILES), arguments.rounds, 15 if arguments.quick else 60, arguments.shards)
    results = []
    for number in range(1, bench.rounds + 1):
        for name in arguments.only or CASES:
            results.append(CASES[name](bench, number))
            console.print(json.dumps(results[-1].to_json()), soft_wrap=True, highlight=False)
    lines = summary(results)
    console.print(table(results), *lines, sep="\n", soft_wrap=True)
    document = {"machine": about_machine(), "results": [result.to_json() for result in results], "summary": lines}
    arguments.out.write_text(json.dumps(document, indent=1))
    return 1 if any(result.wrong for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
