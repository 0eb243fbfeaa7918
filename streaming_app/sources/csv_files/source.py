"""CSV files as a Spark data source: `csv-files` gives a dataset's rows in the decoded layout.

Guarantee: every record of every file becomes exactly one row, and a batch that Spark runs again gives exactly the same
rows, so a sink that writes each batch id once writes each row once. Files are taken in order of their modification time;
none is skipped for being old, and a path that changed after it was read is reported (or read again, as configured).

Resume rule: Spark's offset is `{"epoch": N}`; the read log (`read_log_path`, next to the checkpoint) holds which files an
epoch reads and what was read of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa
from pyspark.sql.datasource import DataSource, DataSourceStreamReader, InputPartition
from pyspark.sql.types import StructType

from streaming_app.errors import SourceError
from streaming_app.runtime import logs
from streaming_app.sources.csv_files.epochs import EpochPartition, Epochs
from streaming_app.sources.csv_files.options import CsvOptions, parse_options
from streaming_app.sources.csv_files.reading import Reader

FORMAT: Final = "csv-files"
_LOGGED_AS: Final = "csv"


class CsvFilesDataSource(DataSource):
    """`csv-files`: `Dataset.decoded_ddl()` of option `dataset`. Options: `CsvOptions`; raises ConfigError for wrong ones."""

    def __init__(self, options: dict[str, str]) -> None:
        super().__init__(options)
        self._parsed = parse_options(dict(options))

    @classmethod
    def name(cls) -> str:
        return FORMAT

    def schema(self) -> str:
        return self._parsed.dataset.decoded_ddl()

    def streamReader(self, schema: StructType) -> CsvStreamReader:  # noqa: N802, ARG002 - Spark's name
        return CsvStreamReader(self._parsed)


class CsvStreamReader(DataSourceStreamReader):
    """Driver and tasks have one each; a task's has nothing but the options, as Spark sends it over."""

    def __init__(self, options: CsvOptions) -> None:
        self._options = options
        self._driver: Epochs | None = None

    def initialOffset(self) -> dict[str, Any]:  # noqa: N802 - Spark's name
        return {"epoch": 0}

    def latestOffset(self) -> dict[str, Any]:  # noqa: N802 - Spark's name
        return {"epoch": self._epochs().latest()}

    def partitions(self, start: dict[str, Any], end: dict[str, Any]) -> list[InputPartition]:
        return list(self._epochs().partitions(start["epoch"], end["epoch"]))

    def commit(self, end: dict[str, Any]) -> None:
        self._epochs().commit(end["epoch"])

    def stop(self) -> None:
        if self._driver is not None:
            self._driver.stop()

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        if not isinstance(partition, EpochPartition):
            raise SourceError(f"{partition!r} is no partition of this source")
        logs.inherit(_LOGGED_AS)
        return Reader.of(self._options).read_all(partition.epoch, partition.files)

    def _epochs(self) -> Epochs:
        if self._driver is None:
            logs.inherit(_LOGGED_AS)
            self._driver = Epochs(self._options)
        return self._driver
