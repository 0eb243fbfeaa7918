"""The gate by our compiled predicates: all rules in one pass over the rows. Only expectations that judge single rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from batch_app.gate.reading import POSITION, SAMPLES, Typed
from batch_app.gate.report import Result, Sample
from streaming_app.errors import ConfigError, Problem
from streaming_app.quality import Rule, Suite, compile_rule, looked_at_sql, types
from streaming_app.quality.rules import own_columns
from streaming_app.quality.types import spark_types
from streaming_app.schema import Dataset

ABOUT_TYPES: Final = frozenset(expectation.type for expectation in types.EXPECTATIONS)


def require_row_level(suite: Suite, file: str) -> None:
    """Raises ConfigError with every rule that needs Great Expectations itself."""
    advice = "looks at the data as a whole and needs --engine gx"
    problems = [Problem(file, rule.id, f"{rule.expectation_type} {advice}") for rule in suite.gate_rules]
    if problems:
        raise ConfigError(problems)


def check(typed: Typed, rules: Sequence[Rule], dataset: Dataset) -> list[Result]:
    """A result for each rule, in their order. All of them have to judge single rows."""
    about_types = {rule.id: _of_type(rule, dataset) for rule in rules if rule.expectation_type in ABOUT_TYPES}
    others = [rule for rule in rules if rule.id not in about_types]
    found = {result.id: result for result in _judged(typed, others, dataset)} if others else {}
    return [about_types.get(rule.id) or found[rule.id] for rule in rules]


def met_by_all(typed: Typed, rules: Sequence[Rule], dataset: Dataset) -> list[Result]:
    """Results of rules that no row fails: only how many rows each looks at is to be counted."""
    if not rules:
        return []
    counts = typed.frame.agg(
        *(F.count_if(F.expr(looked_at_sql(rule, dataset))).alias(f"c{at}") for at, rule in enumerate(rules))
    ).first()
    return [_result(rule, counts[at] if counts else 0, 0, typed.frame) for at, rule in enumerate(rules)]


def _of_type(rule: Rule, dataset: Dataset) -> Result:
    """Nothing is looked at: the cast has made the type, and a suite that asks for another one was refused."""
    type_ = next(spark_types(column)[0] for column in dataset.columns if column.name == rule.columns[0])
    return Result(
        rule.id,
        rule.expectation_type,
        rule.columns,
        rule.severity.value,
        success=True,
        mostly=rule.mostly,
        observed=type_,
    )


def _judged(typed: Typed, rules: Sequence[Rule], dataset: Dataset) -> list[Result]:
    fails = {rule.id: F.expr(compile_rule(rule, dataset)) for rule in rules}
    counted = {rule.id: F.expr(looked_at_sql(rule, dataset)) for rule in rules}
    counts = typed.frame.agg(
        *(F.count_if(counted[rule.id]).alias(f"c{at}") for at, rule in enumerate(rules)),
        *(F.count_if(counted[rule.id] & fails[rule.id]).alias(f"u{at}") for at, rule in enumerate(rules)),
    ).first()
    found = counts.asDict() if counts else {}
    return [
        _result(rule, found[f"c{at}"], found[f"u{at}"], typed.frame.where(fails[rule.id]))
        for at, rule in enumerate(rules)
    ]


def _result(rule: Rule, checked: int, unexpected: int, failing: DataFrame) -> Result:
    rows = (
        failing.select(POSITION, *(f"`{name}`" for name in own_columns(rule.kwargs))).limit(SAMPLES).collect()
        if unexpected
        else []
    )
    return Result(
        rule.id,
        rule.expectation_type,
        rule.columns,
        rule.severity.value,
        success=met(checked, unexpected, rule.mostly),
        mostly=rule.mostly,
        checked=checked,
        unexpected=unexpected,
        samples=tuple(sample(row.asDict(), own_columns(rule.kwargs)) for row in rows),
    )


def met(checked: int, unexpected: int, mostly: float) -> bool:
    """Great Expectations' own comparison: nothing to look at is a success."""
    return not checked or (checked - unexpected) / checked >= mostly


def sample(row: Mapping[str, Any], columns: tuple[str, ...]) -> Sample:
    """A row that failed, as texts."""
    return Sample(str(row[POSITION]), {name: as_text(row.get(name)) for name in columns})


def as_text(value: Any) -> str | None:
    """A value as both engines' reports write it: exact, times in UTC. Numbers without a fraction's trailing zeros."""
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.astimezone()).astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bool) or value is None:
        return None if value is None else str(value).lower()
    text = str(value)
    return (
        text.rstrip("0").rstrip(".") if not isinstance(value, str) and "." in text and "E" not in text.upper() else text
    )
