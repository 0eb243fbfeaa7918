"""The histories of tests/property/test_kinesis_faults.py on implementations of Kinesis that are not ours, without change."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.kinesis_histories import BATCHES, STEPS, histories, live
from tests.kinesis_reading import credentials
from tests.moto_server import moto_server
from tests.remote_kinesis import RemoteKinesis

NO_LIMIT = {"deadline": None, "suppress_health_check": list(HealthCheck), "phases": [Phase.generate]}


@pytest.fixture(scope="module")
def moto():
    with pytest.MonkeyPatch.context() as patch, moto_server() as server:
        credentials(patch)
        yield RemoteKinesis(server.url)


@settings(max_examples=10, **NO_LIMIT)
@given(steps=histories(STEPS, most=15), shards=st.integers(1, 4), batch=BATCHES)
def test_what_was_put_into_moto_is_delivered_once_and_in_order(moto, steps, shards, batch):
    """Without resharding: moto never ends a closed shard, and copies records into its children under new numbers."""
    live(moto, steps, shards, batch)
