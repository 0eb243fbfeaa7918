"""The gate on the producer's sample files: both engines say the same, and what they say is what the producer did."""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
import yaml

from batch_app.cli import main
from streaming_app.producer import write_samples
from tests.audit_lake import LakeBuilder
from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.spark, pytest.mark.timeout(600)]
SUITE = str(REPOSITORY / "conf/expectations/orders.yaml")


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return write_samples(tmp_path_factory.mktemp("samples"), seed=4)


@pytest.fixture
def validate(spark, capsys):
    def call(*arguments: str, code: int, suite: str = SUITE) -> dict:
        given = ["validate", *map(str, arguments), "--suite", suite, "--format", "json"]
        assert main(given) == code, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    return call


def by_id(report: dict) -> dict[str, dict]:
    return {result["id"]: result for result in report["results"]}


def suite_of(tmp_path: Path, *expectations: dict, dataset: str = "orders") -> str:
    """A suite file with its dataset beside it."""
    (tmp_path / "expectations").mkdir(exist_ok=True)
    (tmp_path / "datasets").mkdir(exist_ok=True)
    (tmp_path / f"datasets/{dataset}.yaml").write_text((REPOSITORY / "conf/datasets/orders.yaml").read_text())
    file = tmp_path / f"expectations/{dataset}.yaml"
    file.write_text(yaml.safe_dump({"name": "own", "expectations": list(expectations)}))
    return str(file)


@pytest.mark.parametrize("name", ["good_file", "bad_file"])
def test_both_engines_give_the_same_report(validate, samples, name):
    code = 0 if name == "good_file" else 3
    reports = [validate(getattr(samples, name), "--engine", engine, code=code) for engine in ("gx", "spark")]
    assert reports[0].pop("engine") == "gx"
    assert reports[1].pop("engine") == "spark"
    assert reports[0] == reports[1]
    assert reports[0]["success"] is (code == 0)
    assert all(result["success"] for result in reports[0]["results"]) is (code == 0)


def test_bad_file_fails_for_what_the_producer_did_to_it(validate, samples):
    results = by_id(validate(samples.bad_file, "--engine", "spark", code=3))
    kinds = Counter(samples.bad_file_by_kind)
    assert {name: result["unexpected"] for name, result in results.items() if not result["success"]} == {
        "decode": kinds["too_few_fields"] + kinds["too_many_fields"] + kinds["not_utf8"],
        "amount.cast": kinds["amount_text"] + kinds["too_many_decimals"],
        "order_ts.cast": kinds["bad_timestamp"],
        "order_id.not_null": kinds["missing_order_id"],
        "amount.positive": kinds["negative_amount"],
        "quantity.between": kinds["quantity_zero"],
        "city.in_set": kinds["unknown_city"],
        "payment_method.in_set": kinds["unknown_payment_method"],
    }
    city = results["city.in_set"]
    assert len(city["samples"]) == 3
    assert all(sample["position"].startswith("bad_orders.csv#") for sample in city["samples"])
    assert city["unexpected_percent"] == round(100 * 3 / city["checked"], 6)


GATE_ONLY = (
    {"type": "expect_table_row_count_to_equal", "kwargs": {"value": 300}},
    {"type": "expect_table_column_count_to_equal", "kwargs": {"value": 9}},
    {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "order_id"}, "meta": {"id": "once"}},
    {"type": "expect_column_mean_to_be_between", "kwargs": {"column": "quantity", "min_value": 50}, "severity": "warning"},
    {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "city", "value_set": ["Medan"], "mostly": 0.01}},
    {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "city", "value_set": ["Medan"]}, "severity": "info"},
)  # fmt: skip


def test_expectations_about_the_whole_run_in_great_expectations_and_only_critical_ones_stop(
    validate, samples, tmp_path
):
    results = by_id(validate(samples.good_file, code=0, suite=suite_of(tmp_path, *GATE_ONLY)))
    assert [result["success"] for result in results.values()] == [True, True, True, False, True, False]
    assert results["quantity.mean"]["observed"] < 50
    assert (results["once"]["checked"], results["once"]["unexpected"]) == (300, 0)


def test_spark_engine_refuses_expectations_about_the_whole(samples, tmp_path, capsys):
    suite = suite_of(tmp_path, *GATE_ONLY)
    assert main(["validate", str(samples.good_file), "--suite", suite, "--engine", "spark"]) == 2
    error = capsys.readouterr().err
    assert error.count("needs --engine gx") == 4
    assert "quantity.mean" in error


def test_mostly_is_a_tolerance_in_both_engines(validate, samples, tmp_path):
    for mostly, code in ((0.9, 0), (0.999, 3)):
        rules = [
            {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "payment_method", "mostly": mostly,
             "value_set": ["cash", "credit_card", "debit_card", "e_wallet", "qris"]}},
            {"type": "expect_column_pair_values_to_be_equal", "kwargs": {"column_A": "city", "column_B": "city", "mostly": mostly}},
        ]  # fmt: skip
        file = tmp_path / "few.csv"
        lines = samples.good_file.read_bytes().splitlines()
        file.write_bytes(b"\n".join([*lines[:100], lines[100].replace(lines[100].split(b",")[7], b"stones", 1)]))
        reports = [
            by_id(validate(file, "--engine", engine, code=code, suite=suite_of(tmp_path, *rules)))
            for engine in ("gx", "spark")
        ]
        assert reports[0] == reports[1]


TEXT_RULES = (
    {"type": "expect_column_values_to_match_like_pattern", "kwargs": {"column": "order_id", "like_pattern": "ORD-%"}},
    {"type": "expect_column_values_to_not_match_like_pattern_list", "kwargs": {"column": "city", "like_pattern_list": ["M_dan", "J%"]}},
    {"type": "expect_column_values_to_be_json_parseable", "kwargs": {"column": "item", "mostly": 0.01}},
    {"type": "expect_column_values_to_match_strftime_format", "kwargs": {"column": "store_id", "strftime_format": "STORE-%d"}},
    {
        "type": "expect_column_values_to_be_in_set",
        "kwargs": {
            "column": "payment_method",
            "value_set": ["cash"],
            "mostly": 0.5,
            "row_condition": {"type": "comparison", "column": {"name": "city"}, "operator": "==", "parameter": "Medan"},
        },
    },
    {"type": "expect_column_values_to_be_of_type", "kwargs": {"column": "amount", "type_": "DecimalType"}},
    {"type": "expect_column_values_to_be_in_type_list", "kwargs": {"column": "city", "type_list": ["StringType"]}},
)  # fmt: skip


def test_like_json_strftime_and_types_are_judged_alike_by_both_engines(validate, samples, tmp_path):
    suite = suite_of(tmp_path, *TEXT_RULES)
    reports = [
        by_id(validate(samples.good_file, "--engine", engine, code=3, suite=suite)) for engine in ("gx", "spark")
    ]
    assert reports[0] == reports[1]
    found = {name: (result["success"], result["checked"]) for name, result in reports[0].items()}
    assert found["order_id.like"] == (True, 300)
    assert found["city.not_like_list"] == (False, 300)
    assert found["amount.of_type"] == (True, None)
    assert reports[0]["amount.of_type"]["observed"] == "DecimalType"
    jakarta = {sample["values"]["city"] for sample in reports[0]["city.not_like_list"]["samples"]}
    assert jakarta <= {"Jakarta", "Medan"}
    assert found["item.json_parseable"][0] is False
    assert 0 < found["payment_method.in_set"][1] < 100


def test_ndjson_gzip_parquet_and_folders_are_read_alike(validate, samples, tmp_path):
    table = pa_csv.read_csv(samples.good_file, convert_options=pa_csv.ConvertOptions(
        column_types={"amount": pa.decimal128(10, 2), "quantity": pa.int32(), "order_ts": pa.timestamp("us", tz="UTC")}))  # fmt: skip
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    pq.write_table(table, folder / "deep/a.parquet")
    events = "\n".join(json.dumps(row, default=str) for row in table.to_pylist())
    (folder / "b.ndjson.gz").write_bytes(gzip.compress(events.encode()))
    (folder / "c.csv.gz").write_bytes(gzip.compress(samples.good_file.read_bytes()))
    (folder / "_hidden.csv").write_text("nonsense")
    (folder / "notes.txt").write_text("nonsense")
    report = validate(folder, "--engine", "spark", code=0)
    assert (report["rows"], report["readable"], len(report["files"])) == (900, 900, 3)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "a.csv: there is no row to check"),
        ("a.csv", b"order_id,store_id\n1,2\n", "missing column in its header: city"),
        ("a.csv", b"\x00\x01\x02PNG\n", "is no text"),
        ("a.csv.gz", gzip.compress(b"order_id,store_id,city,amount,order_ts\n" + b"1,2,3,4,5\n" * 9)[:-9], "gzip"),
        ("a.ndjson.gz", gzip.compress(b"{}\n" * 9)[:-9], "gzip"),
        ("a.parquet", b"PAR1", "cannot be read as Parquet"),
        ("a.xls", b"x", "there is no file that can be checked"),
    ],
)
def test_unusable_input_is_exit_code_2(tmp_path, capsys, name, content, message):
    (tmp_path / name).write_bytes(content)
    assert main(["validate", str(tmp_path / name), "--suite", SUITE]) == 2
    assert message in capsys.readouterr().err


def test_missing_files_and_settings_are_exit_code_2(tmp_path, capsys, samples):
    for arguments, message in (
        ([str(tmp_path / "no.csv"), "--suite", SUITE], "there is no file"),
        ([str(samples.good_file)], "name the rules"),
        ([str(samples.good_file), "--suite", "/nowhere/x.yaml"], "name the dataset"),
        ([str(samples.good_file), "--suite", SUITE, "--set", "a=b"], "--config, which is missing"),
    ):
        assert main(["validate", *arguments]) == 2
        assert message in capsys.readouterr().err


class _Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.server.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_failure_is_told_to_the_webhook_and_data_docs_lie_in_the_lake(spark, samples, tmp_path, orders, capsys):
    server = HTTPServer(("127.0.0.1", 0), _Receiver)
    server.received = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    lake = LakeBuilder(str(tmp_path / "lake"), orders)
    arguments = ["--config", lake.config_file(tmp_path), "--format", "json", "--engine", "spark"]
    arguments += ["--set", f"alerts.webhook_url=http://127.0.0.1:{server.server_port}/x"]
    try:
        assert main(["validate", str(samples.bad_file), *arguments]) == 3
        report = json.loads(capsys.readouterr().out)
        assert main(["validate", str(samples.good_file), *arguments]) == 0
    finally:
        server.shutdown()
        server.server_close()
    (alert,) = server.received
    assert "Quality gate failed: orders" in alert["text"]
    assert "amount.cast: 6 rows" in alert["text"]
    assert report["docs"] in alert["text"]
    pages = list((tmp_path / "lake/quality").glob("orders-*.html"))
    assert len(pages) == 2
    html = next(page for page in pages if str(page) == report["docs"]).read_text()
    assert "Yogyakarta" in html
    assert "orders <b>FAILED</b>" in html
    assert not re.search(r'(?:src|href)="?(?:https?:|//|\.\.)|url\(|@import', html), (
        "the page needs something else than itself"
    )
