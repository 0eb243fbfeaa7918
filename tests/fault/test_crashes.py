"""The service is killed again and again, in every way; in the end each row that was sent is in the lake exactly once.

Short form: a few kills in each scenario. Long form (`--long`): 20 kills and more in each. With all of it on S3, Spark's checkpoints
too: `make test-lake`, and tests/lake/test_s3_crashes.py for kills at random times.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from tests.fault.rig import CHECKPOINTS_ON_S3, STREAM, Rig, random_times
from tests.moto_server import CREDENTIALS, moto_server
from tests.strict_kinesis import strict_kinesis

pytestmark = [pytest.mark.fault, pytest.mark.spark, pytest.mark.timeout(3600)]
QUIET = 15.0  # seconds from start to the first commits on two idle cores


def kill_at_random(rig: Rig, kills: int, seed: int, meanwhile=lambda _: None) -> None:
    for number, seconds in enumerate(random_times(seed, kills, 4.0, QUIET + 6)):
        service = rig.start()
        try:
            time.sleep(seconds)
            meanwhile(number)
        finally:
            rig.kill(service)


def finish(rig: Rig) -> None:
    rig.rest()
    rig.run_to_the_end(timeout=600)
    rig.check()
    assert not list(rig.storage.abandoned(("clean", "dead_letter"), datetime.max.replace(tzinfo=UTC)))


@pytest.fixture(autouse=True)
def credentials(monkeypatch):
    """The rig itself writes to moto's S3."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def kinesis():
    with strict_kinesis() as server:
        server.create(STREAM, shards=2)
        yield server


@pytest.fixture(params=["local", pytest.param("on_s3", marks=pytest.mark.lake)])
def rig(request, tmp_path, kinesis):
    """The same service with its lake and its checkpoints on this machine's disk, or all on S3."""
    if request.param == "local":
        yield Rig(tmp_path, kinesis)
        return
    with moto_server() as aws:
        aws.client("s3").create_bucket(Bucket="fault-lake")
        yield Rig(tmp_path, kinesis, lake="s3://fault-lake/lake", s3_endpoint=aws.url, settings=CHECKPOINTS_ON_S3)


def test_killed_at_random_times(tmp_path, kinesis, long_form):
    rig = Rig(tmp_path, kinesis)
    rig.feed()
    kill_at_random(rig, 20 if long_form else 3, seed=1)
    finish(rig)
    assert rig.csv_positions


def test_killed_between_ledger_entry_and_publication(rig, long_form):
    rig.feed(rate=50 if rig.s3_endpoint else 200)
    for _ in range(10 if long_form else 2):
        rig.marker.unlink(missing_ok=True)
        service = rig.start(fault="hang-after-entry")
        try:
            rig.wait_for(rig.marker.exists, timeout=300)
        finally:
            rig.kill(service)
    finish(rig)


def test_first_attempt_of_every_task_fails(rig, long_form):
    rig.feed(rate=50 if rig.s3_endpoint else 200)
    service = rig.start(fault="fail-first-attempt")
    try:
        rig.wait_for(lambda: rig.committed() > (20_000 if long_form else 1_000), timeout=900 if long_form else 300)
    finally:
        rig.kill(service)
    assert "injected: the first attempt fails" in rig.log.read_text(errors="replace")
    finish(rig)


def test_throttled_calls_expired_iterators_and_resharding(tmp_path, kinesis, long_form):
    kinesis.set(throttle=0.3, expire=0.05, internal=0.05, empty=0.1)
    rig = Rig(tmp_path, kinesis)
    rig.feed()

    def reshard(number: int) -> None:
        shards = kinesis.open_shards(STREAM)
        if number % 2 == 0:
            kinesis.split(STREAM, shards[0])
        else:
            kinesis.merge(STREAM, *shards[-2:])

    kill_at_random(rig, 20 if long_form else 2, seed=2, meanwhile=reshard)
    rig.rest()
    kinesis.set(throttle=0.0)
    rig.run_to_the_end()
    rig.check()
    assert len(kinesis._streams[STREAM]) > 2


def test_lake_on_s3(tmp_path, kinesis, long_form):
    with moto_server() as aws:
        aws.client("s3").create_bucket(Bucket="lake-bucket")
        rig = Rig(tmp_path, kinesis, lake="s3://lake-bucket/lake", s3_endpoint=aws.url)
        rig.feed(rate=100)
        kill_at_random(rig, 20 if long_form else 2, seed=3)
        finish(rig)
        uploads = aws.client("s3").list_multipart_uploads(Bucket="lake-bucket")
        assert not uploads.get("Uploads")
