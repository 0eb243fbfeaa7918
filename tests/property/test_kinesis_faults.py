"""Any history of puts, splits, merges, expiries, throttles, crashes and restarts: what was put is delivered once, in order.

The Kinesis behind it keeps the service's own rules (tests/strict_kinesis.py) and is reached over HTTP by the real client.
The same histories on implementations that are not ours: tests/integration/test_kinesis_histories.py.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kinesis_histories import (
    BATCHES,
    RESHARDING,
    STEPS,
    histories,
    live,
    live_by_subscription,
    live_within_limits,
)
from tests.kinesis_reading import credentials
from tests.strict_kinesis import strict_kinesis

HISTORIES = histories([*STEPS, *RESHARDING])
NO_LIMIT = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]}


@pytest.fixture(scope="module")
def kinesis():
    with pytest.MonkeyPatch.context() as patch, strict_kinesis() as server:
        credentials(patch)
        yield server


@settings(max_examples=50, **NO_LIMIT)
@given(steps=HISTORIES, shards=st.integers(1, 4), batch=BATCHES, limited=st.booleans())
def test_what_was_put_is_delivered_once_and_in_order(kinesis, steps, shards, batch, limited):
    (live_within_limits if limited else live)(kinesis, steps, shards, batch)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=1000, **NO_LIMIT)
@given(steps=HISTORIES, shards=st.integers(1, 4), batch=BATCHES, limited=st.booleans())
def test_what_was_put_is_delivered_once_and_in_order_a_thousand_times(kinesis, steps, shards, batch, limited):
    (live_within_limits if limited else live)(kinesis, steps, shards, batch)


@settings(max_examples=30, **NO_LIMIT)
@given(steps=HISTORIES, shards=st.integers(1, 4), batch=BATCHES)
def test_what_was_put_is_pushed_once_and_in_order(kinesis, steps, shards, batch):
    live_by_subscription(kinesis, steps, shards, batch)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@settings(max_examples=1000, **NO_LIMIT)
@given(steps=HISTORIES, shards=st.integers(1, 4), batch=BATCHES)
def test_what_was_put_is_pushed_once_and_in_order_a_thousand_times(kinesis, steps, shards, batch):
    live_by_subscription(kinesis, steps, shards, batch)
