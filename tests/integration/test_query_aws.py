"""`query` on moto's S3 and Athena. moto runs no SQL: what is held is how Athena is asked, and how its answer is read."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest

from batch_app.cli import main
from batch_app.query.athena_engine import billed_megabytes, cost
from streaming_app.storage import StorageOptions
from tests.audit_lake import LakeBuilder
from tests.moto_server import CREDENTIALS, REGION, moto_server
from tests.query_lake import write_dead_letters, write_orders


@pytest.fixture(scope="module")
def aws():
    with moto_server() as server:
        yield server


@pytest.fixture
def config(aws, tmp_path, orders, monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    write_orders(tmp_path / "lake", orders)
    write_dead_letters(tmp_path / "lake")
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="query-lake")
    for file in (tmp_path / "lake").rglob("*.*"):
        if file.is_file():
            s3.upload_file(str(file), "query-lake", f"lake/{file.relative_to(tmp_path / 'lake')}")
    options = StorageOptions(endpoint_url=aws.url, region=REGION, path_style=True)
    return LakeBuilder("s3://query-lake/lake", orders, options).config_file(tmp_path)


def ask(capfdbinary, config, *arguments: str, code: int = 0) -> tuple[str, str]:
    assert main(["query", "--config", config, *arguments]) == code
    captured = capfdbinary.readouterr()
    return captured.out.decode(), captured.err.decode()


def test_duckdb_answers_over_a_lake_on_s3(config, capfdbinary):
    out, _ = ask(capfdbinary, config, "SELECT input_source, COUNT(*) n FROM clean GROUP BY 1 ORDER BY 1", "--json")
    assert json.loads(out) == [{"input_source": "batch", "n": 2}, {"input_source": "stream", "n": 2}]
    out, _ = ask(capfdbinary, config, "SELECT COUNT(*) n FROM dead_letter WHERE input_source = 'batch'", "--json")
    assert json.loads(out) == [{"n": 0}]


def test_bucket_of_an_own_endpoint_is_found_without_path_style_too(config, capfdbinary):
    out, _ = ask(capfdbinary, config, "SELECT COUNT(*) n FROM clean", "--set", "lake.s3.path_style=false", "--json")
    assert json.loads(out) == [{"n": 4}]


def test_lake_on_s3_that_is_not_there_is_a_clear_error(config, capfdbinary):
    changed = ["--set", "lake.root=s3://no-such-bucket-here/lake"]
    _, error = ask(capfdbinary, config, "SELECT COUNT(*) FROM clean", *changed, "--json", code=2)
    assert "no-such-bucket-here" in error


def athena(aws) -> list[str]:
    settings = {"database": "qsr", "endpoint_url": aws.url, "region": REGION, "output": "s3://query-lake/athena"}
    return [
        "--engine",
        "athena",
        *(part for key, value in settings.items() for part in ("--set", f"athena.{key}={value}")),
    ]


def queue_answer(aws, columns: list[tuple[str, str]], rows: list[list[str | None]]) -> None:
    """As moto is told what Athena answers next."""
    info = [{"Name": name, "Type": kind, "Precision": 10, "Scale": 2} for name, kind in columns]
    data = [{"Data": [{} if text is None else {"VarCharValue": text} for text in row]} for row in rows]
    body = {"results": [{"rows": data, "column_info": info}]}
    url = f"{aws.url}/moto-api/static/athena/query-results"
    request = urllib.request.Request(  # noqa: S310 - our own server
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - our own server
        assert answer.status == 201


def test_athena_answer_is_read_with_its_types(aws, config, capfdbinary):
    columns = [
        ("input_source", "varchar"),
        ("n", "bigint"),
        ("revenue", "decimal"),
        ("newest", "timestamp"),
        ("d", "date"),
    ]
    header = [name for name, _ in columns]
    row = ["stream", "2", "30.50", "1969-12-31 23:59:59.000001", "2026-03-01"]
    queue_answer(aws, columns, [header, row, [None] * 5])
    out, notes = ask(capfdbinary, config, "SELECT 1", *athena(aws), "--json")
    assert '"revenue": 30.50' in out
    first, nothing = json.loads(out)
    assert (first["n"], first["newest"], first["d"]) == (2, "1969-12-31T23:59:59.000001", "2026-03-01")
    assert set(nothing.values()) == {None}
    assert "Athena scanned" in notes
    queries = aws.client("athena").list_query_executions()["QueryExecutionIds"]
    started = aws.client("athena").get_query_execution(QueryExecutionId=queries[-1])["QueryExecution"]
    assert started["QueryExecutionContext"]["Database"] == "qsr"
    assert started["ResultConfiguration"]["OutputLocation"].startswith("s3://query-lake/athena")


def test_named_query_is_sent_to_athena_as_it_stands(aws, config, capfdbinary):
    folder = str(Path(__file__).resolve().parents[2] / "conf/queries")
    ask(capfdbinary, config, "--named", "freshness", "--queries", folder, *athena(aws), "--json")
    queries = aws.client("athena").list_query_executions()["QueryExecutionIds"]
    sent = [
        aws.client("athena").get_query_execution(QueryExecutionId=number)["QueryExecution"]["Query"]
        for number in queries
    ]
    assert any("date_diff" in text for text in sent)


def test_named_query_over_iceberg_tables_makes_the_day_that_they_lack(aws, config, capfdbinary):
    folder = str(Path(__file__).resolve().parents[2] / "conf/queries")
    iceberg = ["--set", "sink.format=iceberg", "--set", "iceberg.type=glue", "--set", "iceberg.namespace=qsr"]
    ask(
        capfdbinary, config, "--named", "revenue_by_city_and_day", "--queries", folder, *athena(aws), *iceberg, "--json"
    )
    queries = aws.client("athena").list_query_executions()["QueryExecutionIds"]
    sent = aws.client("athena").get_query_execution(QueryExecutionId=queries[-1])["QueryExecution"]["Query"]
    assert 'CAST(order_ts AS DATE) AS order_date FROM "qsr"."clean")\nSELECT order_date, city' in sent


def test_throttled_athena_is_asked_again_and_a_refusal_is_a_clear_error(aws, config, capfdbinary):
    aws.fail("POST", "StartQueryExecution", status=400, code="TooManyRequestsException")
    queue_answer(aws, [("n", "bigint")], [["n"], ["7"]])
    out, _ = ask(capfdbinary, config, "SELECT 7 n", *athena(aws), "--json")
    assert json.loads(out) == [{"n": 7}]
    aws.fail("POST", "StartQueryExecution", status=400, code="InvalidRequestException", times=1)
    _, error = ask(capfdbinary, config, "SELEC", *athena(aws), code=2)
    assert "InvalidRequestException" in error
    aws.heal()


def test_cost_is_that_of_the_megabytes_billed():
    assert [billed_megabytes(scanned) for scanned in (0, 1, 10 << 20, (10 << 20) + 1)] == [0, 10, 10, 11]
    execution = {"Statistics": {"DataScannedInBytes": 1 << 40, "TotalExecutionTimeInMillis": 2500}}
    assert cost(execution, 5.0) == "Athena scanned 1,099,511,627,776 bytes in 2.5 s; about 5.000000 USD"
