"""The Dockerfile's steps carried out in a clean Debian, then the service started as an engine would: `make test-image` (root)."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from streaming_app.producer import events
from tests.deploy.image import build, python_base
from tests.fault.rig import STREAM
from tests.moto_server import CREDENTIALS, REGION, moto_server

REPOSITORY = Path(__file__).resolve().parents[2]
WORK = REPOSITORY / "build" / "image"
PYTHON = os.environ.get("IMAGE_PYTHON", "")
BUCKET, EVENTS = "qsr-image", 200
pytestmark = [
    pytest.mark.deploy,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("debootstrap"), reason="needs root and debootstrap"),
    pytest.mark.skipif(not PYTHON, reason="needs a Python 3.12 to copy: make test-image PYTHON312=..."),
]


@pytest.fixture(scope="module")
def image():
    return build(python_base(WORK, PYTHON), WORK / "stages")


@pytest.fixture(scope="module")
def aws():
    with moto_server() as server:
        server.client("s3").create_bucket(Bucket=BUCKET)
        kinesis = server.client("kinesis")
        kinesis.create_stream(StreamName=STREAM, ShardCount=1)
        made = events(1, start=datetime.now(UTC))
        records = [{"Data": next(made).payload, "PartitionKey": str(number)} for number in range(EVENTS)]
        kinesis.put_records(StreamName=STREAM, Records=records)
        yield server


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def environment_of(aws, port: int) -> dict[str, str]:
    """What somebody gives to `docker run`, and where moto is."""
    settings = {"LAKE_BUCKET": BUCKET, "QSR_STREAM": STREAM, "QSR_TRIGGER": "1s", "QSR_METRICS_PORT": str(port)}
    return {**CREDENTIALS, "AWS_REGION": REGION, "AWS_ENDPOINT_URL": aws.url, **settings}


def emulated(aws) -> list[str]:
    """S3A is told by the configuration where S3 is; AWS needs none of it."""
    return ["--set", f"lake.s3.endpoint_url={aws.url}", "--set", "lake.s3.path_style=true"]


def wait_for(condition, what: str, service, log: Path, seconds: float = 900) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        alive = service.outside.poll() is None and time.monotonic() < deadline
        assert alive, f"not seen: {what}:\n{log.read_text(errors='replace')[-4000:]}"
        time.sleep(1)


def rows(aws) -> int:
    import pyarrow.parquet as pq
    from pyarrow import BufferReader

    s3 = aws.client("s3")
    found = s3.list_objects_v2(Bucket=BUCKET, Prefix="lake/").get("Contents", [])
    keys = [item["Key"] for item in found if item["Key"].startswith(("lake/clean/", "lake/dead_letter/"))]
    bodies = (s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys)
    return sum(pq.ParquetFile(BufferReader(body)).metadata.num_rows for body in bodies)


def test_service_starts_in_it_as_nobody_special_reads_and_stops_when_it_is_told(image, aws, tmp_path):
    port, log = free_port(), tmp_path / "service.log"
    environment = environment_of(aws, port)
    with image.start([*image.command, *emulated(aws)], environment, log) as service:
        wait_for(lambda: rows(aws) >= EVENTS, "all rows in the lake", service, log)
        health = image.run(image.health, environment, entrypoint=False)
        assert health.returncode == 0, health.stderr
        names = {pid: Path(f"/proc/{pid}/status").read_text() for pid in service.processes()}
        assert len(names) >= 3, "tini, Python and Java at least"
        assert all("Uid:\t10001\t10001\t10001\t10001" in status for status in names.values())
        assert all("Gid:\t10001\t10001\t10001\t10001" in status for status in names.values())
        assert all("CapBnd:\t0000000000000000" in status for status in names.values())
        os.kill(service.first, signal.SIGTERM)
        assert service.outside.wait(timeout=360) == 0, log.read_text()[-4000:]
    assert rows(aws) == EVENTS


def test_healthcheck_says_no_where_nothing_answers(image, aws):
    assert image.run(image.health, environment_of(aws, free_port()), entrypoint=False).returncode != 0


def test_batch_commands_run_in_it(image, aws):
    where = ["--config", "conf/production.yaml", *emulated(aws)]
    environment = environment_of(aws, free_port())
    for command in (["audit", "--settled"], ["compact", "--all", "--dry-run"], ["vacuum", "--dry-run"]):
        done = image.run(["batch_app", *command, *where], environment)
        assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"


def test_it_holds_what_runs_and_nothing_that_builds(image):
    assert not (image.root / "src").exists()
    listed = subprocess.check_output(
        ["chroot", image.root, "/opt/qsr-ingest/bin/pip", "list", "--format=freeze"], text=True
    )
    names = {line.split("==")[0].lower() for line in listed.splitlines()}
    assert {"qsr-ingest", "pyspark"} <= names
    assert not names & {"pytest", "moto", "ruff", "mypy", "setuptools"}
    assert (image.root / "opt/qsr-ingest/share/qsr-ingest").is_dir(), "the Spark home that user 10001 cannot make"
