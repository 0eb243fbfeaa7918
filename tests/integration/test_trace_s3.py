"""`trace` on a lake on S3."""

from __future__ import annotations

import json

import pytest

from batch_app.cli import main
from streaming_app.storage import StorageOptions
from tests.audit_lake import healthy_lake
from tests.moto_server import CREDENTIALS, REGION, moto_server


def test_a_row_is_found_by_its_position_on_s3_before_and_after_a_compaction(tmp_path, orders, capsys, monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with moto_server() as aws:
        aws.client("s3").create_bucket(Bucket="traced")
        lake = healthy_lake("s3://traced/lake", orders, StorageOptions(aws.url, REGION, path_style=True))
        config = lake.config_file(tmp_path)
        assert main(["query", "--config", config, "SELECT MIN(source_position) p FROM clean", "--json"]) == 0
        position = json.loads(capsys.readouterr().out)[0]["p"]

        def where() -> str:
            assert main(["trace", position, "--config", config, "--json"]) == 0
            return capsys.readouterr().out

        assert "part-compact-" not in where()
        assert main(["compact", "--all", "--min-files", "2", "--config", config, "--json"]) == 0
        capsys.readouterr()
        assert "part-compact-" in where()
        assert main(["trace", "no-such-order", "--config", config]) == 1


@pytest.mark.parametrize("command", ["audit", "trace"])
def test_a_bucket_that_is_not_there_is_a_clear_error(tmp_path, orders, capsys, monkeypatch, command):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with moto_server() as aws:
        aws.client("s3").create_bucket(Bucket="traced")
        lake = healthy_lake("s3://traced/lake", orders, StorageOptions(aws.url, REGION, path_style=True))
        arguments = ["o1"] if command == "trace" else []
        found = main(
            [command, *arguments, "--config", lake.config_file(tmp_path), "--set", "lake.root=s3://not-there/x"]
        )
        assert found == 2
        assert "the bucket does not exist" in capsys.readouterr().err
