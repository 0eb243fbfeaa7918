"""The last dead letters, out of the files that were published last. Nothing is read while nobody looks."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from streaming_app.journal.ledger import Entry
from streaming_app.journal.read_log import ReadLog
from streaming_app.metrics.live.masking import Masking
from streaming_app.metrics.live.newest import Newest
from streaming_app.schema import DEAD_LETTER, INGESTED_AT, Decoded, Judged
from streaming_app.storage import Storage

_LOG: Final = logging.getLogger(__name__)
MOST: Final = 30  # dead letters on the page
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


@dataclass(frozen=True)
class Kept:
    """Where a source's dead letters are kept, with what they were read from, and what of them is not for everybody's eyes."""

    lake: Storage
    read_log: ReadLog
    masking: Masking


@dataclass(frozen=True)
class _File:
    source: str
    key: str
    epoch: int


class Rejected:
    """Remembers which files came last (`offer`) and reads them in a thread of its own when somebody asks (`last`).

    Personal data is masked, also where the lake keeps it. At most 12 files of up to 32 MiB are read for one look, each once.
    """

    def __init__(self, kept: Mapping[str, Kept]) -> None:
        self._kept = kept
        self._files: Newest[_File] = Newest(_FILES)
        self._rows: dict[_File, list[dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self._asked, self._ended = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="live-dead-letters", daemon=True)
        self._thread.start()

    def offer(self, source: str, entry: Entry) -> None:
        """A batch was published; takes no time."""
        with self._lock:
            for file in entry.files:
                if file.table == DEAD_LETTER and file.staged.size <= _LARGEST:
                    self._files.add(entry.committed_at, _File(source, file.staged.key, entry.epoch))

    def last(self) -> tuple[list[dict[str, Any]], bool]:
        """What was read up to now, newest first; and whether files that came since are being read for the next call."""
        with self._lock:
            waiting = any(file not in self._rows for file in self._files)
            found = [row for file in self._files for row in self._rows.get(file, ())]
        if waiting:
            self._asked.set()
        return sorted(found, key=lambda row: -row["ingested"])[:MOST], waiting

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
                    rows = self._read(file)
                    with self._lock:
                        self._rows[file] = rows
            with self._lock:
                self._rows = {file: rows for file, rows in self._rows.items() if file in self._files}

    def _read(self, file: _File) -> list[dict[str, Any]]:
        """A file's last rows; none of a file that was compacted away meanwhile, or is no Parquet any more."""
        kept = self._kept[file.source]
        try:
            data = kept.lake.get(file.key)
            rows = [] if data is None else _rows(data)
            headers = _headers(kept.read_log, file.epoch) if any(_file_of(row) for row in rows) else {}
            return [_shown(row, kept.masking, headers.get(_file_of(row))) for row in rows]
        except Exception as error:  # noqa: BLE001 - the page is not worth more than a word in the log
            _LOG.debug("dead letters of %s could not be shown: %r", file.key, error)
            return []


def _rows(data: bytes) -> list[dict[str, Any]]:
    file = pq.ParquetFile(pa.BufferReader(data))
    if not file.num_row_groups:
        return []
    # On this thread alone: what a page costs is not worth the cores that rows are waiting for.
    table = file.read_row_group(file.num_row_groups - 1, columns=list(_COLUMNS), use_threads=False)
    rows: list[dict[str, Any]] = table.slice(max(0, table.num_rows - _A_FILE)).to_pylist()
    return rows[::-1]


def _file_of(row: Mapping[str, Any]) -> str:
    """The CSV file of a row, empty where it is of a stream: the position is `<file>#<row>`."""
    return str(row[Decoded.POSITION.value] or "").rpartition("#")[0]


def _headers(read_log: ReadLog, epoch: int) -> dict[str, str]:
    """The headers of the CSV files that an epoch has read."""
    details = [read.detail for read in read_log.units(epoch).values()]
    return {detail["name"]: detail["header"] for detail in details if detail.get("header") is not None}


def _shown(row: Mapping[str, Any], masking: Masking, header: str | None) -> dict[str, Any]:
    raw, encoding = row[Judged.RAW.value] or "", row[Judged.RAW_ENCODING.value]
    text = masking.text(raw, encoding, header)
    return {
        "id": row["dead_letter_id"],
        "stage": row[Judged.STAGE.value],
        "reasons": row[Judged.REASONS.value] or [],
        "raw": text[:LONGEST],
        "length": len(text),
        "encoding": encoding if text == raw else "utf-8",
        "source": row["source"],
        "position": row[Decoded.POSITION.value],
        "arrived": _seconds(row[Decoded.ARRIVED_AT.value]),
        "ingested": _seconds(row[INGESTED_AT]) or 0.0,
    }


def _seconds(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment else None
