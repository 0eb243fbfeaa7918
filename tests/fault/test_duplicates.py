"""Points of sale repeat their orders while the service is killed: each order is clean once, each repetition a dead letter."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from tests.fault.rig import STREAM, Rig
from tests.strict_kinesis import strict_kinesis

pytestmark = [pytest.mark.drill, pytest.mark.fault, pytest.mark.spark, pytest.mark.timeout(900)]
ORDERS = 120


def orders() -> list[bytes]:
    """Good ones, all of this moment."""
    now = datetime.now(UTC).isoformat()
    order = {"customer_id": "c", "store_id": "s", "city": "Medan", "item": "Latte", "quantity": 1, "amount": 5}
    more = {"payment_method": "cash", "order_ts": now}
    return [json.dumps({"order_id": f"o{number}", **order, **more}).encode() for number in range(ORDERS)]


def column(rig: Rig, table: str, name: str) -> list:
    files = [str(path) for path in Path(rig.lake, table).rglob("*.parquet")]
    return ds.dataset(files).to_table([name])[name].to_pylist() if files else []


@pytest.mark.parametrize("fault", ["hang-before-entry", "hang-after-entry"])
def test_repeated_orders_are_found_over_shards_batches_and_kills(tmp_path, fault):
    with strict_kinesis() as kinesis:
        kinesis.create(STREAM, shards=2)
        rig = Rig(tmp_path, kinesis, settings={"sources.csv.enabled": "false"})
        sent = orders()
        kinesis.put(STREAM, sent[:80], lambda _: "one")
        kinesis.put(STREAM, sent[:20], lambda _: "another one")  # in the same batch, by whichever shard
        service = rig.start(fault=fault)
        try:
            rig.wait_for(rig.marker.exists)  # the batch with these is half-way
        finally:
            rig.kill(service)
        kinesis.put(STREAM, sent[40:], lambda _: "another one")  # 40 are repeated in a later batch
        service = rig.start()
        try:
            rig.wait_for(lambda: len(column(rig, "clean", "order_id")) == ORDERS)
        finally:
            rig.kill(service)
        kinesis.put(STREAM, sent[:10], lambda _: "one")  # and 10 once more, after the next restart
        rig.run_to_the_end()
        assert Counter(column(rig, "clean", "order_id")) == Counter(f"o{number}" for number in range(ORDERS))
        assert Counter(column(rig, "dead_letter", "stage")) == {"duplicate": 70}
        assert set(map(tuple, column(rig, "dead_letter", "reasons"))) == {("duplicate",)}
        assert set(column(rig, "dead_letter", "raw")) == {event.decode() for event in (*sent[:20], *sent[40:80])}
        rig.check()
