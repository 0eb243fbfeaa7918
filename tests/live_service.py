"""A live page with a service behind it that was never started: real board, endpoint, ledger and dead-letter files."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from streaming_app.events import EventKind, SourceEvent
from streaming_app.journal.ledger import Counts, Entry, Ledger, LedgerFile
from streaming_app.journal.read_log import ReadLog, UnitRead
from streaming_app.metrics import catalogue as m
from streaming_app.metrics.health import Health
from streaming_app.metrics.live.board import Board
from streaming_app.metrics.live.masking import Masking
from streaming_app.metrics.live.pages import LivePages
from streaming_app.metrics.live.rejected import Kept, Rejected
from streaming_app.metrics.prometheus import Endpoint
from streaming_app.metrics.recorder import Recorder
from streaming_app.metrics.values import Values
from streaming_app.progress import Batch, Lag, Standing
from streaming_app.quality import Suite
from streaming_app.schema import Dataset
from streaming_app.sink.layout import DEAD_LETTER_SCHEMA
from streaming_app.storage import StagedFile
from tests.memory_storage import MemoryStorage

PHASES = {"latestOffset": 40, "queryPlanning": 60, "walCommit": 25, "addBatch": 560, "commitOffsets": 20}


class Clock:
    """Now, or the moment of its making if `frozen`; and as many seconds more as a test wants."""

    def __init__(self, *, frozen: bool = False) -> None:
        self.ahead, self._made, self._frozen = 0.0, time.time(), frozen

    def __call__(self) -> float:
        return (self._made if self._frozen else time.time()) + self.ahead


class LiveService:
    """What happens to a running service, told by a test; `url` is its page."""

    def __init__(
        self, dataset: Dataset, suite: str, token: str = "", trigger: float = 1.0, *, frozen: bool = False
    ) -> None:
        self.clock = Clock(frozen=frozen)
        self.values, self.lake = Values(), MemoryStorage()
        self.checkpoints = {name: MemoryStorage() for name in ("kinesis", "csv")}
        self.health = Health(600.0, self.clock)
        self.recorder = Recorder(self.values, self.clock)
        self.board = Board(self.values, self.health.look, trigger, self.clock)
        self._token = token
        self.reopen(0)
        self.url = self.endpoint.url
        self.dataset = dataset
        self.suite = Suite.parse(yaml.safe_load(suite), "orders.yaml", dataset)
        self.board.show_rules(self.suite, dataset)
        self._numbers = dict.fromkeys(self.checkpoints, 0)

    def reopen(self, port: int) -> None:
        """Listen, for the first time or again."""
        pages = LivePages(self.board).answer
        self.endpoint = Endpoint(self.values, self.health.look, port=port, pages=pages, token=self._token)

    def start(self) -> None:
        """As a service that recovered and runs."""
        self.values.set(m.BUILD, 1, "0.1.0", "3.13.5", "4.1.1")
        masking = Masking(self.dataset, ",")
        kept = {name: Kept(self.lake, ReadLog(checkpoint), masking) for name, checkpoint in self.checkpoints.items()}
        self.board.show_rejected(Rejected(kept))
        self.health.expect(self.checkpoints)
        for name, checkpoint in self.checkpoints.items():
            self.recorder.begin(name, checkpoint)
            self.board.begin(name, Ledger(checkpoint))
            self.tell(EventKind.RECOVERED, name)
            self.tell(EventKind.STARTED, name, suite=self.suite.fingerprint)
            self.heard(name)

    def tell(self, kind: EventKind, source: str = "kinesis", **more) -> None:
        event = SourceEvent(kind, source, **more)
        self.health.on_event(event)
        self.recorder.on_event(event)

    def heard(self, source: str) -> None:
        self.health.heard(source)
        self.recorder.heard(source)

    def batch(
        self,
        source: str = "kinesis",
        *,
        read: int = 10,
        reasons: dict[str, int] | None = None,
        letters: Sequence[dict] = (),
        ago: float = 0.0,
        lag: dict[str, int] | None = None,
        waiting: dict[str, int] | None = None,
        headers: dict[str, str] | None = None,
        arrived: float = 0.9,
        tell: bool = True,
    ) -> None:
        """A published micro-batch; with `tell` false it is in the ledger only.

        `headers` are those of its CSV files; the oldest row `arrived` so many seconds before the end.
        """
        number, ended = self._numbers[source], self.clock() - ago
        self._numbers[source] += 1
        dead = sum((reasons or {}).values())
        files = [LedgerFile("clean", "order_date=2026-03-01", read - dead, StagedFile("clean/x.parquet", 90 * read))]
        if letters:
            key = f"dead_letter/{source}-{number}.parquet"
            self.lake.put(key, parquet(letters, source, ended))
            files.append(LedgerFile("dead_letter", "dead_date=2026-03-01", dead, StagedFile(key, 1000)))
        for name, header in (headers or {}).items():
            detail: dict[str, Any] = {"name": name, "kind": "rows", "header": header}
            ReadLog(self.checkpoints[source]).put_if_absent(number, UnitRead(name, read, 1000, detail))
        counts = Counts(read, read - dead, dead, 0, dict(reasons or {}), {"rule": dead} if dead else {})
        times = (ended - arrived, ended - 0.2)
        entry = Entry(number, number, source, self.suite.fingerprint, "t", counts, tuple(files), times, ended)
        ledger = Ledger(self.checkpoints[source])
        ledger.append_if_absent(entry)
        ledger.mark_published(number)
        if tell:
            detail = {"closed": False, "calls": 3, "throttles": 0, "renewals": 0}
            reads = {
                shard: UnitRead(shard, 5, 500, {**detail, "millis_behind": ms}) for shard, ms in (lag or {}).items()
            }
            phases = {name: round(ms * (0.8 + 0.4 * (number * 7 % 10) / 10)) for name, ms in PHASES.items()}
            durations = {"triggerExecution": sum(phases.values()) + 10, **phases}
            made = Batch(source, entry, durations, Standing(reads, Lag(lag) if lag else None, waiting), ended)
            self.recorder.on_batch(made)
            self.board.on_batch(made)
            self.heard(source)

    def close(self) -> None:
        self.endpoint.close()
        self.board.close()


def without_personal(dataset: Dataset) -> Dataset:
    """The dataset with no personal column, so that the page shows every text as it is."""
    columns = tuple(column.model_copy(update={"pii": False}) for column in dataset.columns)
    return dataset.model_copy(update={"columns": columns})


def parquet(letters: Sequence[dict], source: str, ended: float) -> bytes:
    """A dead-letter file as the sink writes it."""
    moment = datetime.fromtimestamp(ended, UTC)
    rows = [
        {
            "dead_letter_id": f"{hash((source, ended, at)) & (2**128 - 1):032x}",
            "stage": "rule",
            "raw_encoding": "utf-8",
            "source": source,
            "source_position": f"shardId-000000000000:4965{at}",
            "arrived_at": moment,
            "ingested_at": moment,
            "suite_fingerprint": "f",
            **letter,
        }
        for at, letter in enumerate(letters)
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, DEAD_LETTER_SCHEMA), sink)
    return sink.getvalue().to_pybytes()


@contextmanager
def live_service(dataset: Dataset, suite: str, token: str = "", trigger: float = 1.0) -> Iterator[LiveService]:
    """Gone at the end."""
    service = LiveService(dataset, suite, token, trigger)
    try:
        yield service
    finally:
        service.close()
