"""JSON events: every event becomes one row, with exact texts, or one row with its reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streaming_app.decode.json_events import JsonDecoder
from streaming_app.decode.json_shapes import Shapes

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


def test_events_of_one_program_are_taken_apart_together_and_the_others_one_by_one(orders):
    events = [
        json.dumps(GOOD | {"quantity": place, "item": "Café"}, ensure_ascii=False).encode() for place in range(99)
    ]
    events[3] = json.dumps(GOOD | {"amount": None, "quantity": 3}).encode()
    events[50] = b"{"
    events[77] = json.dumps(GOOD | {"tip": 1, "quantity": 77}).encode()
    _, found = Shapes(orders.column_names).find(events)
    assert set(range(99)) - set(found.rows) == {3, 50, 77}
    rows = decode(orders, *events)
    assert [row["quantity"] for row in rows] == [str(place) if place != 50 else None for place in range(99)]
    assert [row["raw"] for row in rows] == events
    assert (rows[3]["amount"], rows[50]["decode_error"], rows[77]["rescued_data"]) == (
        None,
        "invalid_json",
        '{"tip":1}',
    )
    assert (rows[0]["item"], rows[98]["amount"]) == ("Café", "12.5")


@pytest.mark.parametrize("odd", [b"a\x1fb", b"a\x00", b"\n", b"\\n", b"\\", b"\xff", b"\xed\xa0\x80", b'"'])
def test_a_text_that_is_not_plain_is_left_to_the_parser(orders, odd):
    events = [b'{"city":"x"}'] * 40
    events[7] = b'{"city":"%s"}' % odd
    _, found = Shapes(orders.column_names).find(events)
    assert set(range(40)) - set(found.rows) == {7}
    assert decode(orders, *events)[7] == decode(orders, events[7])[0]


@pytest.mark.parametrize("place", [0, 20, 39])
@pytest.mark.parametrize(
    "odd",
    [
        b'{"quantity":}',
        b'{"quantity":1}}',
        b'{"quantity":1} ',
        b'{"quantity":01}',
        b'{"quantity":-}',
        b'{"quantity":"1"}',
    ],
)
def test_an_odd_event_is_not_taken_for_one_of_those_around_it(orders, odd, place):
    events = [b'{"quantity":1}'] * 40
    events[place] = odd
    _, found = Shapes(orders.column_names).find(events)
    assert set(range(40)) - set(found.rows) == {place}
    assert decode(orders, *events)[place] == decode(orders, odd)[0]


def test_a_program_that_writes_otherwise_from_now_on_is_followed(orders):
    shapes = Shapes(orders.column_names)
    before = [json.dumps(GOOD).encode()] * 40
    after = [json.dumps(dict(reversed(GOOD.items()))).encode()] * 40
    assert [len(shapes.find(events)[1].rows) for events in (before, after, before)] == [40, 40, 40]


def test_where_nothing_is_alike_looking_for_it_is_given_up_for_longer_and_longer(orders):
    shapes = Shapes(orders.column_names)
    odd = [b"{}"] * 40
    assert all(shapes.find(odd) is None for _ in range(200))
    alike = [json.dumps(GOOD).encode()] * 40
    left_alone = next(count for count in range(200) if shapes.find(alike) is not None)
    assert 0 < left_alone <= 64
    assert shapes.find(alike) is not None
