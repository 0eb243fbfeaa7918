"""The task's side: reads the files of one partition and records each in the read log before the task ends.

A file that an earlier try of this epoch recorded must give the same again, and what stood for it when it could not be
read is given again from the record. Only a storage that fails raises; what a file holds never does.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO, Final

import pyarrow as pa

from streaming_app.decode.csv_file import CsvFile, CsvFormat
from streaming_app.decode.csv_rows import RowOrigin, rejected_row
from streaming_app.decode.text_stream import StoredBytes
from streaming_app.errors import DataLossError, SourceError
from streaming_app.journal.read_log import ReadLog, UnitRead
from streaming_app.sources.csv_files.files import PlannedFile, from_micros, to_micros
from streaming_app.sources.csv_files.options import CsvOptions
from streaming_app.sources.csv_files.seen import content_tag
from streaming_app.storage import ObjectInfo, Storage, open_storage

_LOG: Final = logging.getLogger(__name__)
_LONGEST_WAIT: Final = 60.0  # seconds that a task waits for a file somebody is writing again
_NOT_WHOLE: Final = frozenset({"not_text", "broken_gzip"})


@dataclass(frozen=True)
class Reader:
    """Reads files for one task; made from nothing but the options."""

    options: CsvOptions
    source: Storage
    read_log: ReadLog

    @classmethod
    def of(cls, options: CsvOptions) -> Reader:
        """A reader of its own connections."""
        source = open_storage(options.path, options.storage)
        return cls(options, source, ReadLog(open_storage(options.read_log_path, options.storage)))

    def read_all(self, epoch: int, files: Iterable[PlannedFile]) -> Iterator[pa.RecordBatch]:
        """The rows of some files of an epoch; each is recorded when its rows end. Raises DataLossError and SourceError."""
        recorded = self.read_log.units(epoch)
        for file in files:
            if file.key in recorded:
                yield from self._again(epoch, file, recorded[file.key])
            else:
                yield from self._read(epoch, file)

    def _read(self, epoch: int, file: PlannedFile) -> Iterator[pa.RecordBatch]:
        info = file.problem or self._settled(file)
        if isinstance(info, str):
            yield from self._reject(epoch, file, info, {})
        elif file.previous is None or not file.previous.content:
            yield from self._rows(epoch, file, info, file.key)
        else:
            yield from self._changed(epoch, file, info)

    def _changed(self, epoch: int, file: PlannedFile, info: ObjectInfo) -> Iterator[pa.RecordBatch]:
        """A path that was read before: touched only, or another content."""
        previous = file.previous
        with self._open(file) as stream:
            stored = StoredBytes(stream)
            stored.drain()
        if previous and (content_tag(stored.sha256), stored.count) == (previous.content, previous.size):
            detail = _detail(info, file.key, "unchanged", sha256=stored.sha256, whole=True)
            self._record(epoch, UnitRead(file.key, 0, 0, detail))
        elif self.options.on_change == "reread":
            yield from self._rows(epoch, file, info, f"{file.key}@{info.etag}-{epoch}")
        else:
            yield from self._reject(epoch, file, "changed_file", {"sha256": stored.sha256}, info)

    def _rows(self, epoch: int, file: PlannedFile, info: ObjectInfo, name: str) -> Iterator[pa.RecordBatch]:
        with self._open(file) as stream:
            csv = self._csv_file(stream, name, info.modified)
            yield from csv.batches()
        after = self.source.info(file.key)
        if after is not None and after.etag != info.etag:
            raise SourceError(
                f"{self._place(file)} changed while it was being read; it will be read again from its beginning"
            )
        self._record(epoch, _unit(file, csv, _detail(info, name, "rows", header=csv.header, errors=dict(csv.errors))))

    def _again(self, epoch: int, file: PlannedFile, recorded: UnitRead) -> Iterator[pa.RecordBatch]:
        detail = recorded.detail
        modified = from_micros(detail["modified"])
        if detail["kind"] == "rejected":
            raw = detail["raw"].encode()
            yield rejected_row(self.options.dataset, detail["error"], raw, f"{detail['name']}#0", modified)
        elif detail["kind"] == "rows":
            with self._open(file) as stream:
                csv = self._csv_file(stream, detail["name"], modified)
                yield from csv.batches()
            self._compare(epoch, recorded, _unit(file, csv, detail))

    def _reject(
        self, epoch: int, file: PlannedFile, error: str, more: dict[str, Any], info: ObjectInfo | None = None
    ) -> Iterator[pa.RecordBatch]:
        """One dead letter in place of a file."""
        now = info or ObjectInfo(file.key, file.size, datetime.fromisoformat(file.modified), file.etag)
        raw = json.dumps(_report(file, now))
        name = f"{file.key}@{now.etag}-{epoch}"
        _LOG.warning("%s: %s", self._place(file), error)
        yield rejected_row(self.options.dataset, error, raw.encode(), f"{name}#0", now.modified)
        detail = _detail(now, name, "rejected", error=error, raw=raw, errors={error: 1}, whole=False, **more)
        self._record(epoch, UnitRead(file.key, 1, 0, detail))

    def _record(self, epoch: int, read: UnitRead) -> None:
        if not self.read_log.put_if_absent(epoch, read):
            winner = self.read_log.unit(epoch, read.unit)
            if winner is not None:
                self._compare(epoch, winner, read)

    def _compare(self, epoch: int, recorded: UnitRead, now: UnitRead) -> None:
        before, after = (_identity(read) for read in (recorded, now))
        if before != after:
            raise DataLossError(
                f"{self.options.path}/{now.unit} changed while it was being read: epoch {epoch} had {before[0]} rows of it,"
                f" now it gives {after[0]}; put back the file of {from_micros(recorded.detail['modified']).isoformat()}"
                f" with {recorded.detail['size']} bytes, and upload the other one under another name"
            )

    def _settled(self, file: PlannedFile) -> ObjectInfo | str:
        """The file as it is, or why there is none.

        If it is not as planned, somebody writes it again: wait until it rests. A file that never does must not hold up
        all others; it is given up with a dead letter, and read as a new one when it has changed once more and rests.
        """
        info = self.source.info(file.key)
        deadline = time.monotonic() + _LONGEST_WAIT
        rests = info is None or info.etag == file.etag or not self.options.settle_seconds
        while info is not None and not rests:
            if time.monotonic() > deadline:
                return "still_changing"
            time.sleep(self.options.settle_seconds)
            before, info = info, self.source.info(file.key)
            rests = info is None or info.etag == before.etag
        return info or "missing_file"

    def _open(self, file: PlannedFile) -> BinaryIO:
        try:
            return self.source.open(file.key)
        except FileNotFoundError:
            raise DataLossError(f"{self._place(file)} was removed while it was being read; put it back") from None
        except OSError as error:
            raise SourceError(
                f"{self._place(file)} cannot be read ({error}); correct that, it is tried again"
            ) from error

    def _csv_file(self, stream: BinaryIO, name: str, modified: datetime) -> CsvFile:
        form = CsvFormat(self.options.delimiter, self.options.max_record_bytes)
        return CsvFile(stream, self.options.dataset, RowOrigin(name, modified), form)

    def _place(self, file: PlannedFile) -> str:
        return f"{self.options.path.rstrip('/')}/{file.key}"


def _detail(info: ObjectInfo, name: str, kind: str, **more: Any) -> dict[str, Any]:
    """What the read log keeps of a file; `name` is how its rows' positions begin."""
    modified = to_micros(info.modified)
    return {"name": name, "kind": kind, "etag": info.etag, "size": info.size, "modified": modified, **more}


def _unit(file: PlannedFile, csv: CsvFile, detail: dict[str, Any]) -> UnitRead:
    whole = not (_NOT_WHOLE & set(csv.errors))
    return UnitRead(file.key, csv.rows, csv.bytes, {**detail, "sha256": csv.sha256, "whole": whole})


def _identity(read: UnitRead) -> tuple[Any, ...]:
    return read.rows, read.detail["kind"], read.detail["name"], read.detail.get("sha256")


def _report(file: PlannedFile, now: ObjectInfo) -> dict[str, Any]:
    report: dict[str, Any] = {"key": file.key, "size": now.size, "modified": now.modified.isoformat(), "etag": now.etag}
    if file.previous:
        before = from_micros(file.previous.modified).isoformat()
        report["read_before"] = {"size": file.previous.size, "modified": before, "epoch": file.previous.epoch}
    return report
