"""Decoded rows to typed ones, and what could not be read: the same before either engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from batch_app.gate.report import Result, Sample
from streaming_app.pipeline import process
from streaming_app.quality import Severity, Suite
from streaming_app.schema import Dataset, Decoded, Judged, Stage

SAMPLES: Final = 20
POSITION: Final = Decoded.POSITION.value
_VERDICT: Final = (Judged.STAGE.value, Judged.REASONS.value)
_DECODE: Final = "decode"
_NOT_NULL: Final = "expect_column_values_to_not_be_null"


@dataclass(frozen=True)
class Typed:
    """Rows that could be read, typed, with their position; and a result for each way in which others could not."""

    rows: int
    readable: int
    frame: DataFrame
    problems: tuple[Result, ...]


def read_typed(spark: SparkSession, decoded: Path, dataset: Dataset, suite: Suite, folder: Path) -> Typed:
    """Cast what was decoded. Not cached: Spark's statistics of cached columns leave NaN out, and a filter loses rows."""
    texts = spark.read.parquet(str(decoded))
    names = [*dataset.column_names, POSITION]
    target = str(folder / "judged")
    process(texts, dataset, ()).select(*names, *_VERDICT).write.parquet(target)
    judged = spark.read.parquet(target)
    unreadable = F.col(Judged.STAGE).isin(Stage.DECODE.value, Stage.CAST.value)
    frame = judged.where(~F.coalesce(unreadable, F.lit(False))).select(*names)
    found = judged.where(f"{Judged.STAGE} IS NOT NULL").select(F.explode(Judged.REASONS).alias("reason"), POSITION)
    bad = [row.asDict() for row in found.groupBy("reason").count().collect()]
    rows, readable = texts.count(), frame.count()
    samples = _Samples(texts, judged)
    problems = [_cast(item, rows, samples) for item in bad if item["reason"].endswith(".cast")]
    problems += _undated([item for item in bad if item["reason"].endswith(".missing")], dataset, suite, rows, samples)
    others = [item for item in bad if not item["reason"].endswith((".cast", ".missing"))]
    if others:
        problems.append(_decode(others, rows, samples))
    return Typed(rows, readable, frame, tuple(sorted(problems, key=lambda result: result.id)))


class _Samples:
    """Finds a few rows that failed for a reason, with their texts."""

    def __init__(self, texts: DataFrame, judged: DataFrame) -> None:
        self._texts = texts
        self._judged = judged

    def of(self, reasons: list[str], column: str) -> tuple[Sample, ...]:
        failed = self._judged.where(F.arrays_overlap(Judged.REASONS, F.array(*map(F.lit, reasons))))
        positions = [row[0] for row in failed.select(POSITION).limit(SAMPLES).collect()]
        rows = self._texts.where(F.col(POSITION).isin(positions)).select(POSITION, column).collect()
        return tuple(Sample(row[0], {column: row[1]}) for row in rows)


def _cast(item: dict[str, Any], rows: int, samples: _Samples) -> Result:
    column = item["reason"].removesuffix(".cast")
    return Result(
        item["reason"],
        "expect_column_values_to_be_of_type",
        (column,),
        Severity.CRITICAL.value,
        success=False,
        checked=rows,
        unexpected=item["count"],
        samples=samples.of([item["reason"]], column),
    )


def _undated(items: list[dict[str, Any]], dataset: Dataset, suite: Suite, rows: int, samples: _Samples) -> list[Result]:
    """A row without its time has no partition, so the stream rejects it; the suite's own rule says so, where it has one."""
    column = dataset.time_column
    if any(rule.expectation_type == _NOT_NULL and rule.columns == (column,) for rule in suite.rules):
        return []
    return [
        Result(
            item["reason"],
            _NOT_NULL,
            (column,),
            Severity.CRITICAL.value,
            success=False,
            checked=rows,
            unexpected=item["count"],
            samples=samples.of([item["reason"]], column),
        )
        for item in items
    ]


def _decode(items: list[dict[str, Any]], rows: int, samples: _Samples) -> Result:
    reasons = [item["reason"] for item in items]
    return Result(
        _DECODE,
        "expect_column_values_to_be_null",
        (Decoded.ERROR.value,),
        Severity.CRITICAL.value,
        success=False,
        checked=rows,
        unexpected=sum(item["count"] for item in items),
        samples=samples.of(reasons, Decoded.ERROR.value),
    )
