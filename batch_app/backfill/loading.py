"""The Spark side of one batch: files -> decoded -> pipeline -> staged files, in one pass; the driver gets the tasks' results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from batch_app.backfill.inputs import SourceFile
from batch_app.backfill.present import Present, Skip
from batch_app.backfill.reading import FileReader
from streaming_app.errors import IngestError, repeated_in
from streaming_app.pipeline import process
from streaming_app.quality import Suite
from streaming_app.schema import Dataset, Decoded
from streaming_app.sink.commit import TaskResult
from streaming_app.sink.datasource import TaskWriter
from streaming_app.sink.options import SinkOptions
from streaming_app.streams import row_rules

_RESULT: Final = "result"


@dataclass(frozen=True)
class Work:
    """What one batch reads. `skip`: leave out clean rows whose key their day's partition has already."""

    epoch: int
    files: Sequence[SourceFile]
    skip: Skip | None


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
        """See `Loader`. Raises what the tasks raised (DataLossError, SinkError, ConfigError), and IngestError."""
        epoch, files, skip = work.epoch, work.files, work.skip
        tasks = min(len(files), max(2, self.spark.sparkContext.defaultParallelism))
        groups = [list(group) for group in _spread(files, tasks)]
        dataset = reader.dataset

        def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in batches:
                for number in batch.column(0).to_pylist():
                    yield from reader.read_all(epoch, groups[number])

        decoded = self.spark.range(0, tasks, 1, tasks).mapInArrow(read, dataset.decoded_ddl())
        judged = process(decoded, dataset, row_rules(suite, dataset))
        if skip:
            key, day = skip.key, dataset.partition_column
            judged = judged.repartition(tasks, key, day).sortWithinPartitions(key, day, Decoded.POSITION.value)

        def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            yield pa.RecordBatch.from_pydict({_RESULT: [stage(batches, sink, dataset, skip).to_json()]})

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


def stage(batches: Iterable[pa.RecordBatch], sink: SinkOptions, dataset: Dataset, skip: Skip | None) -> TaskResult:
    """Stage judged rows as the stream's sink does."""
    writer = TaskWriter(sink)
    present = Present.of(skip, sink, dataset) if skip else None
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


def _explained(error: PySparkException) -> IngestError:
    ours = repeated_in(str(error))
    if ours is not None:
        return ours
    first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return IngestError(
        f"Spark could not load the files: {first}; nothing of this batch was published, run it again (what no repetition helps"
        " `backfill --forget-plan` gives up)"
    )
