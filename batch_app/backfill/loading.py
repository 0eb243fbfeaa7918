"""The Spark side of one batch: files -> decoded -> pipeline -> staged files, in one pass; the driver gets the tasks' results."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, Final, Protocol, cast

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from batch_app.backfill.inputs import SourceFile
from batch_app.backfill.reading import FileReader
from streaming_app.errors import DataLossError, IngestError
from streaming_app.pipeline import process
from streaming_app.quality import Suite
from streaming_app.schema import CLEAN, INPUT_SOURCE, Dataset, Decoded, InputSource, Judged
from streaming_app.sink.commit import TaskResult
from streaming_app.sink.datasource import TaskWriter
from streaming_app.sink.options import SinkOptions
from streaming_app.storage import Storage
from streaming_app.streams import row_rules

_RESULT: Final = "result"
_OURS: Final = "DataLossError: "  # how Spark repeats an error of ours that a worker raised


@dataclass(frozen=True)
class Work:
    """What one batch reads. `key`: leave out clean rows whose key their day's partition has already."""

    epoch: int
    files: Sequence[SourceFile]
    key: str | None


class Loader(Protocol):
    """Stages the rows of some files."""

    def load(self, reader: FileReader, work: Work, sink: SinkOptions, suite: Suite) -> list[TaskResult]:
        """Read, judge and stage."""
        ...


@dataclass(frozen=True)
class SparkLoader:
    """Loads on Spark, a task for each group of files."""

    spark: SparkSession

    def load(self, reader: FileReader, work: Work, sink: SinkOptions, suite: Suite) -> list[TaskResult]:
        """See `Loader`. Raises DataLossError and IngestError."""
        epoch, files, key = work.epoch, work.files, work.key
        tasks = min(len(files), max(2, self.spark.sparkContext.defaultParallelism))
        groups = [list(group) for group in _spread(files, tasks)]
        dataset = reader.dataset

        def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in batches:
                for number in batch.column(0).to_pylist():
                    yield from reader.read_all(epoch, groups[number])

        decoded = self.spark.range(0, tasks, 1, tasks).mapInArrow(read, dataset.decoded_ddl())
        judged = process(decoded, dataset, row_rules(suite, dataset))
        if key:
            day = dataset.partition_column
            judged = judged.repartition(tasks, key, day).sortWithinPartitions(key, day, Decoded.POSITION.value)

        def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            yield pa.RecordBatch.from_pydict({_RESULT: [stage(batches, sink, dataset, key).to_json()]})

        try:
            rows = judged.mapInArrow(write, f"{_RESULT} STRING").collect()
        except PySparkException as error:
            raise _explained(error) from error
        return [TaskResult.from_json(row[0]) for row in rows]


def _spread(files: Sequence[SourceFile], tasks: int) -> list[list[SourceFile]]:
    """Groups of about the same size, the same for the same files."""
    groups: list[list[SourceFile]] = [[] for _ in range(tasks)]
    sizes = [0] * tasks
    for file in sorted(files, key=lambda file: (-file.size, file.name)):
        place = sizes.index(min(sizes))
        groups[place].append(file)
        sizes[place] += file.size + 1
    return groups


def stage(batches: Iterable[pa.RecordBatch], sink: SinkOptions, dataset: Dataset, key: str | None) -> TaskResult:
    """Stage judged rows as the stream's sink does."""
    writer = TaskWriter(sink)
    present = Present(sink.open_lake(), dataset.partition_column, key) if key else None
    duplicates = 0
    try:
        for batch in batches:
            new = present.without(batch) if present else batch
            duplicates += batch.num_rows - new.num_rows
            writer.add(new)
        return replace(writer.finish(), duplicates=duplicates)
    except BaseException:
        writer.abort()
        raise


@dataclass
class Present:
    """Keys that a day's partitions of the lake have, and those seen here. Memory: the keys of the days under way."""

    lake: Storage
    day_column: str
    key: str
    keys: dict[Any, set[Any]] = field(default_factory=dict)

    def without(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows but for clean ones whose key is there; a row without a key is never a duplicate."""
        days, keys, stages = (
            batch.column(name).to_pylist() for name in (self.day_column, self.key, Judged.STAGE.value)
        )
        kept = [
            stage is not None or key is None or self._is_new(day, key)
            for day, key, stage in zip(days, keys, stages, strict=True)
        ]
        return batch if all(kept) else batch.filter(pa.array(kept))

    def _is_new(self, day: Any, key: Any) -> bool:
        known = self.keys.get(day)
        if known is None:
            known = self.keys[day] = self._in_lake(day)
        if key in known:
            return False
        known.add(key)
        return True

    def _in_lake(self, day: Any) -> set[Any]:
        found: set[Any] = set()
        for source in InputSource:
            folder = f"{CLEAN}/{INPUT_SOURCE}={source.value}/{self.day_column}={day.isoformat()}"
            for info in self.lake.list(folder):
                if not info.key.rsplit("/", 1)[-1].startswith(("_", ".")):
                    found.update(self._keys(info.key))
        return found

    def _keys(self, file: str) -> list[Any]:
        with self.lake.open(file) as stream, tempfile.SpooledTemporaryFile(32 << 20) as copy:
            if not stream.seekable():
                shutil.copyfileobj(stream, copy, 1 << 20)
                copy.seek(0)
            source = stream if stream.seekable() else cast("BinaryIO", copy)
            return list(pq.ParquetFile(source).read([self.key]).column(0).to_pylist())


def _explained(error: PySparkException) -> IngestError:
    lines = str(error).splitlines()
    ours = next((line for line in lines if _OURS in line), None)
    if ours is not None:
        return DataLossError(ours.partition(_OURS)[2])
    first = next((line for line in lines if line.strip()), type(error).__name__)
    return IngestError(f"Spark could not load the files: {first}; nothing of this batch was published, run it again")
