"""From a fresh clone to a job on a standalone Spark cluster, whose executors have Python and our archive: `make test-cluster`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from batch_app.cli import main as batch_main
from streaming_app.cli import main
from streaming_app.producer import events
from tests.deploy.spark_cluster import spark_cluster
from tests.deploy.submitting import clean_environment, submit
from tests.fault.rig import STREAM
from tests.moto_server import CREDENTIALS
from tests.strict_kinesis import strict_kinesis

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(3600)]
REPOSITORY = Path(__file__).resolve().parents[2]
BARE = "/usr/bin:/bin"  # where a machine of a cluster has its Python and nothing of ours
FILE_ROWS, EVENTS = 420, 500


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """What somebody has who cloned the last commit and ran `make cluster-archive`; QSR_ARCHIVE gives one that is made."""
    place = tmp_path_factory.mktemp("fresh") / "clone"
    subprocess.run(["git", "clone", "--quiet", REPOSITORY, place], check=True)
    if made := os.environ.get("QSR_ARCHIVE"):
        (place / "dist").mkdir()
        shutil.copy(made, place / "dist" / "qsr_ingest-environment.tar.gz")
        return place
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "PYTHON"))}
    subprocess.run(["make", "cluster-archive", f"PYTHON={sys.executable}"], cwd=place, env=environment, check=True)
    return place


def test_job_runs_on_executors_that_have_python_and_the_archive(clone, tmp_path):
    lake = tmp_path / "lake"
    assert main(["produce", "--samples", str(lake / "raw")]) == 0
    with tarfile.open(clone / "dist" / "qsr_ingest-environment.tar.gz") as archive:
        archive.extractall(clone / "environment", filter="tar")
    bare = clean_environment(PATH=BARE, **CREDENTIALS)
    with strict_kinesis() as kinesis, spark_cluster(tmp_path, bare) as cluster:
        kinesis.create(STREAM, shards=2)
        made = events(1, start=datetime.now(UTC))
        kinesis.put(STREAM, [next(made).payload for _ in range(EVENTS)])
        settings = {
            "lake.root": lake,
            "sources.kinesis.stream": STREAM,
            "sources.kinesis.endpoint_url": kinesis.url,
            "sources.kinesis.region": "us-east-1",
            "quality.on_breach": "alert",
            "service.trigger": "1s",
            "service.max_restarts": "0",
            "metrics.enabled": "false",
        }
        done = submit(
            "./environment/bin/python",
            [
                *("--master", cluster.url, "--conf", "spark.driver.host=127.0.0.1"),
                *("--conf", "spark.executor.memory=1g", "--conf", "spark.sql.session.timeZone=UTC"),
                *("--archives", "dist/qsr_ingest-environment.tar.gz#environment", "deploy/run.py"),
                *("run", "--config", "conf/production.yaml", "--available-now"),
                *(word for key, value in settings.items() for word in ("--set", f"{key}={value}")),
            ],
            {**bare, "LAKE_BUCKET": "unused"},
            clone,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
        executors = cluster.executors()
    assert {folder.parent.parent.name for folder in executors} == {"worker-1", "worker-2"}
    assert all((folder / "environment" / "bin" / "python").exists() for folder in executors)
    assert rows(lake, "clean") + rows(lake, "dead_letter") == FILE_ROWS + EVENTS
    overrides = ["--set", f"lake.root={lake}"]
    assert batch_main(["audit", "--settled", "--config", str(REPOSITORY / "conf/local.yaml"), *overrides]) == 0


def rows(lake: Path, table: str) -> int:
    import pyarrow.parquet as pq

    return sum(pq.ParquetFile(file).metadata.num_rows for file in (lake / table).rglob("*.parquet"))
