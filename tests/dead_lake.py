"""Lakes with dead letters of every kind, written by the product's own sink, with the raw texts that the sources keep."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import pyarrow as pa

from batch_app.dead_letters.opened import Opened, open_letters
from batch_app.dead_letters.selection import Selection
from streaming_app.schema import Dataset
from streaming_app.sink.commit import Committer
from streaming_app.sink.datasource import TaskWriter
from tests.audit_lake import LakeBuilder, file_read, numbers, shard_read

NOW = datetime(2026, 3, 1, 10, tzinfo=UTC)
TIME = pa.timestamp("us", tz="UTC")
HEADER = "order_ts,order_id,customer_id,store_id,city,item,quantity,amount,payment_method"  # not the dataset's order


def event(order: str, *, city: str = "Jakarta", amount: str = "12.50", store: str = "S1") -> str:
    return (
        f'{{"order_id":"{order}","customer_id":"C1","store_id":"{store}","city":"{city}","item":"Tea","quantity":1,'
        f'"amount":{amount},"payment_method":"cash","order_ts":"2026-03-01T09:00:00Z"}}'
    )


def csv_row(order: str, *, city: str = "Jakarta", amount: str = "12.50", item: str = "Tea") -> str:
    return f"2026-03-01T09:00:00Z,{order},C1,S2,{city},{item},1,{amount},cash"


@dataclass(frozen=True)
class Row:
    """A row as the sink takes it: clean without a stage."""

    position: str
    raw: str = ""
    stage: str | None = None
    reasons: tuple[str, ...] = ()
    encoding: str = "utf-8"


def judged(dataset: Dataset, rows: Sequence[Row]) -> pa.RecordBatch:
    count = len(rows)
    columns = {column.name: pa.nulls(count, pa.string()) for column in dataset.columns}
    columns["quantity"] = pa.nulls(count, pa.int32())
    columns["amount"] = pa.nulls(count, pa.decimal128(10, 2))
    columns["order_ts"] = pa.repeat(pa.scalar(NOW, TIME), count)
    dead = [row.stage is not None for row in rows]
    columns |= {
        "rescued_data": pa.nulls(count, pa.string()),
        "source_position": pa.array([row.position for row in rows]),
        "arrived_at": pa.repeat(pa.scalar(NOW, TIME), count),
        "order_date": pa.array([date(2026, 3, 1)] * count, pa.date32()),
        "stage": pa.array([row.stage for row in rows], pa.string()),
        "reasons": pa.array([list(row.reasons) if row.stage else None for row in rows], pa.list_(pa.string())),
        "raw": pa.array([row.raw if is_dead else None for row, is_dead in zip(rows, dead, strict=True)], pa.string()),
        "raw_encoding": pa.array([row.encoding if row.stage else None for row in rows], pa.string()),
    }
    return pa.RecordBatch.from_arrays(list(columns.values()), names=[str(name) for name in columns])


class DeadLake(LakeBuilder):
    """A lake whose rows are given one by one."""

    def rows(self, source: str, rows: Sequence[Row], reads: Sequence, *, seal: bool = True) -> None:
        """One batch, committed whole."""
        batch = self.batches.get(source, 0)
        epoch = self.read(source, reads)
        checkpoint = self.checkpoint(source)
        checkpoint.put(f"offsets/{batch}", b"v1\n{}\n" + f'{{"epoch": {epoch}}}'.encode())
        writer = TaskWriter(self.options(source))
        writer.add(judged(self.dataset, rows))
        Committer(self.options(source)).commit([writer.finish()], batch)
        checkpoint.put(f"commits/{batch}", b"v1\n{}")
        if seal:
            self.read_log(source).seal(epoch)
        self.batches[source] = batch + 1

    def opened(self, folder, selection: Selection | None = None, *overrides: str) -> Opened:
        loaded, suite = self.loaded(folder, *overrides)
        return open_letters(loaded, suite, selection or Selection())


STREAM = (
    Row("", event("o0")),
    Row("", event("o1", city="Atlantis"), "rule", ("city.in_set",)),
    Row("", event("o2", city="Bogor", amount="-3"), "rule", ("city.in_set", "amount.positive")),
    Row("", event("o3", amount='"12,50"', store="S9"), "cast", ("amount.cast",)),
    Row("", '{"order_id":', "decode", ("invalid_json",)),
    Row("", event("o5"), "rule", ("old.rule",)),
    Row("", event("o6"), "duplicate", ("duplicate",)),
)
FILE = (
    Row("", csv_row("c1")),
    Row("", csv_row("c2", city="Bogor"), "rule", ("city.in_set",)),
    Row("", csv_row("c3", item='"Tea, hot\nno ""sugar"""'), "rule", ("old.rule",)),
    Row("", "2026-03-01T09:00:00Z,c4", "decode", ("too_few_fields",)),
    Row(
        "",
        b64encode(csv_row("c5", item="Café", amount="8.00").encode("latin-1")).decode(),
        "decode",
        ("not_utf8",),
        "base64",
    ),
)
REJECTED = Row("gone.csv@e-1#0", '{"key": "gone.csv"}', "decode", ("missing_file",))


def dead_lake(root: str, dataset: Dataset, storage=None, iceberg=None) -> DeadLake:
    """Seven events and six CSV rows, ten of them dead letters."""
    lake = DeadLake(root, dataset, *([storage] if storage else []), iceberg=iceberg or {})
    lake.begin_stream(["shard-0"])
    sequence = numbers(0, len(STREAM))
    rows = [Row(f"shard-0:{n}", row.raw, row.stage, row.reasons) for n, row in zip(sequence, STREAM, strict=True)]
    lake.rows("kinesis", rows, [shard_read("shard-0", "TRIM_HORIZON", sequence)])
    read = file_read("day 1.csv", len(FILE))
    read.detail["header"] = HEADER
    lake.plan("csv", 1, {"files": [{"key": "day 1.csv"}, {"key": "gone.csv"}]})
    rows = [Row(f"day 1.csv#{n}", row.raw, row.stage, row.reasons, row.encoding) for n, row in enumerate(FILE, start=1)]
    rejected = file_read("gone.csv", 1, kind="rejected", name="gone.csv@e-1")
    lake.rows("csv", [*rows, REJECTED], [read, rejected])
    return lake


class NoAtlantis:
    """Today's rules, without Spark: there is no Atlantis. `meanwhile` is called while rows are judged."""

    def __init__(self, dataset, meanwhile=lambda: None) -> None:
        self._dataset, self._meanwhile = dataset, meanwhile

    def judge(self, rows, source):
        del source
        self._meanwhile()
        found = [
            Row(row["source_position"], row["raw"], "rule", ("city.in_set",))
            if "Atlantis" in row["raw"]
            else Row(row["source_position"])
            for row in rows.to_pylist()
        ]
        return pa.Table.from_batches([judged(self._dataset, found)])
