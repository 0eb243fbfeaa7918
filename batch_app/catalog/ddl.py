"""Athena's DDL of the lake's tables (streaming_app/catalog/tables.py).

Amazon Athena's documentation: tables are made in Hive's DDL, partition columns stand apart, names in backticks.
"""

from __future__ import annotations

from datetime import date

from streaming_app.catalog.tables import Mode, Table, properties


def create_table(table: Table, database: str, mode: Mode, since: date) -> str:
    """One CREATE TABLE statement without a semicolon."""
    listed = ",\n  ".join(f"'{name}' = '{_escaped(value)}'" for name, value in properties(table, mode, since).items())
    return (
        f"CREATE EXTERNAL TABLE IF NOT EXISTS `{database}`.`{table.name}` (\n  {_columns(table.columns)}\n)\n"
        f"PARTITIONED BY (\n  {_columns(table.partitions)}\n)\n"
        f"STORED AS PARQUET\nLOCATION '{_escaped(table.location)}'\nTBLPROPERTIES (\n  {listed}\n)"
    )


def create_database(database: str) -> str:
    """One CREATE DATABASE statement."""
    return f"CREATE DATABASE IF NOT EXISTS `{database}`"


def repair_table(table: Table, database: str) -> str:
    """Registers the partitions there are; for tables without projection."""
    return f"MSCK REPAIR TABLE `{database}`.`{table.name}`"


def create_view(name: str, sql: str, database: str) -> str:
    """A named query as a view; Athena takes such a statement in Trino's SQL, where names are in double quotes."""
    return f'CREATE OR REPLACE VIEW "{database}"."{name}" AS\n{sql}'


def _columns(columns: tuple[tuple[str, str, str], ...]) -> str:
    return ",\n  ".join(
        f"`{name}` {kind}" + (f" COMMENT '{_escaped(' '.join(comment.split()))}'" if comment else "")
        for name, kind, comment in columns
    )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")
