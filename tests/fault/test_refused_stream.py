"""A stream whose every call is refused in the middle of a read: files go on being read meanwhile."""

from __future__ import annotations

import pytest

from tests.fault.rig import STREAM, Rig
from tests.strict_kinesis import strict_kinesis

pytestmark = [pytest.mark.fault, pytest.mark.spark, pytest.mark.timeout(900)]


def test_files_are_read_while_tasks_wait_for_the_stream(tmp_path):
    with strict_kinesis() as kinesis:
        kinesis.create(STREAM, shards=4)
        rig = Rig(tmp_path, kinesis, settings={"sources.kinesis.max_records_per_shard": "20"})
        rig.feed(rate=2000, csv_every=3600)
        service = rig.start()
        try:
            rig.wait_for(lambda: len(kinesis.records(STREAM)) > 4000 and rig.committed() > 200, timeout=240)
            rig.rest()
            kinesis.set(throttle=1.0)  # so much is left that a micro-batch is under way, and its tasks wait from now on
            rig.wait_for(
                lambda: ("kinesis", "still failing") in {(line["source"], line["message"][:13]) for line in rig.lines()}
            )
            rig.drop_file("meanwhile.csv", seed=3)
            rig.wait_for(lambda: set(rig.csv_positions) <= set(rig.positions()))
            assert len(rig.positions()) < len(kinesis.records(STREAM))
            kinesis.set(throttle=0.0)
        finally:
            rig.kill(service)
        rig.settings.clear()
        rig.run_to_the_end()
        rig.check()
