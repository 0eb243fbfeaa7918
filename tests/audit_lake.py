"""Small lakes written by the product's own sink and journal classes, for the audit to look at: a stream's and the CSVs'."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from streaming_app.arguments import load_all
from streaming_app.config import Loaded
from streaming_app.journal.read_log import ReadLog, UnitRead
from streaming_app.quality import Suite
from streaming_app.schema import Dataset
from streaming_app.sink.commit import Committer, TaskResult
from streaming_app.sink.datasource import TaskWriter
from streaming_app.sink.options import SinkOptions
from streaming_app.storage import Storage, StorageOptions

REPOSITORY = Path(__file__).resolve().parent.parent
NOW = datetime(2026, 3, 1, tzinfo=UTC)
SEQUENCE = 49590338271490256608559692538361571095921575989136588000  # as long as Kinesis makes them
LABELS = {"kinesis": "stream", "csv": "batch"}


def judged(dataset: Dataset, positions: Sequence[str] | pa.Array) -> pa.RecordBatch:
    """Rows of the judged layout over two days; every fifth is a dead letter."""
    count = len(positions)
    columns = {column.name: pa.nulls(count, pa.string()) for column in dataset.columns}
    columns["quantity"] = pa.repeat(pa.scalar(1, pa.int32()), count)
    columns["amount"] = pa.nulls(count, pa.decimal128(10, 2))
    columns["order_ts"] = pa.repeat(pa.scalar(NOW, pa.timestamp("us", tz="UTC")), count)
    number = pa.array(range(count), pa.int64())
    fifth = pc.equal(pc.subtract(number, pc.multiply(pc.divide(number, 5), 5)), 0)
    odd = pc.equal(pc.bit_wise_and(number, 1), 1)
    no_text = pa.nulls(count, pa.string())
    reasons = pa.array([["rule_id"]] * count, pa.list_(pa.string()))
    columns |= {
        "rescued_data": no_text,
        "source_position": positions if isinstance(positions, pa.Array) else pa.array(positions, pa.string()),
        "arrived_at": columns["order_ts"],
        "order_date": pc.if_else(odd, pa.scalar(date(2026, 3, 1)), pa.scalar(date(2026, 3, 2))),
        "stage": pc.if_else(fifth, pa.repeat("rule", count), no_text),
        "reasons": pc.if_else(fifth, reasons, pa.nulls(count, pa.list_(pa.string()))),
        "raw": pc.if_else(fifth, pa.repeat("x", count), no_text),
        "raw_encoding": pc.if_else(fifth, pa.repeat("utf-8", count), no_text),
    }
    return pa.RecordBatch.from_arrays(list(columns.values()), names=[str(name) for name in columns])


def shard_read(
    shard: str,
    start: str,
    numbers: Sequence[int],
    *,
    closed: bool = False,
    children: Iterable[tuple[str, tuple[str, ...]]] = (),
) -> UnitRead:
    """What the Kinesis source records of one shard (its keys: sources/kinesis/reading.py)."""
    detail: dict[str, Any] = {
        "start": start,
        "end": f"AFTER:{numbers[-1]}" if numbers else start,
        "first_seq": str(numbers[0]) if numbers else None,
        "last_seq": str(numbers[-1]) if numbers else None,
        "at_tip": not closed,
        "closed": closed,
        "children": [{"id": child, "parents": list(parents)} for child, parents in children],
    }
    return UnitRead(shard, len(numbers), 100 * len(numbers), detail)


def file_read(key: str, rows: int, *, kind: str = "rows", name: str = "") -> UnitRead:
    """What the CSV source records of one file (its keys: sources/csv_files/reading.py)."""
    return UnitRead(key, rows, 10 * rows, {"name": name or key, "kind": kind, "etag": "e", "size": 1, "modified": 0})


def shard_positions(read: UnitRead, numbers: Iterable[int]) -> list[str]:
    return [f"{read.unit}:{number}" for number in numbers]


def file_positions(read: UnitRead, *, first: int = 1) -> list[str]:
    return [f"{read.detail['name']}#{row}" for row in range(first, first + read.rows)]


@dataclass
class LakeBuilder:
    """A lake in a folder or on S3; `commit` writes batches as the service does."""

    root: str
    dataset: Dataset
    storage: StorageOptions = field(default_factory=StorageOptions)
    batches: dict[str, int] = field(default_factory=dict)
    iceberg: dict[str, str] = field(default_factory=dict)

    def options(self, source: str) -> SinkOptions:
        return SinkOptions(
            lake=self.root,
            checkpoint=f"{self.root}/checkpoints/{source}",
            source=source,
            owner=source,
            input_source=LABELS[source],
            dataset=self.dataset.to_option(),
            suite_fingerprint="f",
            storage=self.storage.to_options(),
            iceberg=self.iceberg,
        )

    def checkpoint(self, source: str) -> Storage:
        return self.options(source).open_checkpoint()

    def lake(self) -> Storage:
        return self.options("csv").open_lake()

    def read_log(self, source: str) -> ReadLog:
        return ReadLog(self.checkpoint(source))

    def plan(self, source: str, epoch: int, plan: dict[str, Any]) -> None:
        self.read_log(source).put_plan_if_absent(epoch, plan)

    def begin_stream(self, shards: Iterable[str], position: str = "TRIM_HORIZON") -> None:
        self.plan("kinesis", 0, {"epoch": 0, "shards": dict.fromkeys(shards, position), "finished": {}})

    def read(self, source: str, reads: Iterable[UnitRead], epoch: int | None = None) -> int:
        """Record an epoch's reads, as the tasks of the source do."""
        epoch = self.batches.get(source, 0) + 1 if epoch is None else epoch
        for read in reads:
            assert self.read_log(source).put_if_absent(epoch, read)
        return epoch

    def stage(self, source: str, tasks: Iterable[Sequence[str] | pa.Array]) -> list[TaskResult]:
        """Write the rows of each task."""
        results = []
        for positions in tasks:
            writer = TaskWriter(self.options(source))
            writer.add(judged(self.dataset, positions))
            results.append(writer.finish())
        return results

    def commit(
        self,
        source: str,
        reads: Sequence[UnitRead],
        tasks: Iterable[Sequence[str] | pa.Array],
        *,
        seal: bool = True,
        epoch: int | None = None,
    ) -> int:
        """One whole batch: read, written, committed by the sink and by Spark, sealed; returns its id."""
        batch = self.batches.get(source, 0)
        epoch = self.read(source, reads, epoch)
        checkpoint = self.checkpoint(source)
        checkpoint.put(f"offsets/{batch}", b"v1\n{}\n" + json.dumps({"epoch": epoch}).encode())
        Committer(self.options(source)).commit(self.stage(source, tasks), batch)
        checkpoint.put(f"commits/{batch}", b"v1\n{}")
        if seal:
            self.read_log(source).seal(epoch)
        self.batches[source] = batch + 1
        return batch

    def commit_shards(self, reads: Sequence[tuple[UnitRead, Sequence[int]]], **more: Any) -> int:
        """A batch of the stream, a task for each shard."""
        tasks = [shard_positions(read, numbers) for read, numbers in reads if numbers]
        return self.commit("kinesis", [read for read, _ in reads], tasks, **more)

    def commit_files(self, reads: Sequence[UnitRead], **more: Any) -> int:
        """A batch of CSV files, a task for each."""
        self.plan("csv", self.batches.get("csv", 0) + 1, {"files": [{"key": read.unit} for read in reads]})
        return self.commit("csv", reads, [file_positions(read) for read in reads if read.rows], **more)

    def loaded(self, folder: Path, *overrides: str) -> tuple[Loaded, Suite]:
        """A configuration of this lake, and the suite it was judged by."""
        return load_all(self.config_file(folder), overrides)

    def config_file(self, folder: Path) -> str:
        s3 = {key: value for key, value in vars(self.storage).items() if value}
        config = {
            "dataset": str(REPOSITORY / "conf/datasets/orders.yaml"),
            "suite": str(REPOSITORY / "conf/expectations/orders.yaml"),
            "lake": {"root": self.root, "s3": s3},
            "sources": {"kinesis": {"enabled": True, "stream": "orders"}, "csv": {"enabled": True}},
        }
        if self.iceberg:
            config |= {"sink": {"format": "iceberg"}, "iceberg": self.iceberg}
        file = folder / "config.yaml"
        file.write_text(json.dumps(config))
        return str(file)


def numbers(begin: int, count: int) -> list[int]:
    """Sequence numbers: growing, with holes between them."""
    return [SEQUENCE + 7 * number for number in range(begin, begin + count)]


def healthy_lake(
    root: str, dataset: Dataset, storage: StorageOptions | None = None, iceberg: dict[str, str] | None = None
) -> LakeBuilder:
    """Three batches of the stream, with a split, and two of CSV files, one of them special in every way there is."""
    lake = LakeBuilder(root, dataset, storage or StorageOptions(), iceberg=iceberg or {})
    lake.begin_stream(["shard-0", "shard-1"])
    first, second = numbers(0, 20), numbers(1000, 10)
    lake.commit_shards(
        [
            (shard_read("shard-0", "TRIM_HORIZON", first), first),
            (shard_read("shard-1", "TRIM_HORIZON", second), second),
        ]
    )
    last, nothing = numbers(20, 15), shard_read("shard-1", f"AFTER:{second[-1]}", [])
    children = [("shard-2", ("shard-0",)), ("shard-3", ("shard-0",))]
    closing = shard_read("shard-0", f"AFTER:{first[-1]}", last, closed=True, children=children)
    lake.commit_shards([(closing, last), (nothing, [])])
    third = numbers(2000, 12)
    lake.commit_shards(
        [
            (shard_read("shard-1", f"AFTER:{second[-1]}", []), []),
            (shard_read("shard-2", "TRIM_HORIZON", third), third),
            (shard_read("shard-3", "TRIM_HORIZON", []), []),
        ],
        seal=False,
    )
    lake.commit_files([file_read("a.csv", 25), file_read("b#1.csv", 11), file_read("empty.csv", 0)])
    rejected = file_read("a.csv", 1, kind="rejected", name="a.csv@etag-2")
    headless = file_read("no header 2026", 6)
    plan = [{"key": read.unit} for read in (rejected, headless)]
    lake.plan("csv", 2, {"files": plan})
    lake.commit(
        "csv", [rejected, headless], [file_positions(rejected, first=0), file_positions(headless, first=0)], seal=False
    )
    return lake
