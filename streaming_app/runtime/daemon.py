"""Spark's Python worker daemon with the product's modules loaded before it forks, so that no worker loads them again.

Spark forks a worker from the daemon (`spark.python.daemon.module`) for each task at a time, two a task here: without this
every one of them imports pyarrow, boto3 and the sources for itself, one to two seconds of a core each.

Spark also puts its own core jar on the workers' path. Each task makes Python forget what it knows of its path, and until
3.12 a zip's directory is then read again at once: 80 ms a task, a seventh of the Python time of a full-speed run. And a
worker collects garbage after each task, over all that was loaded: a tenth more, so what is loaded here is frozen.
"""

from __future__ import annotations

import gc
import importlib
import sys
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


def forget_jars() -> None:
    """Take Java archives, which hold no Python, off the path."""
    sys.path[:] = [entry for entry in sys.path if not entry.endswith(".jar")]
    for entry in [entry for entry in sys.path_importer_cache if entry.endswith(".jar")]:
        del sys.path_importer_cache[entry]


if __name__ == "__main__":
    forget_jars()
    for name in _PRELOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    from pyspark.daemon import manager

    manager()  # type: ignore[no-untyped-call]
