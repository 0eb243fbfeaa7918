"""A suite's examples, run through the very pipeline of the stream: each row must fail exactly the rules it names.

A column that an example leaves out is not looked at: rules about it say nothing, so that an example can be as short as
`{row: {amount: "-1.00"}, fails: [amount.positive]}`. A column that is null is written `column: null`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from streaming_app.decode.csv_rows import decoded_schema
from streaming_app.errors import Problem
from streaming_app.pipeline import process
from streaming_app.quality import Example, Suite
from streaming_app.schema import Dataset, Decoded, Judged
from streaming_app.streams import row_rules

_VERDICTS: Final = (Judged.REASONS, Judged.WARNINGS, Judged.INFOS)


def example_problems(spark: SparkSession, suite: Suite, dataset: Dataset, file: str) -> list[Problem]:
    """What is wrong with the examples of a suite, each with its place in the file; takes a job of Spark on a few rows.

    Where there are none, one row is judged nevertheless: so rules that Spark cannot run are found here and not in the stream.
    """
    decoded = spark.createDataFrame(_decoded([*suite.examples, _any_row(dataset)], dataset))
    try:
        judged = process(decoded, dataset, row_rules(suite, dataset)).toArrow().to_pylist()
    except PySparkException as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        return [Problem(file, "expectations", f"Spark cannot run the rules: {first}")]
    found = {row[Decoded.POSITION]: {rule for name in _VERDICTS for rule in row.get(name) or ()} for row in judged}
    return [
        Problem(file, f"examples[{at}]", message)
        for at, example in enumerate(suite.examples)
        if (message := _difference(example, _looked_at(found[str(at)], example, suite)))
    ]


def _any_row(dataset: Dataset) -> Example:
    """A row with a text in every column."""
    return Example(dict.fromkeys(dataset.column_names, "x"), ())


def _decoded(examples: Sequence[Example], dataset: Dataset) -> pa.Table:
    """The examples as a source would hand them on; the position is the example's number."""
    rows: list[dict[str, Any]] = [
        {
            **{name: _text(example.row.get(name)) for name in dataset.column_names},
            Decoded.RAW: b"",
            Decoded.POSITION: str(at),
            Decoded.ARRIVED_AT: datetime.now(UTC),
        }
        for at, example in enumerate(examples)
    ]
    schema = decoded_schema(dataset)
    columns = [pa.array([row.get(field.name) for row in rows], field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _text(value: Any) -> str | None:
    """A value of YAML or JSON as a source would write it."""
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else str(value)


def _looked_at(failed: set[str], example: Example, suite: Suite) -> set[str]:
    """Without the rules about columns that the example leaves out."""
    columns = {rule.id: rule.columns for rule in suite.row_rules}
    return {rule for rule in failed if set(columns.get(rule, (rule.rpartition(".")[0],))) <= example.row.keys()}


def _difference(example: Example, failed: set[str]) -> str:
    """What differs, in words; empty where the row fails what it should."""
    expected = set(example.fails)
    parts = []
    if expected - failed:
        parts.append(f"should fail {', '.join(sorted(expected - failed))}, and passes")
    if failed - expected:
        parts.append(f"fails {', '.join(sorted(failed - expected))}, and should not")
    return "; ".join(parts)
