"""Whatever bytes come, as many rows leave as came in, in order, and a row's fate does not depend on its neighbours."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from streaming_app.decode.json_events import JsonDecoder

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
fields = st.sampled_from(["order_id", "amount", "quantity", "order_ts", "city", "unknown"]) | st.text(max_size=3)
objects = st.dictionaries(fields, values, max_size=6).map(lambda value: json.dumps(value).encode())
cut = st.builds(lambda data, at: data[: at % (len(data) + 1)], objects, st.integers(0, 99))
events = st.lists(objects | cut | st.binary(max_size=40), max_size=12)


def rows(decoder: JsonDecoder, data: list[bytes]) -> list[tuple]:
    return list(zip(*(array.to_pylist() for array in decoder.decode(data)), strict=True))


@settings(max_examples=300, deadline=None)
@given(data=events)
def test_every_event_is_one_row_and_alone_it_would_be_the_same(orders, data):
    decoder = JsonDecoder(orders)
    together = rows(decoder, data)
    assert [row[-1] for row in together] == data
    assert together == [row for event in data for row in rows(decoder, [event])]


@settings(max_examples=300, deadline=None)
@given(value=st.dictionaries(fields, scalars, max_size=6))
def test_every_field_of_a_readable_event_is_in_its_column_or_rescued(orders, value):
    (row,) = rows(JsonDecoder(orders), [json.dumps(value).encode()])
    columns, rescued, error = row[: len(orders.columns)], row[-3], row[-2]
    assert error is None
    got = dict(zip(orders.column_names, columns, strict=True))
    for name in orders.column_names:
        expected = value.get(name)
        text = expected if isinstance(expected, str) else None if expected is None else json.dumps(expected)
        assert got[name] == text
    unknown = {name: item for name, item in value.items() if name not in got}
    assert (json.loads(rescued) if rescued else {}) == unknown
