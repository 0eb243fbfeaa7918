"""What Spark's own checkpoint says: which epoch a micro-batch reads, and which batches Spark has committed.

Spark writes `offsets/<batch id>` before a batch runs and `commits/<batch id>` after the sink's commit; both are a
version line, a line of metadata and, for offsets, one line a source (Spark's OffsetSeqLog, CommitLog).
"""

from __future__ import annotations

import json
from typing import Final

from streaming_app.errors import SinkError
from streaming_app.storage import Storage

OFFSETS: Final = "offsets"
COMMITS: Final = "commits"
_HEADER_LINES: Final = 2  # version and metadata


def epoch_of_batch(checkpoint: Storage, batch_id: int) -> int:
    """The epoch that batch `batch_id` reads. Raises SinkError when Spark's offset log does not say."""
    data = checkpoint.get(f"{OFFSETS}/{batch_id}")
    lines = (data or b"").decode(errors="replace").splitlines()[_HEADER_LINES:]
    try:
        return int(json.loads(lines[0])["epoch"])
    except (IndexError, KeyError, TypeError, ValueError):
        raise SinkError(
            f"{checkpoint.uri}/{OFFSETS}/{batch_id} names no epoch; is this the checkpoint of another kind of source? "
            "Give the source a checkpoint folder of its own."
        ) from None


def remove_leftovers(checkpoint: Storage) -> None:
    """Remove the temporary files of a Spark that was killed while it wrote its logs; only before a query starts.

    Spark 4.1 refuses a checkpoint without a first batch whose folders are not empty
    (`spark.sql.streaming.verifyCheckpointDirectoryEmptyOnStart`), and counts these files, too.
    """
    keys = (item.key for folder in (OFFSETS, COMMITS) for item in checkpoint.list(folder))
    checkpoint.delete([key for key in keys if key.endswith((".tmp", ".tmp.crc"))])


def is_committed(checkpoint: Storage, batch_id: int) -> bool:
    """Whether Spark itself recorded the batch as done (it never runs it again then)."""
    return checkpoint.info(f"{COMMITS}/{batch_id}") is not None
