"""Spark's Python worker daemon with the product's modules loaded before it forks, so that no worker loads them again.

Spark forks a worker from the daemon (`spark.python.daemon.module`) for each task at a time, two a task here: without this
every one of them imports pyarrow, boto3 and the sources for itself, one to two seconds of a core each.
"""

from __future__ import annotations

import importlib
from typing import Final

_PRELOADED: Final = (
    "pandas",  # pyarrow and pyspark look for it with the first array
    "pyspark.worker",
    "pyarrow.compute",
    "pyarrow.csv",
    "pyarrow.parquet",
    "streaming_app.sink.datasource",
    "streaming_app.sources.csv_files",
    "streaming_app.sources.kinesis",
)

if __name__ == "__main__":
    for name in _PRELOADED:
        importlib.import_module(name)
    from pyspark.daemon import manager

    manager()  # type: ignore[no-untyped-call]
