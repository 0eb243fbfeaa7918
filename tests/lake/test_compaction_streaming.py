"""The stream writes, compactions run one after the other, and readers count all the while: each row once, none that should be there missing.

With a catalog Trino and `query` count; without one `query` does, which knows the compactions' book. What a count may be comes from the
service's own ledgers, read before and after it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from batch_app.query.duckdb_engine import VanishedError, ask
from batch_app.query.run import _begun
from batch_app.query.tables import open_tables
from streaming_app.arguments import load_all
from streaming_app.journal.ledger import Ledger
from streaming_app.places import checkpoint_of
from streaming_app.storage import open_storage
from tests.fault.rig import REPOSITORY, STREAM, Rig
from tests.lake.running import catalog, command
from tests.strict_kinesis import strict_kinesis

pytestmark = [pytest.mark.lake, pytest.mark.timeout(1800)]
SOURCES = ("kinesis", "csv")
COUNT = "SELECT COUNT(*) n, COUNT(DISTINCT source_position) d FROM {}"
TABLES = ("clean", "dead_letter")
GRACE = 20  # seconds; longer than a count of these takes
PAUSE = 1.0  # seconds between two counts, so that moto, which does one thing at a time, has time for the writers
ROUNDS, LONG_ROUNDS = 3, 20


@dataclass
class Committed:
    """Rows in the ledgers: those that a reader must see by now, and those that it may see."""

    rig: Rig

    def __post_init__(self) -> None:
        self.loaded = load_all(str(REPOSITORY / "conf/local.yaml"), self.rig.overrides[1::2])[0]
        config = self.loaded.config
        storage = config.lake.s3.storage_options()
        self.ledgers = [Ledger(open_storage(checkpoint_of(config, source), storage)) for source in SOURCES]

    def least(self, table: str, *, registered: bool) -> int:
        through = [ledger.registered_through() if registered else ledger.published_through() for ledger in self.ledgers]
        return sum(self._rows(table, ledger, last) for ledger, last in zip(self.ledgers, through, strict=True))

    def most(self, table: str) -> int:
        return sum(self._rows(table, ledger, None) for ledger in self.ledgers)

    def _rows(self, table: str, ledger: Ledger, last: int | None) -> int:
        entries = (entry for entry in ledger.entries() if last is None or entry.batch_id <= last)
        return sum(entry.counts.clean if table == "clean" else entry.counts.dead for entry in entries)


@dataclass
class Reader:
    """Counts in a loop, in a thread of its own, until `end`; says what was wrong."""

    name: str
    count: Callable[[str], list[int]]
    committed: Committed
    registered: bool
    counts: int = 0
    seen: set[int] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    overtaken: int = 0

    def begin(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join(120)

    def _run(self) -> None:
        while not self._over.wait(PAUSE):
            for table in TABLES:
                try:
                    self._look(table)
                except VanishedError:  # an error that says to ask again, where a count would be wrong
                    self.overtaken += 1
                except Exception as error:  # noqa: BLE001 - it fails the test, with its reader's name
                    self.wrong.append(f"{self.name}, {table}: {error!r}")

    def _look(self, table: str) -> None:
        least = self.committed.least(table, registered=self.registered)
        rows, different = self.count(table)
        most = self.committed.most(table)
        self.counts += 1
        self.seen.add(rows)
        if rows != different or not least <= rows <= most:
            self.wrong.append(f"{self.name}, {table}: {rows} rows, {different} different, committed {least} to {most}")


def by_query(committed: Committed) -> Callable[[str], list[int]]:
    """`batch_app query`, without a process of its own for each count."""

    def count(table: str) -> list[int]:
        answer = _begun(lambda: ask(COUNT.format(table), open_tables(committed.loaded), {}))
        (row,) = [row for batch in answer.batches for row in batch.to_pylist()]
        return [row["n"], row["d"]]

    return count


@pytest.mark.parametrize("mode", ["registered", "none"])
def test_every_count_is_between_what_was_committed_before_and_after_it(request, aws, tmp_path, mode, long_form):
    bucket = f"counted-{mode}"
    aws.client("s3").create_bucket(Bucket=bucket)
    settings = {"lake.checkpoints": "", "spark.conf.spark.driver.extraClassPath": f"{REPOSITORY}/build/s3a/*"}
    if mode == "registered":
        settings |= catalog(aws, "counted", "registered")
    with strict_kinesis() as kinesis:
        kinesis.create(STREAM, shards=2)
        rig = Rig(tmp_path, kinesis, lake=f"s3://{bucket}/lake", s3_endpoint=aws.url, settings=settings)
        if mode == "registered":
            command(rig.overrides, "catalog", "sync")
        committed = Committed(rig)
        readers = [Reader("query", by_query(committed), committed, registered=False)]
        if mode == "registered":
            trino = request.getfixturevalue("trino")
            count = lambda table: trino.ask(COUNT.format(f"counted.{table}"))[0]  # noqa: E731
            readers.append(Reader("Trino", count, committed, registered=True))
        rig.feed(rate=50, csv_every=6)
        service = rig.start()
        try:
            rig.wait_for(lambda: rig.committed() > 300, timeout=300)
            partitions = ["--all"] if long_form else ["--input-source", "stream"]
            outcomes = compacted_under(rig, readers, LONG_ROUNDS if long_form else ROUNDS, partitions)
            assert service.poll() is None
        finally:
            rig.rest()
            rig.kill(service)
        rig.run_to_the_end(timeout=600)
        rig.check()
    problems = [problem for reader in readers for problem in reader.wrong]
    assert not problems, f"{len(problems)} of {sum(reader.counts for reader in readers)}: {problems[:5]}"
    replaced, written = (sum(outcome[name] for outcome in outcomes) for name in ("replaced_files", "written_files"))
    assert replaced > written > 0
    if mode == "registered":
        assert sum(outcome["switched"] for outcome in outcomes)
        assert sum(outcome["settled"] for outcome in outcomes)
    for reader in readers:
        did = f"{mode}, {len(outcomes)} compactions of {replaced} files into {written}"
        saw = f"{reader.counts} counts, {len(reader.seen)} different, {reader.overtaken} overtaken"
        print(f"{did}: {reader.name}: {saw}")  # noqa: T201 - figures for people
        assert reader.counts > 2 * len(outcomes)
        assert reader.overtaken <= reader.counts / 10
        assert len(reader.seen) > 2


def compacted_under(rig: Rig, readers: list[Reader], rounds: int, partitions: list[str]) -> list[dict[str, Any]]:
    """Compactions one after the other while readers count; with a catalog a grace period apart, so that they are sent on and back."""
    for reader in readers:
        reader.begin()
    outcomes = []
    try:
        for _ in range(rounds):
            done = command(rig.overrides, "compact", *partitions, "--min-files", "2", "--grace", f"{GRACE}s", "--json")
            outcomes.append(json.loads(done))
            time.sleep(GRACE + 1 if outcomes[-1]["waiting"] else GRACE / 4)
    finally:
        for reader in readers:
            reader.end()
    return outcomes
