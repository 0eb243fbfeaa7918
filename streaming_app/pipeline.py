"""The pipeline on one page: decoded rows -> typed -> judged -> routed to clean or dead letter.

Pure functions over DataFrames, the same for the stream, files, backfills and replays. Guarantee: each row that comes in
goes out exactly once, with a stage when it was rejected and without one when it is clean; nothing is dropped, nothing
becomes null silently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from streaming_app.casting import cast_sql
from streaming_app.quality import Severity
from streaming_app.schema import Dataset, Decoded, Judged, Keyed, Stage

_FAILED: Final = "__cast_failed_{}"
_DEAD: Final = "__dead"
_NOTED: Final = "__noted_{}"
_NOTES: Final = {Severity.WARNING: Judged.WARNINGS, Severity.INFO: Judged.INFOS}
_SECOND_SEED: Final = 0x51ED270B  # any number: it makes the second hash of a key another one
_DAY_MICROS: Final = "86400000000L"
UTF_8: Final = "utf-8"
BASE64: Final = "base64"


@dataclass(frozen=True)
class RowRule:
    """A rule as Spark runs it: `fails` is a boolean SQL expression over `columns`, true or false, never null.

    `looked_at`, of the same kind, says which rows count for the rule's limit; empty where the sink knows it by the nulls.
    """

    id: str
    fails: str
    columns: tuple[str, ...]
    severity: Severity = Severity.CRITICAL
    looked_at: str = ""


def process(decoded: DataFrame, dataset: Dataset, rules: Sequence[RowRule]) -> DataFrame:
    """Rows of the decoded layout to rows of the judged layout."""
    return route(judge(cast(decoded, dataset), dataset, rules), dataset)


def process_keyed(decoded: DataFrame, dataset: Dataset, rules: Sequence[RowRule], tasks: int) -> DataFrame:
    """As `process`, for a sink that looks for duplicates: with the columns of `Keyed`, and equal keys in one of `tasks` tasks.

    Every row keeps its raw text, as the sink may reject it yet. Dead rows are spread by their position.
    """
    keys = dataset.deduplicate.keys if dataset.deduplicate else ()
    routed = route(judge(cast(decoded, dataset), dataset, rules), dataset, keep_raw=True)
    known = F.col(Judged.STAGE).isNull()
    for key in keys:
        known &= F.col(key).isNotNull()
    columns = [F.col(key) for key in keys]
    keyed = routed.withColumns(
        {
            Keyed.HASH.value: F.when(known, F.xxhash64(*columns)),
            Keyed.CHECK.value: F.when(known, F.xxhash64(F.lit(_SECOND_SEED), *columns)),
        }
    )
    spread = F.coalesce(F.col(Keyed.HASH), F.xxhash64(Decoded.POSITION.value))
    return keyed.repartitionById(tasks, F.pmod(spread, F.lit(tasks)).cast("int"))


def cast(decoded: DataFrame, dataset: Dataset) -> DataFrame:
    """Every dataset column in its own type; `__cast_failed_<column>` says where a text was there but no value."""
    typed = [F.expr(cast_sql(column, _quoted(column.name))).alias(column.name) for column in dataset.columns]
    texts = [F.col(column.name).alias(_text(column.name)) for column in dataset.columns if column.type != "string"]
    kept = [F.col(name) for name in Decoded]
    day = _day(dataset.time_column, dataset.time_zone)
    failed = [
        (F.col(_text(column.name)).isNotNull() & F.col(column.name).isNull()).alias(_FAILED.format(column.name))
        for column in dataset.columns
        if column.type != "string"
    ]
    columns = [F.col(name) for name in dataset.column_names]
    return decoded.select(*typed, *texts, *kept).select(*columns, *kept, *failed, day.alias(dataset.partition_column))


def _day(column: str, time_zone: str) -> Column:
    """The date of a moment in a time zone; for UTC by whole division, several times faster than by the calendar."""
    if time_zone == "UTC":
        return F.date_from_unix_date(
            F.expr(
                f"CAST((unix_micros(`{column}`) - pmod(unix_micros(`{column}`), {_DAY_MICROS})) div {_DAY_MICROS} AS INT)"
            )
        )
    return F.to_date(F.from_utc_timestamp(F.col(column), time_zone))


def judge(typed: DataFrame, dataset: Dataset, rules: Sequence[RowRule]) -> DataFrame:
    """Adds stage and reasons: all of them for a row, not the first; a rule about a value that did not cast is left out.

    Critical rules give reasons. Rules of the other severities add a column each (schema.py, `Judged`), and none where
    the suite has no such rule.
    """
    unreadable = F.col(Decoded.ERROR).isNotNull()
    failed = {column.name: F.col(_FAILED.format(column.name)) for column in dataset.columns if column.type != "string"}
    critical = [rule for rule in rules if rule.severity is Severity.CRITICAL]
    undated = F.col(dataset.partition_column).isNull()
    dead = unreadable | _any([*failed.values(), *(F.expr(rule.fails) for rule in critical), undated])
    cast_reasons = [F.when(flag, F.lit(f"{name}.cast")) for name, flag in failed.items()]
    rule_reasons = [F.when(_broken(rule, failed), F.lit(rule.id)) for rule in critical]
    undated_reason = F.when(undated & ~failed[dataset.time_column], F.lit(f"{dataset.time_column}.missing"))
    reasons = F.when(unreadable, F.array(F.col(Decoded.ERROR))).otherwise(
        _without_nulls([*cast_reasons, *rule_reasons, undated_reason])
    )
    stage = (
        F.when(unreadable, F.lit(Stage.DECODE.value))
        .when(_any(list(failed.values())), F.lit(Stage.CAST.value))
        .otherwise(F.lit(Stage.RULE.value))
    )
    return (
        _noted(typed, rules, failed)
        .withColumn(_DEAD, dead)
        .select(
            "*", F.when(F.col(_DEAD), stage).alias(Judged.STAGE), F.when(F.col(_DEAD), reasons).alias(Judged.REASONS)
        )
    )


def _noted(typed: DataFrame, rules: Sequence[RowRule], failed: Mapping[str, Column]) -> DataFrame:
    """Adds a column for each severity below critical that has rules: which of them a row fails, null for none.

    Whether there is any is a column of its own, so that a row without pays for the checks and not for an array.
    """
    for severity, name in _NOTES.items():
        broken = {rule.id: _broken(rule, failed) for rule in rules if rule.severity is severity}
        if broken:
            readable = F.col(Decoded.ERROR).isNull()
            flag = _NOTED.format(severity.value)
            found = _without_nulls([F.when(fails, F.lit(rule_id)) for rule_id, fails in broken.items()])
            noted = typed.withColumn(flag, readable & _any(list(broken.values())))
            typed = noted.withColumn(name, F.when(F.col(flag), found))
    return _looked_at(typed, rules, failed)


def _looked_at(typed: DataFrame, rules: Sequence[RowRule], failed: Mapping[str, Column]) -> DataFrame:
    """Adds, where a rule has a limit and a condition, which of these rules looked at the row; never at one it cannot judge."""
    counted = [
        F.when(F.expr(rule.looked_at) & _readable(rule, failed), F.lit(rule.id)) for rule in rules if rule.looked_at
    ]
    return typed.withColumn(Judged.LOOKED_AT, _without_nulls(counted)) if counted else typed


def _broken(rule: RowRule, failed: Mapping[str, Column]) -> Column:
    """Whether a row fails the rule, and the values that the rule is about could be read."""
    return F.expr(rule.fails) & ~_uncast(rule, failed)


def _readable(rule: RowRule, failed: Mapping[str, Column]) -> Column:
    return F.col(Decoded.ERROR).isNull() & ~_uncast(rule, failed)


def _uncast(rule: RowRule, failed: Mapping[str, Column]) -> Column:
    return _any([failed[name] for name in rule.columns if name in failed])


def _without_nulls(found: Sequence[Column]) -> Column:
    """An array of what is not null.

    array_except drops the nulls as array_compact would, but is compiled into the stage: array_compact's lambda is not,
    and would copy every row twice more.
    """
    return F.array_except(F.array(*found), F.array(F.lit(None).cast("string")))


def route(judged: DataFrame, dataset: Dataset, *, keep_raw: bool = False) -> DataFrame:
    """What the sink takes: raw text only where a row was rejected (unless it is kept), since it is most of the bytes."""
    dead = F.lit(True) if keep_raw else F.col(Judged.STAGE).isNotNull()
    is_text = F.is_valid_utf8(F.col(Decoded.RAW).cast("string"))
    lines = F.base64(F.col(Decoded.RAW))  # of 76 characters, as in an e-mail
    text = F.when(is_text, F.col(Decoded.RAW).cast("string")).otherwise(F.translate(lines, "\r\n", ""))
    encoding = F.when(is_text, F.lit(UTF_8)).otherwise(F.lit(BASE64))
    notes = [name.value for name in (*_NOTES.values(), Judged.LOOKED_AT) if name in judged.columns]
    return judged.select(
        *[F.col(name) for name in dataset.column_names],
        Decoded.RESCUED.value,
        Decoded.POSITION.value,
        Decoded.ARRIVED_AT.value,
        dataset.partition_column,
        Judged.STAGE.value,
        Judged.REASONS.value,
        *notes,
        F.when(dead, text).alias(Judged.RAW),
        F.when(dead, encoding).alias(Judged.RAW_ENCODING),
    )


def _any(flags: Sequence[Column]) -> Column:
    """Whether at least one is true; none at all is false."""
    result = F.lit(False)
    for flag in flags:
        result = result | flag
    return result


def _text(name: str) -> str:
    return f"__text_{name}"


def _quoted(name: str) -> str:
    return f"`{name}`"
