"""Every error the product raises on purpose, and the exit code each one ends a command with.

    IngestError                 1  anything below, when nothing more exact is known
    |-- ConfigError             2  configuration, arguments or input files that cannot be used
    |-- QualityStop             3  the quality gate or circuit breaker stopped the run
    |-- SourceError             4  a source failed for good, after its restarts
    |-- DataLossError           5  rows were lost upstream, or the counts do not add up
    |-- SinkError               6  the lake or its ledger could not be written
    `-- AuditDifference         1  `audit` found a difference

Messages name the file, key, shard or row and say what to do. A command prints the message, never a traceback.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_REPEATED: Final = re.compile(
    r"streaming_app\.errors\.(\w+): (.*?)(?=\n\s*(?:at |JVM stacktrace|===|SQLSTATE)|\n'\s*(?:\n|\Z)|\n\s*\n|\Z)",
    re.DOTALL,
)
_PLAIN: Final = "configuration"  # the place of a problem that has none


class IngestError(Exception):
    """Root of the tree: `exit_code` is what the process ends with."""

    exit_code = 1


@dataclass(frozen=True)
class Problem:
    """One thing wrong in one place of the configuration: file, dotted key, and what to do about it."""

    file: str
    key: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}: {self.key}" if self.key else self.file
        return f"{place}: {self.message}"


class ConfigError(IngestError):
    """All problems found in the configuration, reported together before Spark starts."""

    exit_code = 2

    def __init__(self, problems: list[Problem] | str) -> None:
        self.problems = [Problem(_PLAIN, "", problems)] if isinstance(problems, str) else problems
        super().__init__("\n".join(str(problem) for problem in self.problems))


class QualityStop(IngestError):
    """Too many rows failed their rules; nothing of that batch was published."""

    exit_code = 3


class SourceError(IngestError):
    """A source cannot go on."""

    exit_code = 4


class DataLossError(IngestError):
    """Rows that were promised are not there: lost upstream, or read and written counts differ."""

    exit_code = 5


class SinkError(IngestError):
    """The lake or its ledger cannot be written or does not look as the ledger says."""

    exit_code = 6


class AuditDifference(IngestError):
    """Ledger, read log and files disagree."""


# Starting again would meet the same: neither the service nor what starts it on a schedule tries.
FINAL: Final = (ConfigError, DataLossError, QualityStop)


def repeated_in(text: str) -> IngestError | None:
    """Our own error out of what Spark made of one that a worker raised: it crosses processes as text. None without one."""
    match = _REPEATED.search(text)
    kind = globals().get(match[1]) if match else None
    if match is None or not (isinstance(kind, type) and issubclass(kind, IngestError)):
        return None
    words = match[2].strip()
    return ConfigError(words.removeprefix(f"{_PLAIN}: ")) if kind is ConfigError else kind(words)
