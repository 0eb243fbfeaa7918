"""The service is killed again and again with all that it keeps on S3, Spark's checkpoints too."""

from __future__ import annotations

import random
import time

import pytest

from tests.fault.rig import CHECKPOINTS_ON_S3, STREAM, Rig
from tests.moto_server import CREDENTIALS, moto_server
from tests.strict_kinesis import strict_kinesis

pytestmark = [pytest.mark.lake, pytest.mark.timeout(3600)]


def test_every_row_is_there_once_after_kills_at_any_moment(tmp_path, monkeypatch, long_form):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    moments = random.Random(7)
    with moto_server() as aws, strict_kinesis() as kinesis:
        kinesis.create(STREAM, shards=2)
        aws.client("s3").create_bucket(Bucket="crash-lake")
        rig = Rig(tmp_path, kinesis, lake="s3://crash-lake/lake", s3_endpoint=aws.url, settings=CHECKPOINTS_ON_S3)
        rig.feed(rate=50)
        for _ in range(20 if long_form else 3):
            before = rig.committed()
            service = rig.start()
            try:
                rig.wait_for(lambda before=before: rig.committed() > before, timeout=300)
                time.sleep(moments.uniform(0, 3))  # into whatever comes after a commit
            finally:
                rig.kill(service)
        rig.rest()
        rig.run_to_the_end(timeout=600)
        rig.check()
        assert rig.csv_positions
        assert not aws.client("s3").list_multipart_uploads(Bucket="crash-lake").get("Uploads")
