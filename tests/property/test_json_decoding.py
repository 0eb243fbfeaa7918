"""Whatever bytes come, as many rows leave as came in, in order, and a row's fate does not depend on its neighbours."""

from __future__ import annotations

import json
import re

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming_app.decode.json_events import JsonDecoder
from streaming_app.decode.json_shapes import Shapes, are_plain_numbers

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


NAMES = ["order_id", "customer_id", "city", "quantity", "amount", "order_ts"]
FEW = st.sampled_from(NAMES)
plain_texts = st.text(st.characters(exclude_characters='"\\', exclude_categories=["Cs", "Cc"]), max_size=12)
odd_texts = st.text(max_size=6) | st.sampled_from(["a\\", '"', "\n", "\x1f", "\x7f", "\u2028", "", "}", '","amount":'])
plain_numbers = st.integers(-99, 10**9).map(str) | st.decimals(-999, 999, places=2).map(str)
ODD_NUMBERS = """01 1. .5 - --1 1-1 1..2 1.2.3 1e5 -0 -0.0 0 00 +1 null true NaN {} [1] 1,2 1}"""
odd_numbers = st.sampled_from([*ODD_NUMBERS.split(), "", " 1", "1 ", '1,"city":2'])


@st.composite
def alike(draw):
    """Forty events of one program, a few of them changed in ways that a program, or somebody who means harm, can think of."""
    names = draw(st.lists(FEW, min_size=1, max_size=6, unique=True))
    texts = [draw(st.booleans()) for _ in names]
    comma, colon = draw(st.sampled_from([",", ", "])), draw(st.sampled_from([":", ": ", " :"]))
    good_texts, bad_texts, good_numbers, bad_numbers = (
        draw(st.lists(values, min_size=3, max_size=3))
        for values in (plain_texts, odd_texts, plain_numbers, odd_numbers)
    )
    chance = draw(st.randoms(use_true_random=False))

    def one(some_texts, some_numbers):
        values = (chance.choice(some_texts if is_text else some_numbers) for is_text in texts)
        pairs = (
            f'"{name}"{colon}' + (json.dumps(value, ensure_ascii=False) if is_text else value)
            for name, is_text, value in zip(names, texts, values, strict=True)
        )
        return ("{" + comma.join(pairs) + "}").encode(errors="surrogatepass")

    def plain():
        return one(good_texts, good_numbers)

    def odd():
        return one(good_texts + bad_texts, good_numbers + bad_numbers)

    def damaged():
        event = bytearray(plain())
        event[chance.randrange(len(event))] = chance.choice(b'"\\{},:0-.a \xff\xc3\x00\n')
        return bytes(event[: len(event) - chance.randrange(3)])

    def longer():
        more = chance.choice([b" ", b"}", b"{", b"x", b",", b"\xef\xbb\xbf"])
        return chance.choice([plain() + more, more + plain()])

    return [chance.choice([plain, plain, plain, plain, odd, damaged, longer])() for _ in range(40)]


@settings(max_examples=100, deadline=None)
@given(data=alike())
def test_an_event_among_others_that_are_written_alike_is_what_it_is_alone(orders, data):
    together = rows(JsonDecoder(orders), data)
    assert together == [row for event in data for row in rows(JsonDecoder(orders), [event])]


@settings(max_examples=100, deadline=None)
@given(data=alike())
def test_what_is_found_alike_is_json_and_has_no_other_fields(data):
    found = Shapes(NAMES).find(data)
    if found is not None:
        _, (places, columns) = found
        assert list(places) == sorted(set(places))
        for index, place in enumerate(places):
            event = json.loads(data[place], parse_int=str, parse_float=str)
            assert event == {name: column[index].as_py() for name, column in columns.items()}


@settings(max_examples=300, deadline=None)
@given(texts=st.lists(plain_numbers | odd_numbers | st.text("-.0129e", min_size=1, max_size=5), max_size=9))
def test_a_plain_number_is_what_the_grammar_of_json_says(texts):
    texts = [text for text in texts if text]
    grammar = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
    assert list(are_plain_numbers(pa.array(texts, pa.string()))) == [bool(grammar.fullmatch(text)) for text in texts]
