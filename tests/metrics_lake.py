"""Known micro-batches in a ledger, for tests of the metrics."""

from __future__ import annotations

from streaming_app.journal.ledger import Counts, Entry, Ledger, LedgerFile
from streaming_app.journal.read_log import UnitRead
from streaming_app.metrics.catalogue import CATALOGUE, Kind
from streaming_app.metrics.recorder import Recorder
from streaming_app.metrics.values import Values
from streaming_app.progress import Batch, Lag, Standing
from streaming_app.storage import StagedFile
from tests.memory_storage import MemoryStorage

NOW = 1_800_000_000.0


def entry(number: int, *, at: float = NOW) -> Entry:
    """10 rows: 6 clean, 3 dead (1 does not cast, 2 fail rules, one of them two), 1 duplicate; 3 files."""
    counts = Counts(
        read=10,
        clean=6,
        dead=3,
        duplicates=1,
        by_reason={"quantity_positive": 2, "known_city": 1, "bad_amount": 1},
        by_stage={"cast": 1, "rule": 2},
        by_warning={"late_order": 4},
        by_info={"round_amount": 5},
    )
    files = (
        file("clean", "order_date=2026-03-01", 4, 400),
        file("clean", "order_date=2026-03-02", 2, 200),
        file("dead_letter", "dead_date=2026-03-02", 3, 90),
    )
    return Entry(
        number, number + 1, "kinesis:orders", "f1", f"t{number}", counts, files, (at - 5, at - 1), at, {"late": "."}
    )


def file(table: str, partition: str, rows: int, size: int) -> LedgerFile:
    return LedgerFile(table, partition, rows, StagedFile(f"{table}/{partition}/x.parquet", size))


def publish(storage, *numbers: int) -> None:
    """Put entries into the ledger, visible."""
    for number in numbers:
        Ledger(storage).append_if_absent(entry(number))
        Ledger(storage).mark_published(number)


def batch(number: int, source: str = "kinesis", *, at: float = NOW) -> Batch:
    """As the listener tells of it: 2 shards, 2.5 s, ended half a second after its commit."""
    detail = {"closed": False, "calls": 3, "throttles": 1, "renewals": 0}
    reads = {
        "shard-0": UnitRead("shard-0", 6, 600, {**detail, "millis_behind": 0}),
        "shard-1": UnitRead("shard-1", 4, 400, {**detail, "millis_behind": 1500, "renewals": 2, "closed": True}),
    }
    durations = {"triggerExecution": 2500, "addBatch": 2000, "walCommit": 100}
    lag = Lag({"shard-0": 0, "shard-1": 1500})
    return Batch(source, entry(number, at=at), durations, Standing(reads, lag), at + 0.5)


def new_recorder(*published: int) -> Recorder:
    """A recorder of a source that has published these before it begins; `storage` is its checkpoint."""
    recorder = Recorder(Values(), lambda: NOW)
    recorder.storage = MemoryStorage()
    publish(recorder.storage, *published)
    recorder.begin("kinesis", recorder.storage)
    return recorder


def run(recorder: Recorder, *numbers: int) -> None:
    """The source publishes micro-batches, and the listener tells of them."""
    for number in numbers:
        publish(recorder.storage, number)
        recorder.on_batch(batch(number))


def everything(values: Values, *texts: str) -> None:
    """A series of every metric there is, for each of the sources, and of open labels for each text."""
    for metric in CATALOGUE:
        for source in ("kinesis", "csv"):
            for text in texts or ("x",):
                labels = [source if name == "source" else text for name in metric.labels]
                if metric.kind is Kind.HISTOGRAM:
                    values.observe(metric, 1.5, *labels)
                else:
                    values.set(metric, 2.0, *labels)
