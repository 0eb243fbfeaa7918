"""The rules in words, for people who did not write them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from streaming_app.quality import Suite
from streaming_app.quality.words import explain
from streaming_app.schema import Dataset


@dataclass(frozen=True)
class Rules:
    """The suite in force."""

    suite: Suite
    dataset: Dataset

    def rows(self, hour: Mapping[str, int], ever: Mapping[str, float]) -> list[dict[str, Any]]:
        """Every rule in the suite's order, then what else rows were rejected for; with the rows that failed it."""
        known = {rule.id: (rule.severity.value, rule.row_level) for rule in self.suite.rules}
        return [self._row(name, *known.get(name, ("critical", True)), hour, ever) for name in _each(known, ever)]

    def _row(
        self, name: str, severity: str, on_stream: bool, hour: Mapping[str, int], ever: Mapping[str, float]
    ) -> dict[str, Any]:
        return {
            "id": name,
            "severity": severity,
            "where": "stream" if on_stream else "gate",
            "words": explain(name, self.suite, self.dataset).words,
            "hour": hour.get(name, 0),
            "ever": ever.get(name, 0),
        }


def _each(*names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name for some in names for name in some))
