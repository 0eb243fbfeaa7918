"""`catalog ddl`: the tables that the sink writes, in Athena's DDL, for both ways of finding partitions."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from batch_app.cli import main
from batch_app.query.days import with_days
from streaming_app.catalog.tables import hive_type
from tests.audit_lake import REPOSITORY, LakeBuilder
from tests.dead_lake import dead_lake

LOCATION = ["--location", "s3a://lake-bucket/orders/", "--database", "qsr"]


@pytest.fixture
def config(tmp_path, orders) -> str:
    return LakeBuilder(str(tmp_path / "lake"), orders).config_file(tmp_path)


def statements(capsys, config, *arguments: str) -> list[str]:
    assert main(["catalog", "ddl", "--config", config, "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def columns(statement: str) -> dict[str, str]:
    body = statement.partition("(\n")[2].partition("\n)\n")[0]
    return dict(re.findall(r"^  `(\w+)` (\S+?),?(?: COMMENT .*)?$", body, re.MULTILINE))


def test_columns_are_those_of_the_files_that_the_sink_writes(config, tmp_path, orders, capsys):
    found = statements(capsys, config, *LOCATION)
    tables = {name: columns(sql) for sql in found for name in re.findall(r"EXISTS `qsr`.`(\w+)` \(", sql)}
    lake = dead_lake(str(tmp_path / "written"), orders)
    for table, declared in tables.items():
        file = next(Path(lake.root, table).rglob("*.parquet"))
        assert declared == {field.name: hive_type(field.type) for field in pq.read_schema(file)}
    assert tables["clean"]["amount"] == "decimal(10,2)"
    assert tables["clean"]["order_ts"] == "timestamp"
    assert tables["dead_letter"]["reasons"] == "array<string>"


def test_registered_partitions_are_repaired_and_nothing_is_projected(config, capsys):
    found = statements(capsys, config, *LOCATION)
    assert [sql.split("(")[0].strip() for sql in found] == [
        "CREATE DATABASE IF NOT EXISTS `qsr`",
        "CREATE EXTERNAL TABLE IF NOT EXISTS `qsr`.`clean`",
        "MSCK REPAIR TABLE `qsr`.`clean`",
        "CREATE EXTERNAL TABLE IF NOT EXISTS `qsr`.`dead_letter`",
        "MSCK REPAIR TABLE `qsr`.`dead_letter`",
    ]
    assert "projection" not in "".join(found)
    assert "LOCATION 's3://lake-bucket/orders/clean/'" in found[1]


def test_projection_covers_both_sources_and_the_days_asked_for(config, capsys):
    _, clean, dead = statements(capsys, config, *LOCATION, "--mode", "projection", "--since", "2025-06-01")
    assert "'projection.input_source.values' = 'stream,batch'" in clean
    assert "'projection.order_date.range' = '2025-06-01,NOW+1DAYS'" in clean
    template = "s3://lake-bucket/orders/dead_letter/input_source=${input_source}/dead_date=${dead_date}"
    assert f"'storage.location.template' = '{template}'" in dead


def test_named_queries_become_views(config, capsys):
    queries = REPOSITORY / "conf/queries"
    found = statements(capsys, config, *LOCATION, "--views", "--queries", str(queries))
    views = [sql for sql in found if "VIEW" in sql]
    assert len(views) == len(list(queries.glob("*.sql")))
    assert any(sql.startswith('CREATE OR REPLACE VIEW "qsr"."freshness" AS\n') for sql in views)


def test_comment_of_a_column_cannot_end_the_statement(config, tmp_path, capsys):
    dataset = yaml.safe_load((REPOSITORY / "conf/datasets/orders.yaml").read_text())
    dataset["columns"][0]["description"] = "the cashier's\nid; \\ 'x'"
    file = tmp_path / "orders.yaml"
    file.write_text(yaml.safe_dump(dataset))
    clean = statements(capsys, config, *LOCATION, "--set", f"dataset={file}")[1]
    assert r"COMMENT 'the cashier\'s id; \\ \'x\''" in clean


def test_quotes_and_spaces_of_a_prefix_stay_in_every_place_that_names_it(config, capsys):
    location = ["--location", "s3://lake-bucket/the  owner's\\lake", "--database", "qsr", "--mode", "projection"]
    _, clean, _ = statements(capsys, config, *location)
    assert r"LOCATION 's3://lake-bucket/the  owner\'s\\lake/clean/'" in clean
    template = r"s3://lake-bucket/the  owner\'s\\lake/clean/input_source=${input_source}/order_date=${order_date}"
    assert f"'storage.location.template' = '{template}'" in clean


ICEBERG = ["--set", "sink.format=iceberg", "--set", "iceberg.type=glue", "--set", "iceberg.namespace=restaurants"]


@pytest.mark.parametrize(("command", "advice"), [("ddl", "--views"), ("show", "catalog sync")])
def test_plain_tables_over_an_iceberg_lake_are_refused_as_they_would_count_twice(config, capsys, command, advice):
    more = LOCATION if command == "ddl" else []
    assert main(["catalog", command, "--config", config, *more, *ICEBERG]) == 2
    error = capsys.readouterr().err
    assert "replaced" in error
    assert "restaurants" in error
    assert advice in error
    assert "catalog.type: glue" not in error


def test_views_of_an_iceberg_lake_make_the_day_of_its_time(config, capsys):
    found = statements(capsys, config, "--views", "--queries", str(REPOSITORY / "conf/queries"), *ICEBERG)
    assert len(found) == len(list((REPOSITORY / "conf/queries").glob("*.sql")))
    assert all(sql.startswith('CREATE OR REPLACE VIEW "restaurants".') for sql in found)
    (revenue,) = (sql for sql in found if '"revenue_by_city_and_day"' in sql)
    assert 'WITH clean AS (SELECT *, CAST(order_ts AS DATE) AS order_date FROM "restaurants"."clean")' in revenue


@pytest.mark.parametrize(
    "sql",
    [
        "-- By day.\nSELECT order_date, COUNT(*) FROM clean GROUP BY 1 ORDER BY 1",
        "WITH days AS (SELECT order_date d FROM clean) SELECT d, COUNT(*) FROM days GROUP BY 1 ORDER BY 1",
        "/* a WITH */ SELECT dead_date, COUNT(*) FROM dead_letter GROUP BY dead_date ORDER BY 1",
        "SELECT c.order_date, COUNT(*) FROM clean c JOIN dead_letter d ON d.dead_date = c.order_date GROUP BY 1",
    ],
)
def test_statement_that_names_a_day_runs_over_tables_without_that_column(sql, orders):
    duckdb = pytest.importorskip("duckdb")
    connection = duckdb.connect()
    connection.execute(
        "CREATE SCHEMA qsr; CREATE TABLE qsr.clean AS SELECT TIMESTAMP '2026-03-01 09:00:00' order_ts;"
        " CREATE TABLE qsr.dead_letter AS SELECT TIMESTAMP '2026-03-01 10:00:00' ingested_at; SET schema = 'qsr'"
    )
    assert connection.sql(with_days(sql, orders, "qsr")).fetchall() == [(date(2026, 3, 1), 1)]


def test_statement_that_names_no_day_stays_as_it_is(orders):
    sql = "SELECT city, COUNT(*) FROM clean GROUP BY city"
    assert with_days(sql, orders, "qsr") == sql


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--database", "qsr"], "--location s3://"),
        (["--location", "s3://lake-bucket/x"], "athena.database"),
        (["--location", "s3://lake-bucket/x", "--database", "a`b"], "is no database"),
    ],
)
def test_what_athena_could_not_use_is_a_clear_error(config, capsys, arguments, message):
    assert main(["catalog", "ddl", "--config", config, *arguments]) == 2
    assert message in capsys.readouterr().err
