"""Replayed and discarded dead letters: the book's ids against the files it made and the dead letters they came from.

A replayed row is in the lake twice by design, once as the dead letter that it was and once as the clean row that it is; so
batches count it as a dead letter, and here it is proved that the clean row is that dead letter's, once, and no other's.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import numpy as np

from batch_app.audit.compactions import Compactions, Gone
from batch_app.audit.lake import LakeFiles, open_rows
from batch_app.audit.report import LAKE, Finding, Findings, Kind
from batch_app.compaction.reading import UNREADABLE
from batch_app.dead_letters.book import Action, Book, ids_of
from batch_app.dead_letters.selection import Selection
from batch_app.dead_letters.table import ID, DeadLetters, fixed_ids
from streaming_app.config import Config
from streaming_app.config.models import SourceName
from streaming_app.errors import SinkError
from streaming_app.journal.ledger import LedgerFile
from streaming_app.places import dead_letters_of
from streaming_app.schema import InputSource
from streaming_app.storage import Storage, open_storage

_NAMES: Final = {label.value: name for name, label in SourceName.INPUT_SOURCE.items()}
_BACKUP: Final = "restore checkpoints/dead_letters from a backup"
_RESTORE: Final = "restore the file from a backup or an older object version"
_FINISH: Final = "the next `dead-letters replay` or `discard` finishes it"


class ReplayAudit:
    """The audit of `checkpoints/dead_letters`. After `run`, `replayed` and `discarded` count dead letters by source."""

    def __init__(
        self,
        config: Config,
        lake: Storage,
        files: LakeFiles,
        compactions: Compactions,
        findings: Findings,
        *,
        settled: bool,
    ) -> None:
        self._lake, self._files, self._findings, self._settled = lake, files, findings, settled
        self._compactions = compactions
        self._book = Book(open_storage(dead_letters_of(config), config.lake.s3.storage_options()), lake)
        self.replayed: Counter[str] = Counter()
        self.discarded: Counter[str] = Counter()
        self.pending: set[str] = set()

    def run(self) -> None:
        """Check every action, then every id. Damage is a finding; only an unreachable lake raises."""
        try:
            waiting = {action.number for action in self._book.unfinished()}
            for number, action in self._book.actions.items():
                if action.kind == "replay" and number not in self._book.released:
                    self._replay(action, unfinished=number in waiting)
        except SinkError as error:
            self._findings.add(Finding(LAKE, Kind.COUNTS, f"the book of dead letters: {error}", _BACKUP))
            return
        if len(self._book.taken):
            self._ids()

    def _replay(self, action: Action, *, unfinished: bool) -> None:
        source = _NAMES.get(action.input_source, LAKE)
        gone = {file.staged.key: self._compactions.find(file.staged.key) for file in action.files}
        sizes = {key: self._files.listed(key) if found else self._files.size_of(key) for key, found in gone.items()}
        absent = [key for key, size in sizes.items() if size is None and gone[key] is None]
        if absent and unfinished:
            self.pending.update(file.staged.key for file in action.files)
            message = f"replay {action.number} is committed, but {len(absent)} of its files are not visible yet"
            finding = Finding(source, Kind.UNFINISHED, message, _FINISH)
            (self._findings.add if self._settled else self._findings.note)(finding)
            return
        found: list[str] = []
        here = {key for key, each in gone.items() if each is None or self._is_here(each, sizes[key])}
        files = [file for file in action.files if file.staged.key in here]
        sound = [self._file(action, source, file, sizes[file.staged.key], found) for file in files]
        replaced = {each for key, each in gone.items() if each and key not in here}
        sound.append(self._compacted(action, source, replaced, found))
        self._compare(action, source, found, whole=all(sound))

    def _is_here(self, gone: Gone, size: int | None) -> bool:
        """Whether a compaction that was to replace a file is not done with it yet."""
        return size is not None and gone.entry > self._compactions.finished

    def _compacted(self, action: Action, source: str, files: set[Gone], found: list[str]) -> bool:
        """The rows of files that compactions have replaced; a replay's files of one task have one stamp."""
        wanted: dict[int, set[str]] = {}
        for gone in files:
            outputs = {file.staged.key for file in self._compactions.live(gone.entry)}
            wanted.setdefault(gone.stamp or 0, set()).update(outputs)
        try:
            for stamp, outputs in wanted.items():
                for output in sorted(outputs):
                    for positions in self._compactions.positions(output, stamp):
                        found += positions.to_pylist()
        except UNREADABLE as error:
            message = (
                f"replay {action.number}: what replaced its files cannot be read ({' '.join(str(error).split())[:200]})"
            )
            self._findings.add(Finding(source, Kind.MISSING_FILE, message, _RESTORE))
            return False
        return True

    def _file(self, action: Action, source: str, file: LedgerFile, size: int | None, found: list[str]) -> bool:
        """Look at one file and add its positions to `found`; False when its rows cannot be counted."""
        key, who = file.staged.key, f"replay {action.number}"
        if size is None:
            message = f"{who}: {key} is not there; it held {file.rows} rows"
            self._findings.add(Finding(source, Kind.MISSING_FILE, message, _RESTORE, file=key))
            return False
        if size != file.staged.size:
            message = f"{who}: {key} has {size} bytes, but {file.staged.size} were written"
            self._findings.add(Finding(source, Kind.FILE_SIZE, message, f"somebody replaced it: {_RESTORE}", file=key))
        try:
            with open_rows(self._lake, key) as rows:
                for positions in rows.positions():
                    found += positions.to_pylist()
        except FileNotFoundError:
            gone = self._compactions.find_new(key)  # it was listed: a compaction may have replaced it since
            return self._compacted(action, source, {gone} if gone else set(), found) and gone is not None
        except UNREADABLE as error:
            message = f"{who}: {key} cannot be read as Parquet ({' '.join(str(error).split())[:200]})"
            self._findings.add(Finding(source, Kind.UNREADABLE_FILE, message, _RESTORE, file=key))
            return False
        return True

    def _compare(self, action: Action, source: str, positions: list[str], *, whole: bool) -> None:
        """Each clean row is one of the dead letters that the action took, once."""
        from streaming_app.sink.datasource import dead_letter_id  # noqa: PLC0415 - pyspark: only where there are replays

        found = ids_of(dead_letter_id(action.source, position or "") for position in positions)
        taken = np.sort(self._book.ids(action))
        different, counts = np.unique(found, return_counts=True)
        twice, strange = int((counts - 1).sum()), int((~np.isin(different, taken)).sum())
        missing = int((~np.isin(taken, different)).sum())
        who = f"replay {action.number}"
        if twice:
            message = f"{who}: {twice} rows are in its files more than once"
            self._findings.add(Finding(source, Kind.DUPLICATE_ROWS, message, f"somebody changed a file: {_RESTORE}"))
        if strange:
            message = f"{who}: {strange} rows are none of the dead letters that it took"
            self._findings.add(Finding(source, Kind.UNKNOWN_ROWS, message, f"somebody changed a file: {_RESTORE}"))
        if missing and whole:
            message = f"{who}: {missing} of the {len(taken)} dead letters that it took are in none of its files"
            self._findings.add(Finding(source, Kind.MISSING_ROWS, message, f"somebody changed a file: {_RESTORE}"))

    def _ids(self) -> None:
        """Every id that was taken is a dead letter's, and was taken once."""
        taken = self._book.taken
        if len(taken.twice()):
            example = taken.twice()[0].decode()
            message = f"{len(taken.twice())} dead letters were taken by two actions, such as {example}"
            self._findings.add(Finding(LAKE, Kind.DUPLICATE_ROWS, message, _BACKUP))
        kinds = {number: action.kind for number, action in self._book.actions.items()}
        seen = np.zeros(len(taken), bool)
        letters = DeadLetters(self._lake, taken, self._compactions.book)
        try:
            for file, table in letters.scan(Selection(), (ID, "action"), state="taken"):
                source = _NAMES[InputSource(file.input_source).value]
                for number in table.column("action").to_pylist():
                    (self.replayed if kinds[number] == "replay" else self.discarded)[source] += 1
                seen[np.searchsorted(taken.all(), fixed_ids(table.column(ID)))] = True
        except SinkError:
            return  # a file of dead letters that is damaged: its batch says so
        unknown = taken.all()[~seen]
        if len(unknown):
            message = f"{len(unknown)} dead letters that were replayed or discarded are in no file, such as"
            advice = "restore the files of dead_letter/ from a backup"
            self._findings.add(Finding(LAKE, Kind.UNKNOWN_ROWS, f"{message} {unknown[0].decode()}", advice))
