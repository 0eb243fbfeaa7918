"""What a rule is, and its compilation to SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from streaming_app.errors import ConfigError
from streaming_app.quality import formats, like, nulls, pairs, patterns, ranges, records, sets, types
from streaming_app.quality.arguments import Arguments
from streaming_app.quality.conditions import looked_at
from streaming_app.quality.expectation import RowLevel
from streaming_app.quality.sql import all_of, any_of, identifier
from streaming_app.schema import Dataset
from streaming_app.thresholds import RuleLimit, Skips

ROW_LEVEL: Final[dict[str, RowLevel]] = {
    expectation.type: expectation
    for module in (nulls, sets, ranges, types, patterns, like, formats, pairs, records)
    for expectation in module.EXPECTATIONS
}


class Severity(StrEnum):
    """What a failing row means: `critical` makes it a dead letter, `warning` marks it, `info` counts it."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True)
class Rule:
    """One expectation of a suite. `id` is stable: dead letters, metrics and alerts name the rule by it.

    `mostly` is what share of a batch has to pass (0 to 1); it never changes the verdict on a row.
    """

    id: str
    expectation_type: str
    columns: tuple[str, ...]
    severity: Severity = Severity.CRITICAL
    mostly: float = 1.0
    kwargs: Mapping[str, Any] = field(default_factory=dict, hash=False)
    description: str = ""

    @property
    def limit(self) -> RuleLimit | None:
        """The rule's threshold for the stream, None where no `mostly` is written: then each row is judged and no batch.

        Great Expectations' own default (all have to pass) would stop a stream at its first bad row.
        """
        expectation = ROW_LEVEL.get(self.expectation_type)
        if expectation is None or self.kwargs.get("mostly") is None:
            return None
        skips, conditional = expectation.skipped(self.kwargs), self.kwargs.get("row_condition") is not None
        return RuleLimit(self.id, self.mostly, self.columns, skips, self.severity is Severity.CRITICAL, conditional)

    @property
    def row_level(self) -> bool:
        """Whether each row can be judged by itself; otherwise only the gate, which sees a whole batch, runs it."""
        return self.expectation_type in ROW_LEVEL


def own_columns(kwargs: Mapping[str, Any]) -> tuple[str, ...]:
    """The columns a rule is about, by whichever kwargs name them; not those of its row_condition."""
    named = [kwargs.get(key) for key in ("column", "column_A", "column_B")]
    listed = kwargs.get("column_list")
    return tuple(str(name) for name in [*named, *(listed if isinstance(listed, list) else [])] if name is not None)


def looked_at_sql(rule: Rule, dataset: Dataset) -> str:
    """SQL that is true for the rows that Great Expectations counts for a row-level rule, never null.

    Those are the rows that its row_condition lets in, without those that it leaves out for their nulls.
    """
    condition = looked_at(Arguments(rule.kwargs, dataset))
    counted = "TRUE" if condition is None else f"coalesce({condition}, FALSE)"
    skips = ROW_LEVEL[rule.expectation_type].skipped(rule.kwargs)
    missing = [f"{identifier(column)} IS NULL" for column in own_columns(rule.kwargs)]
    if skips is Skips.NONE or not missing:
        return counted
    return f"{counted} AND NOT ({any_of(missing) if skips is Skips.ANY else all_of(missing)})"


def judge_sql(expectation: RowLevel, arguments: Arguments) -> str:
    """The expectation's SQL for the rows that its `row_condition` lets it look at; everything wrong is noted."""
    predicate, condition = expectation.compile(arguments), looked_at(arguments)
    arguments.finish()
    return predicate if condition is None else f"coalesce({condition}, FALSE) AND {predicate}"


def compile_rule(rule: Rule, dataset: Dataset) -> str:
    """A Spark SQL expression over typed columns: TRUE for a row that fails the rule, FALSE otherwise, never null.

    The verdict is Great Expectations' own on Spark (tests/property/test_rules_gx.py): nulls pass every expectation
    but the null checks. Raises ConfigError for a rule that is not row-level or does not fit the dataset.
    """
    expectation = ROW_LEVEL.get(rule.expectation_type)
    if expectation is None:
        raise ConfigError(
            f"rule {rule.id}: {rule.expectation_type} cannot judge a single row; it runs at the gate only"
        )
    arguments = Arguments(rule.kwargs, dataset, "suite", rule.id)
    predicate = judge_sql(expectation, arguments)
    if arguments.problems:
        raise ConfigError(arguments.problems)
    return predicate
