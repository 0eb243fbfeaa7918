"""What Spark's own checkpoint says: which epoch a micro-batch reads, and which batches Spark has committed.

Spark writes `offsets/<batch id>` before a batch runs and `commits/<batch id>` after the sink's commit; both are a
version line, a line of metadata and, for offsets, one line a source (Spark's OffsetSeqLog, CommitLog). It keeps the last
`spark.sql.streaming.minBatchesToRetain` (100) of each.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from streaming_app.errors import SinkError
from streaming_app.storage import Storage

OFFSETS: Final = "offsets"
COMMITS: Final = "commits"
METADATA: Final = "metadata"  # the query's id
_HEADER_LINES: Final = 2  # version and metadata
_LEFTOVERS: Final = (".tmp", ".tmp.crc")


@dataclass(frozen=True)
class SparkLog:
    """What is there: ids of logged and of committed batches, ascending; leftovers are keys of cut-off writes."""

    logged: tuple[int, ...]
    committed: tuple[int, ...]
    has_metadata: bool
    leftovers: tuple[str, ...]

    @property
    def last_logged(self) -> int:
        """The batch that was planned last, -1 when there is none."""
        return self.logged[-1] if self.logged else -1

    @property
    def last_committed(self) -> int:
        """The batch that Spark finished last, -1 when there is none."""
        return self.committed[-1] if self.committed else -1


def read_spark_log(checkpoint: Storage) -> SparkLog:
    """What Spark's folders hold; their contents are not looked at."""
    return SparkLog(
        _batches(checkpoint, OFFSETS),
        _batches(checkpoint, COMMITS),
        checkpoint.info(METADATA) is not None,
        tuple(_leftovers(checkpoint)),
    )


def offset_of_batch(checkpoint: Storage, batch_id: int) -> Any:
    """The source's offset up to which batch `batch_id` reads. Raises SinkError when Spark's log does not hold it."""
    key = f"{OFFSETS}/{batch_id}"
    data = checkpoint.get(key)
    if data is None:
        raise SinkError(f"{checkpoint.uri}/{key} is not there; restore the checkpoint from a backup, whole")
    lines = data.decode(errors="replace").splitlines()[_HEADER_LINES:]
    try:
        return json.loads(lines[0])
    except (IndexError, ValueError):
        raise SinkError(
            f"{checkpoint.uri}/{key} cannot be read as one of Spark's offsets; restore the checkpoint from a backup, whole"
        ) from None


def epoch_of_batch(checkpoint: Storage, batch_id: int) -> int:
    """The epoch that batch `batch_id` reads. Raises SinkError when Spark's offset log does not say."""
    try:
        return int(offset_of_batch(checkpoint, batch_id)["epoch"])
    except (KeyError, TypeError, ValueError):
        raise SinkError(
            f"{checkpoint.uri}/{OFFSETS}/{batch_id} names no epoch; is this the checkpoint of another kind of source? "
            "Give the source a checkpoint folder of its own."
        ) from None


def remove_leftovers(checkpoint: Storage) -> None:
    """Remove the temporary files of a Spark that was killed while it wrote its logs; only before a query starts.

    Spark 4.1 refuses a checkpoint without a first batch whose folders are not empty
    (`spark.sql.streaming.verifyCheckpointDirectoryEmptyOnStart`), and counts these files, too.
    """
    checkpoint.delete(_leftovers(checkpoint))


def is_committed(checkpoint: Storage, batch_id: int) -> bool:
    """Whether Spark itself recorded the batch as done (it never runs it again then)."""
    return checkpoint.info(f"{COMMITS}/{batch_id}") is not None


def _leftovers(checkpoint: Storage) -> list[str]:
    keys = (item.key for folder in (OFFSETS, COMMITS) for item in checkpoint.list(folder))
    return [key for key in keys if key.endswith(_LEFTOVERS)]


def _batches(checkpoint: Storage, folder: str) -> tuple[int, ...]:
    names = (item.key.removeprefix(f"{folder}/") for item in checkpoint.list(folder))
    return tuple(sorted(int(name) for name in names if name.isdigit()))
