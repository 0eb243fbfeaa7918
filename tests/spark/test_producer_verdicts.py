"""What the producer says should become of its events and rows is what the shipped dataset, rules and pipeline make of them."""

import json
from datetime import UTC, datetime

import pyarrow as pa
import pytest
import yaml

from streaming_app.decode.csv_file import CsvFile, CsvFormat
from streaming_app.decode.csv_rows import RowOrigin
from streaming_app.decode.json_events import JsonDecoder
from streaming_app.pipeline import process
from streaming_app.producer import CSV_KINDS, EVENT_KINDS, events, sample_rows, write_samples
from streaming_app.producer.events import Mix
from streaming_app.quality import Suite
from streaming_app.schema import Decoded
from streaming_app.streams import row_rules
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.spark
NOW = datetime(2026, 3, 1, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def rules(orders):
    file = REPOSITORY / "conf/expectations/orders.yaml"
    return row_rules(Suite.parse(yaml.safe_load(file.read_text()), str(file), orders), orders)


def judged(spark, decoded, dataset, rules):
    """Rows by the number at the end of their position."""
    rows = process(spark.createDataFrame(decoded), dataset, rules).collect()
    return {int(row["source_position"].rpartition("#")[2]): row for row in rows}


def test_events_of_every_kind_end_where_the_producer_says(spark, orders, rules):
    sent = list(events(3, start=NOW, count=1500, mix=Mix(bad=0.5, variants=0.5)))
    assert {event.kind for event in sent} == set(EVENT_KINDS)
    columns = JsonDecoder(orders).decode([event.payload for event in sent])
    positions = pa.array([f"s#{number}" for number in range(len(sent))])
    arrived = pa.array([NOW] * len(sent), pa.timestamp("us", tz="UTC"))
    names = [*orders.column_names, *(str(name) for name in Decoded)]
    rows = judged(spark, pa.Table.from_arrays([*columns, positions, arrived], names=names), orders, rules)
    found = {(event.kind, rows[number]["stage"]) for number, event in enumerate(sent)}
    assert found == {(kind, how.rejected_at) for kind, how in EVENT_KINDS.items()}
    for number, event in enumerate(sent):
        if event.kind == "extra_field":
            assert json.loads(rows[number]["rescued_data"])["loyalty_points"] == 120
        if rows[number]["stage"] is None:
            assert int(rows[number]["amount"] * 100) == event.order.amount_cents
            assert rows[number]["order_ts"].astimezone(UTC) == event.order.order_ts


def test_rows_of_the_bad_sample_file_end_where_the_producer_says(spark, orders, rules, tmp_path):
    report = write_samples(tmp_path, seed=4)
    with report.bad_file.open("rb") as file:
        decoded = pa.Table.from_batches(CsvFile(file, orders, RowOrigin("bad", NOW), CsvFormat()).batches())
    rows = judged(spark, decoded, orders, rules)
    sent = list(sample_rows(5, 120, faults=True))
    found = {(row.kind, rows[number]["stage"]) for number, row in enumerate(sent, start=1)}
    assert len(rows) == len(sent)
    assert found == {(kind, how.rejected_at) for kind, how in CSV_KINDS.items()}


def test_every_row_of_the_good_sample_file_is_clean(spark, orders, rules, tmp_path):
    report = write_samples(tmp_path)
    with report.good_file.open("rb") as file:
        decoded = pa.Table.from_batches(CsvFile(file, orders, RowOrigin("good", NOW), CsvFormat()).batches())
    rows = judged(spark, decoded, orders, rules)
    assert len(rows) == report.good_rows
    assert {row["stage"] for row in rows.values()} == {None}
