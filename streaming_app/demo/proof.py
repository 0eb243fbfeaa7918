"""After the run: the question that design.md promises an answer to, and what was sent against what is in the lake."""

from __future__ import annotations

import glob
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

import duckdb

from streaming_app.config.models import SourceName
from streaming_app.demo.feed import Expected
from streaming_app.schema import CLEAN, DEAD_LETTER, INPUT_SOURCE

QUERY: Final = """\
SELECT input_source, COUNT(*) total_orders, SUM(amount) revenue, AVG(amount) avg_ticket_size
FROM clean GROUP BY input_source"""


@dataclass(frozen=True)
class Revenue:
    """One line of the query's answer."""

    input_source: str
    total_orders: int
    revenue: Decimal
    avg_ticket_size: float


@dataclass(frozen=True)
class Comparison:
    """Rows of one source: what should have become of those sent, and what is in the lake."""

    source: str
    expected: Expected
    found: Expected

    @property
    def agrees(self) -> bool:
        """Whether not one row is missing, doubled or misjudged."""
        return self.expected == self.found


def answer(lake: Path) -> list[Revenue]:
    """DuckDB's answer to `QUERY` over the clean table, as Athena would give it; empty when nothing is there."""
    with duckdb.connect() as connection:
        if not _define(connection, lake, CLEAN):
            return []
        rows = connection.execute(f"{QUERY} ORDER BY input_source DESC").fetchall()
    return [Revenue(*row) for row in rows]


def compare(lake: Path, expected: Mapping[str, Expected]) -> list[Comparison]:
    """Sent against arrived, by source: counted in the Parquet files, not taken from the ledger."""
    clean, dead = _count(lake, CLEAN), _count(lake, DEAD_LETTER)
    labels = SourceName.INPUT_SOURCE
    return [
        Comparison(source, wanted, Expected(clean.get(labels[source].value, 0), dead.get(labels[source].value, 0)))
        for source, wanted in expected.items()
    ]


def _count(lake: Path, table: str) -> dict[str, int]:
    with duckdb.connect() as connection:
        if not _define(connection, lake, table):
            return {}
        counted = connection.execute(f"SELECT {INPUT_SOURCE}, COUNT(*) FROM {table} GROUP BY 1").fetchall()  # noqa: S608 - names of our own
    return dict(counted)


def _define(connection: duckdb.DuckDBPyConnection, lake: Path, table: str) -> bool:
    """Make the table known as a view over its visible files; False when there are none."""
    folder = lake.absolute() / table
    if not any(folder.glob("input_source=*/*=*/*.parquet")):
        return False
    files = f"{glob.escape(str(folder))}/input_source=*/*=*/*.parquet"
    connection.read_parquet(files, hive_partitioning=True).create_view(table)
    return True
