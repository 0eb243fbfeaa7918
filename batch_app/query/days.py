"""The columns with the day, for SQL that runs on Iceberg tables, which partition by the time itself and have none (docs/iceberg.md).

Named queries are written for plain tables, where a condition on the day leaves other partitions unread; DuckDB sees both kinds alike
(tables.py).
"""

from __future__ import annotations

import re
from typing import Final

from streaming_app.schema import CLEAN, DEAD_DATE, DEAD_LETTER, INGESTED_AT, Dataset

_BEGINNING: Final = re.compile(r"(?:\s+|--[^\n]*(?:\n|\Z)|/\*.*?\*/)*", re.DOTALL)  # blanks and comments
_WITH: Final = re.compile(r"with\s+(?:recursive\s+)?", re.IGNORECASE)


def with_days(sql: str, dataset: Dataset, database: str) -> str:
    """A SELECT with the days that it names made of their times, in the tables of a database; any other stays as it is.

    Days are in UTC, as an Iceberg lake's are.
    """
    days = {CLEAN: (dataset.partition_column, dataset.time_column), DEAD_LETTER: (DEAD_DATE, INGESTED_AT)}
    made = [
        f'{table} AS (SELECT *, CAST({time} AS DATE) AS {day} FROM "{database}"."{table}")'  # noqa: S608 - names of the dataset
        for table, (day, time) in days.items()
        if re.search(rf"\b{day}\b", sql, re.IGNORECASE)
    ]
    if not made:
        return sql
    beginning = _BEGINNING.match(sql)
    end = beginning.end() if beginning else 0
    others = _WITH.match(sql, end)
    if others is None:
        return f"{sql[:end]}WITH {', '.join(made)}\n{sql[end:]}"
    return f"{sql[: others.end()]}{', '.join(made)},\n{sql[others.end() :]}"
