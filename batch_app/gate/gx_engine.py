"""The gate by Great Expectations itself, on Spark: every expectation of the suite, every row. Its telemetry stays off.

LIKE patterns, which it has on SQL databases only, are judged by our predicates.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pyspark.sql import DataFrame

from batch_app.gate import spark_engine
from batch_app.gate.reading import POSITION, SAMPLES, Typed
from batch_app.gate.report import Result
from batch_app.gate.spark_engine import ABOUT_TYPES, sample
from streaming_app.quality import Rule, Suite, like
from streaming_app.quality.rules import own_columns
from streaming_app.schema import Dataset

_RULE: Final = "qsr_rule"
_FORMAT: Final = {
    "result_format": "SUMMARY",
    "partial_unexpected_count": SAMPLES,
    "unexpected_index_column_names": [POSITION],
    "return_unexpected_index_query": False,
}
_ON_SQL_ONLY: Final = frozenset(expectation.type for expectation in like.EXPECTATIONS)
_ABOUT_COLUMNS: Final = "expect_table_column"  # such ones must not see the position, which is ours


def load() -> Any:
    """The library, imported late: it takes seconds, and must be told first to send nothing home."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    os.environ["TZ"] = "UTC"  # it takes a time without an offset as this process's own
    time.tzset()
    import great_expectations as gx  # noqa: PLC0415 - see above

    return gx


def check(typed: Typed, suite: Suite, dataset: Dataset, folder: Path) -> list[Result]:
    """A result for each rule of the suite, in its order.

    Two passes, since a look for failing rows is two more jobs over all rows for each expectation: the first only counts,
    all expectations in one job, and finds those that no row fails; the second has the others.
    """
    gx = load()
    ours = [rule for rule in suite.rules if rule.expectation_type in _ON_SQL_ONLY]
    found = {result.id: result for result in spark_engine.check(typed, ours, dataset)}
    with _context(gx, folder) as context:
        whole = _Whole(gx, context.data_sources.add_spark("gate"), suite)
        counted = [
            rule for rule in suite.row_rules if rule.id not in found and rule.expectation_type not in ABOUT_TYPES
        ]
        met = whole.met_by_all(typed.frame, counted)
        found |= {result.id: result for result in spark_engine.met_by_all(typed, met, dataset)}
        others = [rule for rule in suite.rules if rule.id not in found]
        about_columns = [rule for rule in others if rule.expectation_type.startswith(_ABOUT_COLUMNS)]
        rows = [rule for rule in others if rule not in about_columns]
        found |= whole.results(typed.frame, rows)
        found |= whole.results(typed.frame.drop(POSITION), about_columns)
    return [found[rule.id] for rule in suite.rules]


@contextmanager
def _context(gx: Any, folder: Path) -> Iterator[Any]:
    """A context that leaves nothing behind: it makes a folder for its own site, which goes with ours."""
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = {"globally": False}
        yield context
    finally:
        tempfile.tempdir = before


class _Whole:
    """Validates whole frames."""

    def __init__(self, gx: Any, source: Any, suite: Suite) -> None:
        self._gx, self._source, self._name = gx, source, suite.name
        self._entries = dict(zip((rule.id for rule in suite.rules), suite.document["expectations"], strict=True))
        self._assets = 0

    def met_by_all(self, frame: DataFrame, rules: Sequence[Rule]) -> list[Rule]:
        """The rules that no row fails: with `mostly` left out, that is what success means."""
        answers = self._validated(frame, rules, {"result_format": "BOOLEAN_ONLY"}, without={"mostly"})
        return [rule for rule in rules if answers[rule.id].success]

    def results(self, frame: DataFrame, rules: Sequence[Rule]) -> dict[str, Result]:
        """What there is to say of each rule, with rows that fail it."""
        # With no position in the frame there is nothing to name a row by; such expectations have no rows to name.
        form = _FORMAT if POSITION in frame.columns else {"result_format": "SUMMARY"}
        answers = self._validated(frame, rules, form)
        return {rule.id: _result(rule, answers[rule.id]) for rule in rules}

    def _validated(
        self, frame: DataFrame, rules: Sequence[Rule], form: Mapping[str, Any], without: AbstractSet[str] = frozenset()
    ) -> dict[str, Any]:
        if not rules:
            return {}
        self._assets += 1
        asset = self._source.add_dataframe_asset(f"rows-{self._assets}")
        batch = asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": frame})
        made = [_entry(self._entries[rule.id], rule, without) for rule in rules]
        answer = batch.validate(self._gx.ExpectationSuite(name=self._name, expectations=made), result_format=form)
        return {item.expectation_config.meta[_RULE]: item for item in answer.results}


def _entry(entry: Mapping[str, Any], rule: Rule, without: AbstractSet[str]) -> dict[str, Any]:
    """The expectation with its rule's id: also what keeps Great Expectations from leaving out equal ones."""
    kept = {key: entry[key] for key in ("type", "severity", "notes", "description") if key in entry}
    kwargs = {key: value for key, value in entry["kwargs"].items() if key not in without}
    return {**kept, "kwargs": kwargs, "meta": {**(entry.get("meta") or {}), _RULE: rule.id}}


def _result(rule: Rule, item: Any) -> Result:
    result = item.result
    error = _error(item.exception_info or {})
    is_map = "unexpected_count" in result
    rows = result.get("partial_unexpected_index_list") or []
    checked = result.get("element_count", 0) - result.get("missing_count", 0) if is_map else None
    return Result(
        rule.id,
        rule.expectation_type,
        rule.columns,
        rule.severity.value,
        success=bool(item.success) and not error,
        mostly=rule.mostly,
        checked=checked,
        unexpected=result.get("unexpected_count"),
        samples=tuple(sample(row, own_columns(rule.kwargs)) for row in rows),
        observed=None if is_map else result.get("observed_value"),
        error=error,
    )


def _error(info: Mapping[str, Any]) -> str:
    """Why an expectation could not be evaluated, empty when it could."""
    entries = [info] if "raised_exception" in info else [item for item in info.values() if isinstance(item, Mapping)]
    for entry in entries:
        if entry.get("raised_exception"):
            return " ".join(str(entry.get("exception_message")).split())[:300]
    return ""
