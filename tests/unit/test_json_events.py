"""JSON events: every event becomes one row, with exact texts, or one row with its reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streaming_app.decode.json_events import JsonDecoder

GOOD = {
    "order_id": "o1", "customer_id": "c", "store_id": "s", "city": "Medan", "item": "Latte", "quantity": 2,
    "amount": 12.5, "payment_method": "cash", "order_ts": "2026-03-01T00:00:00Z",
}  # fmt: skip


def decode(orders, *events: bytes) -> list[dict]:
    arrays = JsonDecoder(orders).decode(events)
    names = [*orders.column_names, "rescued_data", "decode_error", "raw"]
    return [dict(zip(names, row, strict=True)) for row in zip(*(array.to_pylist() for array in arrays), strict=True)]


def one(orders, **changes) -> dict:
    return decode(orders, json.dumps(GOOD | changes).encode())[0]


def test_values_are_the_exact_text_they_were_written_with(orders):
    event = b'{"amount": 10.500000000000000000001, "quantity": 1e2, "order_ts": 1772359200123, "order_id": 17}'
    row = decode(orders, event)[0]
    assert row["amount"] == "10.500000000000000000001"
    assert (row["quantity"], row["order_ts"], row["order_id"]) == ("1e2", "1772359200123", "17")


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b'{"amount": NaN}', "invalid_json"),
        (b'{"amount": 1}{"amount": 2}', "invalid_json"),
        (b'{"order_id": "\\ud800"}', "invalid_json"),
        (b'{"a":' * 100_000, "invalid_json"),
        (b"[1, 2]", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b"null", "not_an_object"),
        (b'{"city": "Medan\xff"}', "not_utf8"),
        (b'{"amount": "\xff"}', "not_utf8"),
        (b'{"amount": {"value": 1}}', "not_a_value:amount"),
        (b'{"city": ["Medan"]}', "not_a_value:city"),
    ],
)
def test_event_that_cannot_be_read_says_why_and_keeps_its_bytes(orders, event, error):
    good = json.dumps(GOOD).encode()
    before, row, after = decode(orders, good, event, good)
    assert (row["decode_error"], row["raw"]) == (error, event)
    assert all(row[name] is None for name in orders.column_names)
    for neighbour in (before, after):
        assert (neighbour["decode_error"], neighbour["amount"], neighbour["city"]) == (None, "12.5", "Medan")


def test_unknown_fields_are_rescued_as_json(orders):
    row = one(orders, loyalty={"tier": "gold", "points": [1, 2]}, note='say "hi"')
    assert json.loads(row["rescued_data"]) == {"loyalty": {"tier": "gold", "points": [1, 2]}, "note": 'say "hi"'}
    assert (row["order_id"], row["amount"], row["decode_error"]) == ("o1", "12.5", None)


def test_missing_fields_and_nulls_are_null(orders):
    first, second = decode(orders, b"{}", b'{"amount": null, "city": null}')
    assert all(first[name] is None and second[name] is None for name in orders.column_names)


def test_numbers_given_as_strings_are_read_alike(orders):
    row = one(orders, amount="12.50", quantity="3", order_ts="17723")
    assert (row["amount"], row["quantity"], row["order_ts"]) == ("12.50", "3", "17723")


def test_escapes_and_other_alphabets_in_any_column(orders):
    row = one(orders, amount="1\n2", city="Zürich 東京 \u202e", order_ts='"quoted" \\ {[')
    assert (row["amount"], row["city"], row["order_ts"]) == ("1\n2", "Zürich 東京 \u202e", '"quoted" \\ {[')


def test_last_of_two_equal_fields_counts(orders):
    assert decode(orders, b'{"city": "a", "city": "b", "amount": 1, "amount": 2}')[0]["city"] == "b"


def test_booleans_are_their_json_text(orders):
    row = one(orders, amount=True, city=False)
    assert (row["amount"], row["city"]) == ("true", "false")


def test_byte_order_mark_is_no_part_of_the_event(orders):
    assert decode(orders, b"\xef\xbb\xbf" + json.dumps(GOOD).encode())[0]["order_id"] == "o1"


def test_record_of_a_mebibyte_is_one_row(orders):
    row = one(orders, item="x" * (1 << 20))
    assert len(row["item"]) == 1 << 20


def test_no_event_gives_no_row(orders):
    assert decode(orders) == []


def test_this_module_needs_no_spark():
    source = Path(__file__).parents[2] / "streaming_app/decode/json_events.py"
    assert "pyspark" not in source.read_text()
