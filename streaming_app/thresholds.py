"""The circuit breaker's decision, pure: which limits a micro-batch breaks, by itself or together with those before it.

Two kinds of limit: `max_dead_ratio` for all rows, and a rule's own `mostly` for the rows it looks at (Great Expectations'
share of rows that have to pass). Neither is judged on fewer than `min_rows` rows. The sliding window is a list of buckets
that goes from one ledger entry to the next, so that it outlives restarts and needs no look at older entries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

_BUCKETS: Final = 20  # of a full window: it covers `window_rows` to a twentieth, and an entry stays small


class Skips(StrEnum):
    """Which rows an expectation does not look at: none; those with a null in any of its columns; in all of them."""

    NONE = "none"
    ANY = "any"
    ALL = "all"


@dataclass(frozen=True)
class RuleLimit:
    """A rule that at least the share `mostly` of the rows it looks at has to pass. `stops`: whether a breach may stop.

    `conditional`: it has a row_condition, so that each row itself says whether it was looked at.
    """

    id: str
    mostly: float
    columns: tuple[str, ...]
    skips: Skips = Skips.ANY
    stops: bool = True
    conditional: bool = False


@dataclass(frozen=True)
class Limits:
    """All limits of a source. `stop`: a breach stops the service, otherwise it only alerts. `window_rows`: 0 for none."""

    rules: tuple[RuleLimit, ...] = ()
    max_dead_ratio: float | None = None
    min_rows: int = 1
    window_rows: int = 0
    stop: bool = False

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Limits:
        """The inverse of `to_json`."""
        rules = tuple(
            RuleLimit(**{**rule, "columns": tuple(rule["columns"]), "skips": Skips(rule["skips"])})
            for rule in value.get("rules", ())
        )
        return cls(**{**value, "rules": rules})

    @property
    def any(self) -> bool:
        """Whether there is anything to judge."""
        return self.max_dead_ratio is not None or bool(self.rules)


@dataclass(frozen=True)
class Tally:
    """Rows of a batch or a bucket: all, rejected, and by rule those it looked at and those that failed it."""

    rows: int = 0
    dead: int = 0
    looked_at: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.rows + other.rows,
            self.dead + other.dead,
            _added(self.looked_at, other.looked_at),
            _added(self.failed, other.failed),
        )


def _added(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in {**one, **other}}


@dataclass(frozen=True)
class Breach:
    """A limit that was broken. `key` names it (`max_dead_ratio` or the rule's id), `text` says by how much and where."""

    key: str
    text: str
    stops: bool


@dataclass(frozen=True)
class Judgement:
    """What there is to say about a batch: the breaches, and the window for its ledger entry."""

    breaches: tuple[Breach, ...]
    window: tuple[Tally, ...]

    @property
    def stops(self) -> bool:
        """Whether nothing of the batch may be published."""
        return any(breach.stops for breach in self.breaches)


def judge(limits: Limits, batch: Tally, before: Sequence[Tally] = ()) -> Judgement:
    """Judge a batch by itself, then with the window `before` it; a limit that breaks both ways is told of once."""
    window = _slid([*before, batch], limits.window_rows) if limits.window_rows else ()
    found = {breach.key: breach for breach in _breaches(limits, sum(window, Tally()), "last ")}
    found |= {breach.key: breach for breach in _breaches(limits, batch, "")}
    return Judgement(tuple(found.values()), window)


def _slid(buckets: list[Tally], rows: int) -> tuple[Tally, ...]:
    """The newest buckets that hold `rows` rows together; small neighbours become one."""
    if len(buckets) > 1 and buckets[-2].rows + buckets[-1].rows <= rows // _BUCKETS:
        buckets[-2:] = [buckets[-2] + buckets[-1]]
    total = sum(bucket.rows for bucket in buckets)
    while len(buckets) > 1 and total - buckets[0].rows >= rows:
        total -= buckets.pop(0).rows
    return tuple(buckets)


def _breaches(limits: Limits, seen: Tally, of: str) -> Iterable[Breach]:
    ratio = seen.dead / seen.rows if seen.rows else 0.0
    if limits.max_dead_ratio is not None and seen.rows >= limits.min_rows and ratio > limits.max_dead_ratio:
        text = f"{seen.dead} of {of}{seen.rows} rows ({_percent(ratio)}) were rejected"
        yield Breach(
            "max_dead_ratio", f"{text}, more than max_dead_ratio {_percent(limits.max_dead_ratio)}", limits.stop
        )
    for rule in limits.rules:
        looked_at, failed = seen.looked_at.get(rule.id, 0), seen.failed.get(rule.id, 0)
        if looked_at < max(limits.min_rows, 1) or (looked_at - failed) / looked_at >= rule.mostly:
            continue
        passed = (looked_at - failed) / looked_at
        text = f"rule {rule.id}: {failed} of {of}{looked_at} rows failed, {_percent(passed)} passed"
        yield Breach(rule.id, f"{text}, less than mostly {_percent(rule.mostly)}", limits.stop and rule.stops)


def _percent(ratio: float) -> str:
    return f"{ratio * 100:.4g}%"


def to_window(tallies: Sequence[Tally]) -> list[list[Any]]:
    """A window as the ledger keeps it; `from_window` is its inverse."""
    return [[tally.rows, tally.dead, dict(tally.looked_at), dict(tally.failed)] for tally in tallies]


def from_window(window: Sequence[Sequence[Any]]) -> list[Tally]:
    """The tallies that `to_window` wrote."""
    return [Tally(rows, dead, looked_at, failed) for rows, dead, looked_at, failed in window]
