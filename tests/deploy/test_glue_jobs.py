"""Glue's scripts by spark-submit, in an environment of exactly the packages that Glue 6.0 has with ours: `make test-glue`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from streaming_app.cli import main
from tests.deploy.submitting import clean_environment, submit
from tests.moto_server import CREDENTIALS, moto_server

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(1800)]
REPOSITORY = Path(__file__).resolve().parents[2]
CONFIG = "s3://our-conf/conf/production.yaml"
ROWS = 420  # of the producer's two sample files


@pytest.fixture(scope="module")
def aws():
    with moto_server() as server:
        s3 = server.client("s3")
        s3.create_bucket(Bucket="our-conf")
        for file in (path for path in (REPOSITORY / "conf").rglob("*") if path.is_file()):
            s3.upload_file(str(file), "our-conf", str(file.relative_to(REPOSITORY)))
        yield server


@pytest.fixture
def glue_job(aws, tmp_path):
    """Runs one job as Glue does; the lake is a folder, as there is no S3A here, the configuration lies on S3."""

    def run(script: str, *arguments: str, settings: str = "") -> object:
        settings = f"lake.root={tmp_path / 'lake'} sources.kinesis.enabled=false quality.on_breach=alert {settings}"
        return submit(
            os.environ["GLUE_PYTHON"],
            [
                *(
                    "--master",
                    "local[2,4]",
                    "--conf",
                    "spark.driver.host=127.0.0.1",
                    REPOSITORY / "deploy/glue" / script,
                ),
                *("--JOB_NAME", "orders", "--TempDir", "s3://a/b", "--CONFIG", CONFIG),
                *("--ENVIRONMENT", "LAKE_BUCKET=our-lake QSR_METRICS=false"),
                *("--SET", settings, *arguments),
            ],
            clean_environment(**CREDENTIALS, AWS_ENDPOINT_URL_S3=aws.url),
            tmp_path,
        )

    return run


def test_files_are_read_to_their_end_and_the_audit_proves_it(glue_job, tmp_path, capsys):
    (tmp_path / "lake").mkdir()
    assert main(["produce", "--samples", str(tmp_path / "lake" / "raw")]) == 0
    done = glue_job("streaming.py", "--AVAILABLE_NOW", "true")
    assert done.returncode == 0, done.stdout[-4000:]
    audit = glue_job("batch.py", "--COMMAND", "audit --settled --json")
    assert audit.returncode == 0, audit.stdout[-4000:]
    report = json.loads(audit.stdout[audit.stdout.index('{\n  "ok"') :])
    assert sum(source["rows_read"] for source in report["sources"]) == ROWS


def test_job_that_fails_says_why_in_its_last_line(glue_job):
    failed = glue_job("batch.py", "--COMMAND", "audit", settings="lake.wrong=1")
    assert failed.returncode != 0
    last = failed.stdout.splitlines()[-1]  # where spark-submit puts all that the script wrote
    assert last.endswith("JobFailed: exit code 2: --set: lake.wrong: unknown key")
