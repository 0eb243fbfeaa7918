"""What an audit found, as plain records."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

LAKE: Final = "lake"  # the source of a finding that belongs to no source
_LISTED: Final = 100  # findings of one kind and source that are listed one by one; the others are counted


class Kind(StrEnum):
    """What is not as it should be."""

    COUNTS = "counts"  # an entry's own numbers contradict each other
    READ_LOG = "read_log"  # ledger and read log contradict each other, or a record cannot be understood
    MISSING_BATCH = "missing_batch"  # rows were read, and no entry of the ledger has them
    DOUBLE_BATCH = "double_batch"  # two entries of the ledger for the same reads
    MISSING_FILE = "missing_file"
    FILE_SIZE = "file_size"
    FILE_ROWS = "file_rows"
    UNREADABLE_FILE = "unreadable_file"
    ORPHAN_FILE = "orphan_file"  # readers of the lake see it, no entry of the ledger knows it
    MISSING_ROWS = "missing_rows"
    DUPLICATE_ROWS = "duplicate_rows"
    UNKNOWN_ROWS = "unknown_rows"
    GAP = "gap"  # part of a shard or of a plan that was never read
    OVERLAP = "overlap"  # read twice
    UNFINISHED = "unfinished"  # the service has still to do it
    STAGED = "staged"  # invisible leftovers
    SUITE = "suite"  # judged by another suite than the configured one
    NEVER_RAN = "never_ran"


@dataclass(frozen=True)
class Finding:
    """One difference or notice: what is wrong where, and what to do about it, in plain words."""

    source: str
    kind: Kind
    message: str
    advice: str
    batch: int | None = None
    unit: str | None = None
    file: str | None = None

    def __str__(self) -> str:
        return f"{self.source}: {self.message}; {self.advice}"


@dataclass(frozen=True)
class SourceReport:
    """One source in numbers. `rows_checked`: positions found in files; `units`: shards or CSV files that were read.

    `compacted`: of the files, those that compactions have replaced. `replayed` and `discarded`: of the dead letters, those that were published after all or marked as done.
    """

    source: str
    batches: int = 0
    rows_read: int = 0
    clean: int = 0
    dead: int = 0
    duplicates: int = 0
    replayed: int = 0
    discarded: int = 0
    files: int = 0
    compacted: int = 0
    units: int = 0
    rows_checked: int = 0
    differences: int = 0


@dataclass(frozen=True)
class AuditReport:
    """All that was found. `unlisted`: differences that were counted, but are too many of one kind to be listed."""

    lake: str
    settled: bool
    sources: tuple[SourceReport, ...]
    differences: tuple[Finding, ...]
    notices: tuple[Finding, ...]
    unlisted: int = 0

    @property
    def ok(self) -> bool:
        """Every position read is in exactly one place, once."""
        return not self.differences

    def to_json(self) -> dict[str, Any]:
        """A JSON object; the keys are the attributes, and `ok`."""
        return {"ok": self.ok, **asdict(self)}


class Findings:
    """Collects findings in bounded memory."""

    def __init__(self) -> None:
        self._found: Counter[tuple[str, Kind]] = Counter()
        self.differences: list[Finding] = []
        self.notices: list[Finding] = []
        self.unlisted = 0

    def add(self, finding: Finding) -> None:
        """A difference."""
        place = (finding.source, finding.kind)
        self._found[place] += 1
        if self._found[place] <= _LISTED:
            self.differences.append(finding)
        else:
            self.unlisted += 1

    def note(self, finding: Finding) -> None:
        """Something worth knowing that is no difference."""
        self.notices.append(finding)

    def count(self, source: str) -> int:
        """Differences of one source, listed or not."""
        return sum(count for (name, _), count in self._found.items() if name == source)
