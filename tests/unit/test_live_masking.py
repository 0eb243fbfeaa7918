"""No value of a column with `pii` is in a text that the live page shows, whatever becomes of it in the lake."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming_app.metrics.live.masking import Masking
from streaming_app.schema import Dataset
from streaming_app.sink.personal import withheld

HEADER = "order_id,customer_id,city"


def masking(orders: Dataset, pii: bool | str = True, delimiter: str = ",") -> Masking:
    columns = [
        column.model_copy(update={"pii": pii if column.name == "customer_id" else False}) for column in orders.columns
    ]
    return Masking(orders.model_copy(update={"columns": tuple(columns)}), delimiter)


@pytest.mark.parametrize("pii", [True, "keep", "mask", "hash"])
def test_every_kind_of_personal_column_is_masked(orders, pii):
    assert masking(orders, pii).text('{"customer_id": "C-001"}') == '{"customer_id":"***"}'
    assert masking(orders, pii).text("o1,C-001,Medan", header=HEADER) == "o1,***,Medan"


def test_texts_stay_exact_where_nothing_is_personal(orders):
    for raw in ("", "\x00 {", '{"customer_id":  "C-001"}'):
        assert masking(orders, pii=False).text(raw) == raw
    assert masking(orders).text('{"order_id":"o1","amount":1.50}') == '{"order_id":"o1","amount":1.50}'


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (
            '{"order_id":"o1", "customer_id":"C\\u0031", "amount": 1.50}',
            '{"order_id":"o1","customer_id":"***","amount":1.50}',
        ),
        ('\ufeff {" Customer_ID ": 12345, "note": "call 12345"}', '{" Customer_ID ":"***","note":"call ***"}'),
        ('{"customer_id": null}', '{"customer_id":null}'),
        ('{"customer_id": {"first": "C"}}', '{"customer_id":"***"}'),
        ('{"customer_id": "C-1", "customer_id": "C-2"}', '{"customer_id":"***"}'),
        ('{"customer_id": "C-1", "customer_id": null}', '{"customer_id":null}'),
        ('{"data": {"customer_id": "C-1"}, "data": 1}', '{"data":1}'),
        ('{"data": {"rows": [1, {"customer_id": "C-001"}]}}', '{"data":{"rows":[1,{"customer_id":"***"}]}}'),
        ('[{"customer_id": "C-001"}, {}]', '[{"customer_id":"***"},{}]'),
    ],
)
def test_json_loses_the_value_wherever_the_field_stands(orders, raw, expected):
    assert masking(orders).text(raw) == expected


@pytest.mark.parametrize(
    ("raw", "header", "delimiter", "expected"),
    [
        ("Medan;C-001;o1", "City; Customer_ID ;order_id", ";", "Medan;***;o1"),
        ('"C, 1","x ""y"""', "customer_id,city", ",", '***,"x ""y"""'),
        ("o1,,Medan", HEADER, ",", "o1,,Medan"),
        ("o1,C-001,ask C-001", HEADER, ",", "o1,***,ask ***"),
        ("C-1,o1,C-2", "customer_id,order_id,customer_id", ",", "***,o1,***"),
        ("o1,Medan", "order_id,city", ",", "o1,Medan"),
    ],
)
def test_csv_loses_the_field_that_the_header_names(orders, raw, header, delimiter, expected):
    assert masking(orders, delimiter=delimiter).text(raw, header=header) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("C-001,Medan", "***,***"),  # the order's id is missing, or the city
        ("o1,Budi, Santoso,Medan", "o1,***,***,Medan"),
        ("o1,C-001,Medan,a,b", "o1,***,***,***,b"),
        ("o1", "***"),
    ],
)
def test_each_field_that_may_be_it_is_masked_where_a_row_has_too_few_or_too_many(orders, raw, expected):
    assert masking(orders).text(raw, header=HEADER) == expected


@pytest.mark.parametrize(
    ("raw", "header"),
    [
        ('{"customer_id": "C-001"', None),
        ("o1,C-001,Medan", None),  # nobody knows the header any more
        ("o1,C-001,Medan", "o0,C-000,Jakarta"),  # no header at all, as it seems
        ('o1,"C-001,Medan', HEADER),
        ('o1,"C-0"01,Medan', HEADER),
        ('["o1", "C-001", "Medan"]', None),  # the values have no names
        ('[{"order_id": "o1"}, ["C-001"]]', None),
        ('"C-001"', None),
        (" ", None),
        ('{"a":' * 50 + '{"customer_id": "C-001"}' + "}" * 50, None),
        ("[" * 100_000, None),
    ],
)
def test_a_text_that_cannot_be_taken_apart_is_withheld_whole(orders, raw, header):
    assert masking(orders).text(raw, header=header) == withheld(raw)


def test_bytes_that_are_no_text_are_withheld_and_what_the_lake_withheld_stays_as_it_is(orders):
    assert masking(orders).text("bzEsQy0wMDE=", "base64", HEADER) == withheld("bzEsQy0wMDE=")
    assert masking(orders).text(withheld("x" * 77)) == withheld("x" * 77)


TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@given(value=TEXT, other=TEXT)
def test_no_event_shows_the_value_whatever_it_is(orders, value, other):
    made = masking(orders).text(json.dumps({"order_id": other, "nested": {"customer_id": value}, "customer_id": value}))
    found = json.loads(made)
    assert found["customer_id"] == found["nested"]["customer_id"] == "***"
    if len(value) >= 4 and value.isalnum() and value.isascii():
        assert value not in made
