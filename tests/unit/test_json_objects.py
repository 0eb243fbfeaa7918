"""Firehose's copy of the stream is cut into the events that were sent, however they lie on lines and in blocks."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming_app.decode.json_objects import JsonObjects

VALUES = st.recursive(
    st.none() | st.integers() | st.text(alphabet='{}[]"\\,: aé\n', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(alphabet='}{"\\a', max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)


def cut(text: bytes, block: int) -> list[bytes]:
    objects = JsonObjects()
    events = [event for begin in range(0, len(text), block) for event in objects.split(text[begin : begin + block])]
    return events + objects.end()


@given(
    st.lists(st.dictionaries(st.text(max_size=3), VALUES, max_size=2), max_size=6),
    st.lists(st.sampled_from(["", "\n", " ", "\r\n", "\n\n"]), min_size=6, max_size=6),
    st.integers(1, 40),
)
def test_events_come_back_whatever_stands_between_them(sent, between, block):
    texts = [json.dumps(event, ensure_ascii=False) for event in sent]
    text = "".join(text + gap for text, gap in zip(texts, between, strict=False)).encode()
    assert cut(text, block) == [text.encode() for text in texts]


@given(st.text(alphabet='{}"\\ \na,', max_size=60), st.integers(1, 20))
def test_no_byte_but_white_space_is_ever_lost(text, block):
    kept = b"".join(cut(text.encode(), block))
    assert b"".join(kept.split()) == b"".join(text.encode().split())


@pytest.mark.parametrize(
    ("line", "events"),
    [
        (b'{"a":1}{"a":2}', [b'{"a":1}', b'{"a":2}']),
        (b'{"a":"}{"}', [b'{"a":"}{"}']),
        (b'{"a":{}}{"b":"\\"}{"}', [b'{"a":{}}', b'{"b":"\\"}{"}']),
        (b'{"a":1}{"cut', [b'{"a":1}', b'{"cut']),
        (b'{"cut":"x\n{"a":1}', [b'{"cut":"x', b'{"a":1}']),
        (b'{"a":1},{"a":2}\n', [b'{"a":1},{"a":2}']),
        (b"nonsense\n\n", [b"nonsense"]),
    ],
)
def test_what_is_no_object_is_an_event_of_its_own(line, events):
    assert cut(line, 1 << 20) == events


def test_long_line_without_any_object_takes_no_time_of_its_square():
    text = b'{"a":"' + b"x" * (8 << 20)
    assert cut(text, 64 << 10) == [text]
