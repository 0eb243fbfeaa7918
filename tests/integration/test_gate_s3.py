"""The gate on S3, by moto: CSV, NDJSON and Parquet below a prefix, Data Docs into the lake, and what cannot be read."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_app.cli import main
from streaming_app.storage import StorageOptions
from tests.audit_lake import LakeBuilder
from tests.dead_lake import HEADER, csv_row, event
from tests.moto_server import CREDENTIALS, REGION, moto_server

pytestmark = [pytest.mark.spark, pytest.mark.timeout(600)]
BUCKET = "gate-incoming"


def parquet(*orders: str) -> bytes:
    """Orders as another job would have written them, with types of their own."""
    table = pa.table(
        {
            "order_id": orders,
            "store_id": ["S1"] * len(orders),
            "city": pa.array(["Medan"] * len(orders)).dictionary_encode(),
            "amount": pa.array([Decimal("9.50")] * len(orders), pa.decimal128(12, 2)),
            "order_ts": pa.array([datetime(2026, 3, 1, 9, tzinfo=UTC)] * len(orders), pa.timestamp("us", "Asia/Jakarta")),
        }
    )  # fmt: skip
    target = BytesIO()
    pq.write_table(table, target)
    return target.getvalue()


@pytest.fixture(scope="module")
def aws():
    with pytest.MonkeyPatch.context() as environment, moto_server() as server:
        for name, value in CREDENTIALS.items():
            environment.setenv(name, value)
        s3 = server.client("s3")
        s3.create_bucket(Bucket=BUCKET)
        good = [csv_row(f"c{at}") for at in range(30)]
        objects = {
            "good/orders.csv": "\n".join([HEADER, *good]).encode(),
            "good/2026/03/01/pos.ndjson.gz": gzip.compress("\n".join(event(f"e{at}") for at in range(20)).encode()),
            "good/2026/03/01/export.parquet": parquet(*(f"p{at}" for at in range(10))),
            "good/_SUCCESS": b"",
            "good/readme.txt": b"nothing to check",
            "bad/orders.csv": "\n".join(
                [HEADER, *good, csv_row("b1", city="Gotham"), csv_row("b2", amount="x")]
            ).encode(),
            "broken/export.parquet": b"PAR1",
        }
        for key, body in objects.items():
            s3.put_object(Bucket=BUCKET, Key=key, Body=body)
        yield server


@pytest.fixture
def validate(aws, orders, tmp_path, capsys):
    lake = LakeBuilder(f"s3://{BUCKET}/lake", orders, StorageOptions(aws.url, REGION, path_style=True))
    arguments = ["--config", lake.config_file(tmp_path), "--format", "json", "--engine", "spark"]

    def call(path: str, code: int, *more: str) -> tuple[dict, str]:
        assert main(["validate", f"s3://{BUCKET}/{path}", *arguments, *more]) == code
        out, err = capsys.readouterr()
        return json.loads(out or "{}"), err

    return call


def test_files_of_every_kind_below_a_prefix_are_checked_and_data_docs_lie_in_the_lake(spark, aws, validate):
    report, _ = validate("good", 0)
    assert (report["rows"], report["readable"]) == (60, 60)
    names = ["2026/03/01/export.parquet", "2026/03/01/pos.ndjson.gz", "orders.csv"]
    assert sorted(report["files"]) == [f"s3://{BUCKET}/good/{name}" for name in names]
    assert report["docs"].startswith(f"s3://{BUCKET}/lake/quality/orders-")
    page = aws.client("s3").get_object(Bucket=BUCKET, Key=report["docs"].removeprefix(f"s3://{BUCKET}/"))
    assert b"payment_method" in page["Body"].read()


@pytest.mark.parametrize("name", ["orders.csv", "2026/03/01/pos.ndjson.gz", "2026/03/01/export.parquet"])
def test_one_object_is_checked_by_its_name(spark, validate, name):
    report, _ = validate(f"good/{name}", 0, "--no-docs")
    assert report["files"] == [f"s3://{BUCKET}/good/{name}"]
    assert report["docs"] is None


def test_bad_rows_fail_the_gate_with_their_places(spark, validate):
    report, err = validate("bad", 3, "--no-docs")
    failed = {result["id"]: result["samples"][0] for result in report["results"] if not result["success"]}
    assert failed == {
        "city.in_set": {"position": "orders.csv#31", "values": {"city": "Gotham"}},
        "amount.cast": {"position": "orders.csv#32", "values": {"amount": "x"}},
    }
    assert "do not load these files" in err


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nothing", "there is no file that can be checked"),
        ("good/no.csv", "there is no file that can be checked"),
        ("broken", "cannot be read as Parquet"),
    ],
)
def test_what_cannot_be_read_is_exit_code_2(validate, path, message):
    _, err = validate(path, 2)
    assert message in err


def test_bucket_that_is_not_there_is_said_so(validate, aws, orders, tmp_path, capsys):
    lake = LakeBuilder(f"s3://{BUCKET}/lake", orders, StorageOptions(aws.url, REGION, path_style=True))
    code = main(["validate", "s3://no-such-bucket-here/x.csv", "--config", lake.config_file(tmp_path)])
    assert code in {2, 6}
    assert "no-such-bucket-here" in capsys.readouterr().err
