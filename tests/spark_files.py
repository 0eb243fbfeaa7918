"""Spark's own checkpoint files, written as Spark 4.1 writes them, so that what reads them needs no Spark in tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.kinesis_reading import Query

_METADATA = {"batchWatermarkMs": 0, "batchTimestampMs": 1764000000000, "conf": {}}


def log_batch(checkpoint: Path, batch: int, offset: Any) -> None:
    """`offsets/<batch>`: written before a batch runs."""
    _write(checkpoint / "offsets" / str(batch), "v1", json.dumps(_METADATA), json.dumps(offset))


def commit_batch(checkpoint: Path, batch: int) -> None:
    """`commits/<batch>`: written after the sink's commit."""
    _write(checkpoint / "commits" / str(batch), "v1", '{"nextBatchWatermarkMs":0}')


def begin(checkpoint: Path) -> None:
    """`metadata`: the query's id."""
    _write(checkpoint / "metadata", '{"id":"0f4ed0f7-6c4e-4c39-9b6f-1d2c3b4a5e6f"}')


def _write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))


class LoggedQuery(Query):
    """A query that leaves Spark's files in `folder`, too; batch n reads up to the offset n + 1."""

    folder: Path

    def __init__(self, make: Any, folder: Path) -> None:
        self.folder = folder
        super().__init__(make)
        begin(folder)

    def plan(self) -> bool:
        planned = super().plan()
        if planned:
            log_batch(self.folder, len(self.offsets) - 2, self.offsets[-1].to_json())
        return planned

    def commit(self) -> None:
        super().commit()
        commit_batch(self.folder, self.committed - 1)
