"""A configuration on S3, with its dataset, suite, named queries and positions beside it, as Glue's jobs read it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from batch_app.cli import main as batch_main
from streaming_app.arguments import load_all
from streaming_app.errors import ConfigError
from streaming_app.storage import s3_client
from tests.moto_server import CREDENTIALS, moto_server

CONF = Path(__file__).resolve().parents[2] / "conf"
CONFIG = "s3://our-conf/release/conf/production.yaml"


@pytest.fixture(scope="module")
def aws():
    with moto_server() as server:
        s3 = server.client("s3")
        s3.create_bucket(Bucket="our-conf")
        for file in (path for path in CONF.rglob("*") if path.is_file()):
            s3.upload_file(str(file), "our-conf", f"release/conf/{file.relative_to(CONF)}")
        yield server


@pytest.fixture(autouse=True)
def environment(aws, monkeypatch):
    """Only what boto3 itself knows of: nothing of ours says where the configuration's bucket is."""
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL_S3": aws.url, "LAKE_BUCKET": "our-lake"}.items():
        monkeypatch.setenv(name, value)
    s3_client._forget()
    yield
    s3_client._forget()


def test_dataset_and_suite_are_found_beside_it():
    loaded, suite = load_all(CONFIG, [])
    assert loaded.config.lake.root == "s3://our-lake/lake"
    assert loaded.dataset_file == "s3://our-conf/release/conf/datasets/orders.yaml"
    assert loaded.suite_file == "s3://our-conf/release/conf/expectations/orders.yaml"
    assert suite.row_rules == load_all(str(CONF / "production.yaml"), [])[1].row_rules


def test_what_it_names_may_lie_above_it_or_in_another_bucket(aws):
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="other-conf")
    s3.copy({"Bucket": "our-conf", "Key": "release/conf/datasets/orders.yaml"}, "other-conf", "o.yaml")
    suite = "../conf/expectations/orders.yaml"
    loaded, _ = load_all(CONFIG, ["dataset=s3://other-conf/o.yaml", f"suite={suite}"])
    assert loaded.suite_file == "s3://our-conf/release/conf/expectations/orders.yaml"


def test_positions_are_read_beside_it(aws):
    positions = {"shards": {"shardId-000000000000": "AFTER:7"}}
    aws.client("s3").put_object(Bucket="our-conf", Key="release/positions.json", Body=json.dumps(positions).encode())
    loaded, _ = load_all(CONFIG, ["sources.kinesis.start_positions=../positions.json"])
    assert json.loads(loaded.start_positions)["shards"] == positions["shards"]
    with pytest.raises(ConfigError, match=r"s3://our-conf/release/conf/missing\.json: cannot be read"):
        load_all(CONFIG, ["sources.kinesis.start_positions=missing.json"])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("s3://our-conf/nothing.yaml", "s3://our-conf/nothing.yaml: cannot be read: there is no such object"),
        ("s3://no-such-conf/a.yaml", "the bucket does not exist"),
    ],
)
def test_one_that_is_not_there_is_a_clear_error(config, message):
    with pytest.raises(ConfigError, match=message):
        load_all(config, [])


def test_named_queries_are_read_beside_it(capsys):
    assert batch_main(["query", "--config", CONFIG, "--list", "--json"]) == 0
    names = [row["name"] for row in json.loads(capsys.readouterr().out)]
    assert names == sorted(file.stem for file in (CONF / "queries").glob("*.sql"))


def test_views_of_the_catalog_are_read_beside_it(capsys):
    assert batch_main(["catalog", "ddl", "--config", CONFIG, "--database", "qsr", "--views"]) == 0
    assert "freshness" in capsys.readouterr().out


def test_folder_of_queries_that_is_not_there_is_refused(capsys):
    folder = "s3://our-conf/nowhere"
    assert batch_main(["query", "--config", CONFIG, "--list", "--queries", folder]) == 2
    assert folder in capsys.readouterr().err
