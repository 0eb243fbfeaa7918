"""Compares a lake with the manifest of what it was made from; a figure counts only when nothing differs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Final

import duckdb

# Which fault of the generator a reason of the shipped suite, or of the usual job, tells about.
REASONS: Final = {
    "order_id.not_null": "null_order_id",
    "order_id.length": "null_order_id",
    "amount.cast": "bad_amount",
    "amount.not_null": "bad_amount",
    "amount.positive": "nonpositive_amount",
    "city.in_set": "bad_city",
    "order_ts.cast": "bad_timestamp",
    "order_ts.not_null": "bad_timestamp",
    "order_ts.missing": "bad_timestamp",
}


def differences(lake: Path, manifest: dict[str, Any]) -> list[str]:
    """What is in the lake and should not be, or the other way round; empty when everything is as expected."""
    with duckdb.connect() as connection:
        try:
            found = _figures(connection, lake)
        except duckdb.Error as error:
            return [f"{lake} cannot be read: {error}"]
    expected = {
        "clean rows": manifest["valid"],
        "clean order ids": manifest["valid"],
        "sum of amounts in hundredths": manifest["valid_amount_cents"],
        "clean rows per day": manifest["valid_per_day"],
        "dead letters": manifest["invalid"],
        "dead letters by reason": manifest["by_reason"],
    }
    return [
        f"{name}: expected {expected[name]}, found {found[name]}" for name in expected if expected[name] != found[name]
    ]


def _figures(connection: duckdb.DuckDBPyConnection, lake: Path) -> dict[str, Any]:
    clean, dead = (_table(lake / name) for name in ("clean", "dead_letter"))
    totals = f"SELECT count(*), count(DISTINCT order_id), CAST(sum(amount) * 100 AS BIGINT) FROM {clean}"  # noqa: S608
    per_day = f"SELECT CAST(order_date AS VARCHAR), count(*) FROM {clean} GROUP BY 1 ORDER BY 1"  # noqa: S608
    by_reasons = f"SELECT reasons, count(*) FROM {dead} GROUP BY 1"  # noqa: S608
    rows, order_ids, cents = connection.sql(totals).fetchall()[0]
    reasons = _by_fault(connection.sql(by_reasons).fetchall())
    return {
        "clean rows": rows,
        "clean order ids": order_ids,
        "sum of amounts in hundredths": cents,
        "clean rows per day": dict(connection.sql(per_day).fetchall()),
        "dead letters": sum(reasons.values()),
        "dead letters by reason": dict(sorted(reasons.items())),
    }


def _table(folder: Path) -> str:
    return f"read_parquet('{folder}/**/*.parquet', hive_partitioning = true)"


def _by_fault(groups: list[tuple[list[str], int]]) -> Counter[str]:
    """Each row has one fault, which may break several rules; reasons that tell of two faults are reported as they are."""
    counts: Counter[str] = Counter()
    for reasons, count in groups:
        faults = {REASONS.get(reason, reason) for reason in reasons}
        counts["+".join(sorted(faults))] += count
    return counts


def count_files(lake: Path) -> int:
    """Parquet files a query would read."""
    return sum(1 for table in ("clean", "dead_letter") for _ in (lake / table).rglob("*.parquet"))
