"""What a gate found, as plain records: the same shape from both engines."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from batch_app.gate.inputs import FileRead
from streaming_app.quality import Severity
from streaming_app.schema import Dataset, Pii

_MASK: Final = "***"


@dataclass(frozen=True)
class Sample:
    """One row that failed: where it is, and the values that the expectation looked at, as texts."""

    position: str
    values: dict[str, str | None]


@dataclass(frozen=True)
class Result:
    """One expectation. `checked`: rows it looked at (Great Expectations leaves out nulls); None for one about the whole.

    `observed`: what an expectation about the whole found. `error`: why it could not be evaluated, which is a failure.
    """

    id: str
    expectation: str
    columns: tuple[str, ...]
    severity: str
    success: bool
    mostly: float = 1.0
    checked: int | None = None
    unexpected: int | None = None
    samples: tuple[Sample, ...] = ()
    observed: Any = None
    error: str = ""

    @property
    def unexpected_percent(self) -> float | None:
        """Of the rows it looked at; None for an expectation about the whole."""
        if self.checked is None or self.unexpected is None:
            return None
        return round(100 * self.unexpected / self.checked, 6) if self.checked else 0.0

    @property
    def stops(self) -> bool:
        """Whether the gate fails by it: only what is critical does."""
        return not self.success and self.severity == Severity.CRITICAL

    def to_json(self) -> dict[str, Any]:
        """A JSON object; the keys are the attributes and `unexpected_percent`."""
        return {**asdict(self), "unexpected_percent": self.unexpected_percent}


@dataclass(frozen=True)
class GateReport:
    """The verdict on some files. `rows` were read; `readable` of them could be decoded and cast, so that rules saw them.

    `read`: which bytes that was.
    """

    engine: str
    suite: str
    suite_fingerprint: str
    files: tuple[str, ...]
    rows: int
    readable: int
    results: tuple[Result, ...]
    docs: str | None = None
    read: tuple[FileRead, ...] = ()

    @property
    def success(self) -> bool:
        """Every critical expectation is met, and every row could be read."""
        return not any(result.stops for result in self.results)

    def to_json(self) -> dict[str, Any]:
        """A JSON object; the keys are the attributes, `success` first."""
        return {
            "success": self.success,
            **vars(self),
            "results": [result.to_json() for result in self.results],
            "read": [vars(file) for file in self.read],
        }


def without_personal_data(report: GateReport, dataset: Dataset) -> GateReport:
    """The report without values of columns that the dataset masks or hashes: reports are kept, sent and shown around."""
    hidden = {column.name for column in dataset.columns if column.treatment is not Pii.KEEP}
    return replace(report, results=tuple(_masked(result, hidden) for result in report.results)) if hidden else report


def _masked(result: Result, hidden: set[str]) -> Result:
    if not hidden & set(result.columns):
        return result
    samples = tuple(
        Sample(
            sample.position,
            {name: _MASK if name in hidden and value is not None else value for name, value in sample.values.items()},
        )
        for sample in result.samples
    )
    return replace(result, samples=samples, observed=None if result.observed is None else _MASK)
