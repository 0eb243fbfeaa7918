"""A source's diagnosis, as text for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from streaming_app.doctor.findings import Finding, find
from streaming_app.doctor.restart import next_start, positions_json
from streaming_app.doctor.state import Place, State, read_state, seconds_since_change


@dataclass(frozen=True)
class Diagnosis:
    """One source: what is there, what disagrees, what a restart will do."""

    place: Place
    state: State
    findings: tuple[Finding, ...]
    restart: tuple[str, ...]
    changed: float | None

    @property
    def healthy(self) -> bool:
        """Whether nothing disagrees."""
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        """For programs; names and meanings stay."""
        state, spark = self.state, self.state.spark
        return {
            "source": self.place.source,
            "checkpoint": self.place.checkpoint.uri,
            "healthy": self.healthy,
            "begun": state.begun,
            "changed_seconds_ago": self.changed,
            "spark": {
                "last_logged": spark.last_logged,
                "last_committed": spark.last_committed,
                "metadata": spark.has_metadata,
                "leftovers": list(spark.leftovers),
            },
            "read_log": {
                "newest_epoch": state.newest_epoch,
                "newest_sealed_epoch": max(state.epochs, default=-1),
                "live_epochs": list(state.live_epochs),
            },
            "ledger": {
                "last_batch": max(state.batches, default=-1),
                "published_through": state.published,
                "unpublished": [entry.batch_id for entry in state.unpublished],
                "staged_files": len(state.staged),
            },
            "restart": list(self.restart),
            "positions": positions_json(self.place) if state.begun else None,
            "findings": [finding.to_json() for finding in self.findings],
        }


def diagnose(place: Place) -> Diagnosis:
    """Look at one source. Raises ConfigError or SinkError when its place cannot be reached."""
    state = read_state(place)
    changed = seconds_since_change(place.checkpoint)
    return Diagnosis(place, state, find(place, state), tuple(next_start(place, state)), changed)


def render(diagnosis: Diagnosis) -> str:
    """The diagnosis as text."""
    lines = [f"{diagnosis.place.source}: {diagnosis.place.checkpoint.uri}"]
    if diagnosis.state.begun:
        lines += _contents(diagnosis.state)
    lines += _indented("restart", diagnosis.restart)
    for finding in diagnosis.findings:
        lines.append(f"  ! {finding.kind.value}: {finding.message}")
        lines.append(f"      {'can be mended: ' if finding.mendable else ''}{finding.advice}")
    if diagnosis.healthy:
        lines.append("  healthy: nothing disagrees")
    return "\n".join(lines)


def _contents(state: State) -> list[str]:
    spark, entry = state.spark, state.last_entry
    live = f", {_numbers(state.live_epochs)} not folded yet" if state.live_epochs else ""
    ledger = (
        f"batch {entry.batch_id} is the last (epoch {entry.epoch}, {entry.counts.read} rows)" if entry else "no entry"
    )
    return [
        f"  Spark     batch {_number(spark.last_logged)} was planned last, {_number(spark.last_committed)} committed last",
        f"  read log  epoch {_number(state.newest_epoch)} is the newest{live}",
        f"  ledger    {ledger}; files are visible through batch {_number(state.published)}; {len(state.staged)} staged",
    ]


def _number(number: int) -> str:
    return "none" if number < 0 else str(number)


def _numbers(numbers: Sequence[int]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def _indented(word: str, lines: Sequence[str]) -> list[str]:
    return [f"  {word if not number else '':<9} {line}" for number, line in enumerate(lines)]
