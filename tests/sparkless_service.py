"""A service without Spark: sources, read log, sink and ledger are real; Spark's part is played, its files are written.

service = SparklessService(folder, kinesis.url)
service.stream.run()              # batches of the stream, committed by the sink and by "Spark"
service.files({"a.csv": "..."})   # one batch of the CSV source
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from streaming_app.arguments import load_all
from streaming_app.schema import Decoded
from streaming_app.sink.commit import Committer, TaskResult
from streaming_app.sink.datasource import TaskWriter
from streaming_app.sink.options import SinkOptions
from streaming_app.sources.csv_files.epochs import Epochs
from streaming_app.sources.csv_files.options import csv_options, parse_options
from streaming_app.sources.csv_files.reading import Reader
from streaming_app.streams import sink_options
from tests.audit_lake import judged
from tests.kinesis_reading import STREAM, context
from tests.spark_files import LoggedQuery, begin, commit_batch, log_batch

REPOSITORY = Path(__file__).resolve().parent.parent


class SparklessService:
    """A lake in `folder`, and its configuration in `folder/conf.yaml`."""

    def __init__(self, folder: Path, url: str, **limits: Any) -> None:
        self.folder, self.url = folder, url
        self.config = folder / "conf.yaml"
        self.write_config()
        self.stream = Stream(self, limits)
        self._csv_batch = 0

    def write_config(self, **kinesis: Any) -> None:
        settings = {"enabled": True, "stream": STREAM, "region": "us-east-1", "endpoint_url": self.url, **kinesis}
        document = {
            "dataset": str(REPOSITORY / "conf/datasets/orders.yaml"),
            "suite": str(REPOSITORY / "conf/expectations/orders.yaml"),
            "lake": {"root": str(self.folder / "lake")},
            "sources": {"kinesis": settings, "csv": {"enabled": True, "settle": 0}},
        }
        self.config.write_text(json.dumps(document))

    def checkpoint(self, source: str) -> Path:
        return self.folder / "lake" / "checkpoints" / source

    def sink(self, source: str) -> SinkOptions:
        loaded, suite = load_all(str(self.config), ())
        return sink_options(loaded, source, suite)

    def stage(self, source: str, positions: Sequence[str]) -> list[TaskResult]:
        """What a task leaves: files that nobody can see."""
        options = self.sink(source)
        writer = TaskWriter(options)
        writer.add(judged(options.load_dataset(), positions))
        return [writer.finish()]

    def write(self, source: str, positions: Sequence[str], batch: int) -> None:
        """Both phases of the sink's commit."""
        Committer(self.sink(source)).commit(self.stage(source, positions), batch)

    def recover(self, source: str) -> None:
        """As the service does before it starts a query."""
        Committer(self.sink(source)).recover()

    def files(self, content: Mapping[str, str], *, commit: bool = True) -> None:
        """Upload files and read them in one batch."""
        raw = self.folder / "lake" / "raw"
        raw.mkdir(parents=True, exist_ok=True)
        for name, text in content.items():
            (raw / name).write_text(text)
        loaded, _ = load_all(str(self.config), ())
        made = csv_options(
            loaded.config.sources.csv, loaded.dataset, loaded.config.csv_path(), "", str(self.checkpoint("csv")),
            loaded.config.lake.s3.storage_options(),
        )  # fmt: skip
        epochs = Epochs(parse_options(made))
        begin(self.checkpoint("csv"))
        before = self._csv_batch
        if before:
            epochs.partitions(before, before)
        epoch = epochs.latest()
        log_batch(self.checkpoint("csv"), before, {"epoch": epoch})
        reader = Reader.of(parse_options(made))
        rows = [
            position
            for part in epochs.partitions(before, epoch)
            for batch in reader.read_all(part.epoch, part.files)
            for position in batch.column(Decoded.POSITION.value).to_pylist()
        ]
        if commit:
            self.write("csv", rows, before)
            commit_batch(self.checkpoint("csv"), before)
            epochs.commit(epoch)
            self._csv_batch += 1
        epochs.stop()

    def long_ago(self) -> None:
        """The checkpoints were last written to an hour ago."""
        then = time.time() - 3600
        for path in (self.folder / "lake" / "checkpoints").rglob("*"):
            os.utime(path, (then, then))

    def visible(self) -> list[str]:
        """Source positions of all rows that a reader of the lake sees."""
        import pyarrow.parquet as pq

        files = [
            file for table in ("clean", "dead_letter") for file in (self.folder / "lake" / table).rglob("*.parquet")
        ]
        return sorted(row for file in files for row in pq.ParquetFile(file).read()["source_position"].to_pylist())


class Stream(LoggedQuery):
    """The stream's query: a batch is written by the sink before Spark knows that it is done."""

    def __init__(self, service: SparklessService, limits: Mapping[str, Any]) -> None:
        self._service, self._last = service, []
        folder = service.checkpoint("kinesis")
        super().__init__(lambda: context(service.url, folder, **limits), folder)

    def read(self, keep: bool = True) -> list[str]:
        self._last = super().read(keep)
        return self._last

    def write(self) -> None:
        """The sink's commit of the batch that was read last."""
        self._service.write("kinesis", self._last, len(self.offsets) - 2)

    def commit(self) -> None:
        self.write()
        super().commit()
