"""The last dead letters, out of the files that were published last. Nothing is read while nobody looks."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from streaming_app.journal.ledger import Entry
from streaming_app.metrics.live.newest import Newest
from streaming_app.schema import DEAD_LETTER, INGESTED_AT, Decoded, Judged
from streaming_app.storage import Storage

_LOG: Final = logging.getLogger(__name__)
KEPT: Final = 30  # dead letters on the page
_A_FILE: Final = 10  # of one file, so that one bad upload does not hide everything else
_FILES: Final = 12  # the newest ones that are looked into
_LARGEST: Final = 32 << 20  # bytes of a file that is read for this
LONGEST: Final = 4000  # characters of a row's text
_COLUMNS: Final = (
    "dead_letter_id",
    Judged.STAGE.value,
    Judged.REASONS.value,
    Judged.RAW.value,
    Judged.RAW_ENCODING.value,
    "source",
    Decoded.POSITION.value,
    Decoded.ARRIVED_AT.value,
    INGESTED_AT,
)


class Rejected:
    """Remembers which files came last (`offer`) and reads them in a thread of its own when somebody asks (`last`).

    Personal data is treated as in the lake, since this is what stands in the lake. At most 12 files of up to 32 MiB are read
    for one look, each once.
    """

    def __init__(self, lakes: Mapping[str, Storage]) -> None:
        self._lakes = lakes
        self._files: Newest[tuple[str, str]] = Newest(_FILES)  # source and key
        self._rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self._asked, self._ended = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="live-dead-letters", daemon=True)
        self._thread.start()

    def offer(self, source: str, entry: Entry) -> None:
        """A batch was published; takes no time."""
        with self._lock:
            for file in entry.files:
                if file.table == DEAD_LETTER and file.staged.size <= _LARGEST:
                    self._files.add(entry.committed_at, (source, file.staged.key))

    def last(self) -> tuple[list[dict[str, Any]], bool]:
        """What was read up to now, newest first; and whether files that came since are being read for the next call."""
        with self._lock:
            waiting = any(file not in self._rows for file in self._files)
            found = [row for file in self._files for row in self._rows.get(file, ())]
        if waiting:
            self._asked.set()
        return sorted(found, key=lambda row: -row["ingested"])[:KEPT], waiting

    def close(self) -> None:
        """Read no more."""
        self._ended = True
        self._asked.set()
        self._thread.join(timeout=1)

    def _run(self) -> None:
        while self._asked.wait() and not self._ended:
            self._asked.clear()
            with self._lock:
                files = list(self._files)
            for file in files:
                if file not in self._rows and not self._ended:
                    rows = self._read(*file)
                    with self._lock:
                        self._rows[file] = rows
            with self._lock:
                self._rows = {file: rows for file, rows in self._rows.items() if file in self._files}

    def _read(self, source: str, key: str) -> list[dict[str, Any]]:
        """A file's last rows; none of a file that was compacted away meanwhile, or is no Parquet any more."""
        try:
            data = self._lakes[source].get(key)
            return [] if data is None else _rows(data)
        except Exception as error:  # noqa: BLE001 - the page is not worth more than a word in the log
            _LOG.debug("dead letters of %s could not be shown: %r", key, error)
            return []


def _rows(data: bytes) -> list[dict[str, Any]]:
    file = pq.ParquetFile(pa.BufferReader(data))
    if not file.num_row_groups:
        return []
    # On this thread alone: what a page costs is not worth the cores that rows are waiting for.
    table = file.read_row_group(file.num_row_groups - 1, columns=list(_COLUMNS), use_threads=False)
    return [_shown(row) for row in table.slice(max(0, table.num_rows - _A_FILE)).to_pylist()][::-1]


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    raw = row[Judged.RAW.value] or ""
    return {
        "id": row["dead_letter_id"],
        "stage": row[Judged.STAGE.value],
        "reasons": row[Judged.REASONS.value] or [],
        "raw": raw[:LONGEST],
        "length": len(raw),
        "encoding": row[Judged.RAW_ENCODING.value],
        "source": row["source"],
        "position": row[Decoded.POSITION.value],
        "arrived": _seconds(row[Decoded.ARRIVED_AT.value]),
        "ingested": _seconds(row[INGESTED_AT]) or 0.0,
    }


def _seconds(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment else None
