"""One batch's files against its ledger entry and its reads; batches are checked side by side, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from batch_app.audit.compactions import Compactions, Gone
from batch_app.audit.lake import LakeFiles, open_rows
from batch_app.audit.report import Finding, Kind
from batch_app.audit.tally import Counted, Tally
from batch_app.compaction.reading import UNREADABLE
from streaming_app.journal.ledger import Entry, LedgerFile
from streaming_app.schema import CLEAN, DEAD_LETTER
from streaming_app.storage import Storage

_ROWS_AT_ONCE: Final = 2_000_000  # rows of batches under check together; a larger batch is checked alone
_BATCHES_AT_ONCE: Final = 64
_REPLAY: Final = "restore the file from a backup or an older object version; its rows can be read again from the source"
_WRITE_ANEW: Final = "its rows must be read again from the source into a new lake, to compare the two"


@dataclass(frozen=True)
class Batch:
    """An entry, and the tally that its rows go into; None where its reads are not known, so only files are checked."""

    entry: Entry
    tally: Tally | None
    published: bool


@dataclass(frozen=True)
class Checked:
    """What came out of one batch. `waiting`: files of an unpublished entry that are not visible yet.

    `compacted`: files that compactions have replaced.
    """

    batch: Batch
    rows: int
    findings: tuple[Finding, ...]
    waiting: int = 0
    compacted: int = 0


class BatchChecker:
    """Checks batches of one source. Safe for several threads."""

    def __init__(self, source: str, lake: Storage, files: LakeFiles, compactions: Compactions) -> None:
        self._source, self._lake, self._files, self._compactions = source, lake, files, compactions

    def check_all(self, batches: Iterable[Batch], threads: int) -> Iterator[Checked]:
        """Every batch's result, in order. Memory is bounded by `_ROWS_AT_ONCE` positions, or the largest batch."""
        running: deque[tuple[int, Future[Checked]]] = deque()
        with ThreadPoolExecutor(threads, "audit") as pool:
            for batch in batches:
                rows = batch.entry.counts.written
                while running and (
                    len(running) >= _BATCHES_AT_ONCE or sum(held for held, _ in running) + rows > _ROWS_AT_ONCE
                ):
                    yield running.popleft()[1].result()
                running.append((rows, pool.submit(self.check, batch)))
            while running:
                yield running.popleft()[1].result()

    def check(self, batch: Batch) -> Checked:
        """Files first, then the rows in them."""
        gone = {file.staged.key: self._compactions.find(file.staged.key) for file in batch.entry.files}
        sizes = {key: self._files.listed(key) if found else self._files.size_of(key) for key, found in gone.items()}
        absent = [key for key, size in sizes.items() if size is None and gone[key] is None]
        if absent and not batch.published:
            return Checked(batch, 0, (), len(absent))
        check = _Check(self._source, batch, self._lake, self._compactions)
        for file in batch.entry.files:
            check.file(file, sizes[file.staged.key], gone[file.staged.key])
        check.compacted()
        check.judge_rows()
        return Checked(batch, check.rows, tuple(check.findings), compacted=len(check.replaced))


class _Check:
    """The check of one batch under way."""

    def __init__(self, source: str, batch: Batch, lake: Storage, compactions: Compactions) -> None:
        self._source, self._batch, self._lake, self._compactions = source, batch, lake, compactions
        self._entry = batch.entry
        self._tally = batch.tally
        self._lost_rows = 0
        self.rows = 0
        self.findings: list[Finding] = []
        self.replaced: list[tuple[LedgerFile, Gone]] = []

    def _add(self, kind: Kind, message: str, advice: str, *, unit: str | None = None, file: str | None = None) -> None:
        text = f"batch {self._entry.batch_id}: {message}"
        self.findings.append(Finding(self._source, kind, text, advice, self._entry.batch_id, unit, file))

    def lost(self, kind: Kind, file: LedgerFile, what: str, advice: str) -> None:
        """A file whose rows cannot be counted."""
        self._lost_rows += file.rows
        self._add(kind, f"{file.staged.key} {what}", advice, file=file.staged.key)

    def file(self, file: LedgerFile, size: int | None, gone: Gone | None) -> None:
        """One file: where it is, or what has replaced it."""
        if size is not None and gone is not None and gone.entry <= self._compactions.finished:
            what = f"{file.staged.key} was replaced by compaction {gone.entry}, and it is there again"
            self._add(Kind.DUPLICATE_ROWS, what, "remove it: its rows are in the lake twice", file=file.staged.key)
            size = None
        if size is not None:
            self._whole(file, size)
        elif gone is not None:
            self.replaced.append((file, gone))
        else:
            self.lost(Kind.MISSING_FILE, file, f"is not there; it held {file.rows} rows", _REPLAY)

    def _whole(self, file: LedgerFile, size: int) -> None:
        """Size, footer and positions of one file."""
        key = file.staged.key
        if size != file.staged.size:
            what = f"{key} has {size} bytes, but {file.staged.size} were written"
            self._add(Kind.FILE_SIZE, what, f"somebody replaced it: {_REPLAY}", file=key)
        try:
            self._count(file)
        except FileNotFoundError:
            self._vanished(file)
        except UNREADABLE as error:
            what = f"cannot be read as Parquet ({_one_line(error)}); it held {file.rows} rows"
            self.lost(Kind.UNREADABLE_FILE, file, what, _REPLAY)

    def _vanished(self, file: LedgerFile) -> None:
        """A file that was listed: a compaction may have replaced it since."""
        gone = self._compactions.find_new(file.staged.key)
        if gone is not None:
            self.replaced.append((file, gone))
        else:
            self.lost(Kind.MISSING_FILE, file, f"vanished during the audit; it held {file.rows} rows", _REPLAY)

    def _count(self, file: LedgerFile) -> None:
        key = file.staged.key
        with open_rows(self._lake, key) as rows:
            if rows.rows != file.rows:
                what = f"{key} has {rows.rows} rows, but {file.rows} were written"
                self._add(Kind.FILE_ROWS, what, f"somebody replaced it: {_REPLAY}", file=key)
            for positions in rows.positions() if self._tally else ():
                self._tell(positions)

    def _tell(self, positions: Any) -> None:
        if self._tally:
            self.rows += len(positions)
            self._tally.add(positions)

    def compacted(self) -> None:
        """The rows of replaced files, found in what replaced them; files of one task have one stamp and are one."""
        together: dict[tuple[str, int | None], list[tuple[LedgerFile, Gone]]] = {}
        for file, gone in self.replaced:
            together.setdefault((gone.folder, gone.stamp), []).append((file, gone))
        for (_, stamp), files in together.items():
            self._in_outputs(stamp, files)

    def _in_outputs(self, stamp: int | None, files: list[tuple[LedgerFile, Gone]]) -> None:
        outputs = sorted({file.staged.key for _, gone in files for file in self._compactions.live(gone.entry)})
        found = 0
        try:
            for output in outputs if stamp is not None else ():
                for positions in self._compactions.positions(output, stamp):  # type: ignore[arg-type]  # not None here
                    found += len(positions)
                    self._tell(positions)
        except UNREADABLE as error:
            for file, gone in files:
                what = f"was replaced by compaction {gone.entry}, whose files cannot be read ({_one_line(error)})"
                self.lost(Kind.MISSING_FILE, file, what, _REPLAY)
            return
        self._compare(found, files, outputs)

    def _compare(self, found: int, files: list[tuple[LedgerFile, Gone]], outputs: list[str]) -> None:
        expected = sum(file.rows for file, _ in files)
        if found != expected:
            key = files[0][0].staged.key
            what = f"{key} had {expected} rows, and of these {found} are in what replaced it ({_list(outputs)})"
            self._add(Kind.FILE_ROWS, what, f"somebody changed a file: {_REPLAY}", file=key)

    def judge_rows(self) -> None:
        """What the rows of all files come to."""
        if self._tally:
            counted = self._tally.result()
            self._too_many(counted)
            expected = self._entry.counts.duplicates + self._lost_rows
            if counted.missing and (counted.missing != expected or counted.unknown):
                self._too_few(counted)

    def _too_many(self, counted: Counted) -> None:
        if counted.duplicates:
            what = (
                f"{counted.duplicates} rows are in the lake more than once, such as {_list(counted.duplicate_examples)}"
            )
            advice = "remove the surplus rows: SELECT source_position, count(*) ... HAVING count(*) > 1 finds them"
            self._add(Kind.DUPLICATE_ROWS, what, advice)
        if counted.unknown:
            what = f"{counted.unknown} rows were never read by this batch, such as {_list(counted.unknown_examples)}"
            advice = f"somebody changed or added a file: {_REPLAY}"
            self._add(Kind.UNKNOWN_ROWS, what, advice)

    def _too_few(self, counted: Counted) -> None:
        for gap in counted.gaps:
            what = f"{gap.rows} rows of {gap.unit} are in no file ({gap.which})"
            self._add(Kind.MISSING_ROWS, what, _WRITE_ANEW, unit=gap.unit)


def count_findings(source: str, entry: Entry) -> Iterator[Finding]:
    """Where an entry's own numbers contradict each other."""
    counts = entry.counts
    in_files = {table: sum(file.rows for file in entry.files if file.table == table) for table in (CLEAN, DEAD_LETTER)}
    problems = {
        f"{counts.read} rows read, but {counts.clean} clean + {counts.dead} dead + {counts.duplicates} duplicates ="
        f" {counts.written}": counts.read != counts.written,
        f"{counts.clean} clean rows, but its files hold {in_files[CLEAN]}": counts.clean != in_files[CLEAN],
        f"{counts.dead} dead letters, but its files hold {in_files[DEAD_LETTER]}": counts.dead != in_files[DEAD_LETTER],
        f"{counts.dead} dead letters, but by stage they are {sum(counts.by_stage.values())}": counts.dead
        != sum(counts.by_stage.values()),
    }
    for what, wrong in problems.items():
        if wrong:
            message = f"batch {entry.batch_id}: the ledger says {what}"
            yield Finding(source, Kind.COUNTS, message, "restore the ledger from a backup", entry.batch_id)


def _list(examples: Iterable[str]) -> str:
    return ", ".join(examples)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
