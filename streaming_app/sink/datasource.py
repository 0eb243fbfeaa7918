"""The sink as a Spark 4.1 Python data source, streaming and batch; format `qsr-lake`.

Rows come in the judged layout (schema.py). A row whose `stage` is null goes to `clean/`, any other to `dead_letter/`,
in one pass. Delivery guarantee: exactly once, see commit.py. Resume rule: a batch id that the ledger knows is never
written again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyspark
from pyspark.sql.types import StructType

from streaming_app.errors import ConfigError
from streaming_app.journal.keys import Segment
from streaming_app.runtime import logs
from streaming_app.schema import CLEAN, DEAD_DATE, DEAD_LETTER, INGESTED_AT, Decoded, Judged, Keyed, Stage
from streaming_app.sink.commit import Committer, TaskResult
from streaming_app.sink.duplicates import Duplicates
from streaming_app.sink.layout import DEAD_LETTER_SCHEMA, TIMESTAMP, clean_schema
from streaming_app.sink.options import SinkOptions
from streaming_app.sink.parquet_files import TableFiles
from streaming_app.sink.personal import PersonalData
from streaming_app.thresholds import RuleLimit, Skips

try:
    from pyspark.sql.datasource import DataSource, DataSourceStreamArrowWriter, WriterCommitMessage
except ImportError as error:  # an older Spark knows no data source that writes a stream as Arrow
    raise ConfigError(
        f"this Spark is {pyspark.__version__}, and 4.1 is needed: choose a release of the platform that has it (docs/deploy.md)"
    ) from error

FORMAT: Final = "qsr-lake"


def dead_letter_id(source: str, position: str) -> str:
    """The id of a row that was rejected: the same row of the same source always gets the same."""
    return hashlib.sha256(f"{source}\0{position}".encode()).hexdigest()[:32]


@dataclass
class TaskMessage(WriterCommitMessage):
    """A task's result on its way to the driver."""

    result: str


class LakeSink(DataSource):
    """Register once, then `writeStream.format("qsr-lake").options(**SinkOptions(...).to_options())`."""

    @classmethod
    def name(cls) -> str:
        return FORMAT

    def streamWriter(self, schema: StructType, overwrite: bool) -> DataSourceStreamArrowWriter:  # noqa: N802, ARG002
        """Spark's entry point. Raises ConfigError for any output mode but append."""
        if overwrite:
            raise ConfigError("the lake sink appends; use outputMode('append')")
        return LakeStreamWriter(SinkOptions.from_options(dict(self.options)))


class LakeStreamWriter(DataSourceStreamArrowWriter):
    """Rebuilt by Spark for write, commit and abort, in different processes: it holds its options and nothing else."""

    def __init__(self, options: SinkOptions) -> None:
        self._options = options

    def write(self, iterator: Iterator[pa.RecordBatch]) -> WriterCommitMessage:
        """Stage one task's rows."""
        logs.inherit(self._options.source)
        task = TaskWriter(self._options)
        try:
            for batch in iterator:
                task.add(batch)
            return TaskMessage(task.finish().to_json())
        except BaseException:
            task.abort()
            raise

    def commit(self, messages: Sequence[WriterCommitMessage | None], batchId: int) -> None:  # noqa: N803
        """Make the batch part of the lake."""
        logs.inherit(self._options.source)
        Committer(self._options).commit(_results(messages), batchId)

    def abort(self, messages: Sequence[WriterCommitMessage | None], batchId: int) -> None:  # noqa: N803
        """Throw the batch's staged files away."""
        Committer(self._options).abort(_results(messages), batchId)


def _results(messages: Sequence[WriterCommitMessage | None]) -> list[TaskResult]:
    return [TaskResult.from_json(message.result) for message in messages if isinstance(message, TaskMessage)]


class TaskWriter:
    """One task's rows, split into clean and dead in one pass."""

    def __init__(self, options: SinkOptions) -> None:
        self._options = options
        self._dataset = options.load_dataset()
        self._now = datetime.now(UTC)
        lake = options.open_lake()
        self._clean_schema = clean_schema(self._dataset)
        self._clean = TableFiles(lake, options, CLEAN, self._clean_schema)
        self._dead = TableFiles(lake, options, DEAD_LETTER, DEAD_LETTER_SCHEMA)
        self._personal = PersonalData(self._dataset, options.delimiter, os.environ)
        self._rows = 0
        self._by_reason: dict[str, int] = {}
        self._by_stage: dict[str, int] = {}
        self._notes: dict[str, dict[str, int]] = {Judged.WARNINGS: {}, Judged.INFOS: {}}
        self._limits = options.load_limits().rules
        self._looked_at: dict[str, int] = {}
        self._arrived: list[float] = []
        self._duplicates: Duplicates | None = None
        self._keys: list[Segment] = []

    def add(self, batch: pa.RecordBatch) -> None:
        """Take rows of the judged layout, with the columns of `Keyed` where duplicates are looked for."""
        if batch.num_rows == 0:
            return
        if Keyed.HASH in batch.schema.names:
            batch = self._look_for_duplicates(batch)
        self._rows += batch.num_rows
        self._note_arrival(batch.column(Decoded.ARRIVED_AT))
        self._count_notes(batch)
        if self._limits:
            self._count_looked_at(batch)
        stage = batch.column(Judged.STAGE)
        if stage.null_count == batch.num_rows:
            self._add_clean(batch)
        else:
            self._add_clean(batch.filter(stage.is_null()))
            self._add_dead(batch.filter(stage.is_valid()))

    def finish(self) -> TaskResult:
        """End all files and tell what was written."""
        files = (*self._clean.finish(), *self._dead.finish())
        self._keys = self._duplicates.finish() if self._duplicates else []
        arrived = (min(self._arrived), max(self._arrived)) if self._arrived else None
        warnings, infos = self._notes[Judged.WARNINGS], self._notes[Judged.INFOS]
        return TaskResult(
            self._rows,
            files,
            self._by_reason,
            self._by_stage,
            warnings,
            infos,
            self._looked_at,
            arrived,
            keys=tuple(self._keys),
        )

    def abort(self) -> None:
        """Throw everything away."""
        self._clean.abort()
        self._dead.abort()
        if self._duplicates:
            self._duplicates.discard(self._keys)

    def _look_for_duplicates(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        if self._duplicates is None:
            self._duplicates = Duplicates(self._options.open_checkpoint(), self._dataset)
        return self._duplicates.mark(batch)

    def _count_notes(self, batch: pa.RecordBatch) -> None:
        for name, counts in self._notes.items():
            if name in batch.schema.names:
                _count(batch.column(name).flatten(), counts)

    def _count_looked_at(self, batch: pa.RecordBatch) -> None:
        for limit in self._limits:
            count = 0 if limit.conditional else looked_at(batch, limit)
            self._looked_at[limit.id] = self._looked_at.get(limit.id, 0) + count
        if Judged.LOOKED_AT in batch.schema.names:
            _count(batch.column(Judged.LOOKED_AT).flatten(), self._looked_at)

    def _note_arrival(self, arrived: Any) -> None:
        ends = pc.min_max(arrived).as_py()
        self._arrived += [moment.timestamp() for moment in ends.values() if moment is not None]

    def _add_clean(self, batch: pa.RecordBatch) -> None:
        if batch.num_rows == 0:
            return
        partition = self._dataset.partition_column
        for date, rows in split_by(self._personal.columns(batch), partition):
            self._clean.add(f"{partition}={date.isoformat()}", self._conform(rows))

    def _conform(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        made = {INGESTED_AT: pa.repeat(pa.scalar(self._now, TIMESTAMP), rows.num_rows)}
        if Judged.WARNINGS not in rows.schema.names:
            made[Judged.WARNINGS] = pa.nulls(rows.num_rows, pa.list_(pa.string()))
        arrays = [
            made[field.name] if field.name in made else rows.column(field.name).cast(field.type)
            for field in self._clean_schema
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self._clean_schema)

    def _add_dead(self, rows: pa.RecordBatch) -> None:
        _count(rows.column(Judged.STAGE), self._by_stage)
        _count(rows.column(Judged.REASONS).flatten(), self._by_reason)
        source, count = self._options.source, rows.num_rows
        positions = rows.column(Decoded.POSITION)
        now = pa.repeat(pa.scalar(self._now, TIMESTAMP), count)
        made = {
            "dead_letter_id": pa.array([dead_letter_id(source, position) for position in positions.to_pylist()]),
            Judged.RAW: self._personal.raws(rows).cast(pa.string()),
            "source": pa.repeat(pa.scalar(source), count),
            INGESTED_AT: now,
            "suite_fingerprint": pa.repeat(pa.scalar(self._options.suite_fingerprint), count),
        }
        arrays = [
            made[field.name] if field.name in made else rows.column(field.name).cast(field.type)
            for field in DEAD_LETTER_SCHEMA
        ]
        batch = pa.RecordBatch.from_arrays(arrays, schema=DEAD_LETTER_SCHEMA)
        self._dead.add(f"{DEAD_DATE}={self._now.date().isoformat()}", batch)


def looked_at(batch: pa.RecordBatch, limit: RuleLimit) -> int:
    """Rows of the judged layout that a rule looks at, as Great Expectations counts them.

    A row that could not be read counts nowhere: it has no values, only nulls.
    """
    if limit.skips is Skips.NONE:
        unreadable = pc.sum(pc.equal(batch.column(Judged.STAGE), Stage.DECODE.value)).as_py()
        return int(batch.num_rows - (unreadable or 0))
    columns = [batch.column(name) for name in limit.columns]
    if len(columns) == 1:
        return int(batch.num_rows - columns[0].null_count)
    join = pc.and_ if limit.skips is Skips.ANY else pc.or_
    return int(reduce(join, [column.is_valid() for column in columns]).true_count)


def split_by(batch: pa.RecordBatch, column: str) -> Iterator[tuple[Any, pa.RecordBatch]]:
    """The batch's rows by the values of one column, each group in the rows' own order."""
    values = batch.column(column)
    distinct = values.unique()
    if len(distinct) == 1:
        yield distinct[0].as_py(), batch
        return
    order = pc.sort_indices(values)  # stable
    ordered = batch.take(order)
    begin = 0
    for value, length in zip(*_runs(ordered.column(column)), strict=True):
        yield value, ordered.slice(begin, length)
        begin += length


def _runs(values: pa.Array) -> tuple[list[Any], list[int]]:
    ends = pc.run_end_encode(values)
    lengths, before = [], 0
    for end in ends.run_ends.to_pylist():
        lengths.append(end - before)
        before = end
    return ends.values.to_pylist(), lengths


def _count(values: pa.Array, into: dict[str, int]) -> None:
    for item in values.value_counts().to_pylist():
        into[item["values"]] = into.get(item["values"], 0) + item["counts"]
