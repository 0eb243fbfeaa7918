"""The framing of pushed events: any messages in pieces of any size come out whole; damage is noticed and never more."""

from __future__ import annotations

import struct
from itertools import pairwise
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from streaming_app.sources.kinesis.event_stream import BrokenStreamError, Message, decode, encode, split
from tests.strict_fan_out import event, exception, framed, header

NAMES = st.text("abc:-", min_size=1, max_size=20)
HEADERS = st.dictionaries(NAMES, st.text(max_size=50), max_size=4)
MESSAGES = st.lists(st.tuples(HEADERS, st.binary(max_size=300)), max_size=6)


def written(headers: dict[str, str], payload: bytes) -> bytes:
    parts = [
        struct.pack(">B", len(name)) + name.encode() + struct.pack(">BH", 7, len(value.encode())) + value.encode()
        for name, value in headers.items()
    ]
    return framed(b"".join(parts), payload)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[begin:end] for begin, end in pairwise(places)]


@given(MESSAGES, st.lists(st.integers(0, 10_000), max_size=10))
def test_messages_come_out_whole_from_any_pieces(messages, cuts):
    data = b"".join(written(*message) for message in messages)
    assert [decode(whole) for whole in split(pieces(data, cuts))] == [Message(*message) for message in messages]


@given(HEADERS, st.binary(max_size=300))
def test_messages_read_as_botocore_reads_them(headers, payload):
    theirs = EventStreamBuffer()
    theirs.add_data(written(headers, payload))
    (message,) = theirs
    assert decode(written(headers, payload)) == Message(message.headers, message.payload)


@given(HEADERS, st.binary(max_size=300))
def test_what_is_written_reads_back(headers, payload):
    assert encode(Message(headers, payload)) == written(headers, payload)


@given(HEADERS, st.binary(max_size=300), st.data())
def test_a_changed_byte_is_noticed(headers, payload, data):
    damaged = bytearray(written(headers, payload))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BrokenStreamError):
        [decode(whole) for whole in split([bytes(damaged), b"\0" * 100])]


@given(st.binary(max_size=300))
def test_noise_is_refused_or_waited_for(noise):
    try:
        assert list(split([noise])) == [] or len(noise) >= 16
    except BrokenStreamError:
        return


@given(st.binary(max_size=60), st.binary(max_size=20))
def test_headers_of_any_bytes_are_read_or_refused(headers, payload):
    try:
        assert decode(framed(headers, payload)).payload == payload
    except BrokenStreamError:
        return


def test_headers_of_other_types_are_passed_over():
    others = [
        b"\x01a\x00", b"\x01b\x01", b"\x01c\x02x", b"\x01d\x03xx", b"\x01e\x04xxxx", b"\x01f\x05xxxxxxxx",
        b"\x01g\x06\x00\x03xyz", b"\x01h\x08xxxxxxxx", b"\x01i\x09" + b"x" * 16,
    ]  # fmt: skip
    data = framed(b"".join(others) + header(":event-type", "e"), b"{}")
    assert decode(data) == Message({":event-type": "e"}, b"{}")


def test_a_length_of_gigabytes_is_refused_before_anything_is_kept():
    prelude = struct.pack(">II", 1 << 31, 0)
    with pytest.raises(BrokenStreamError):
        next(split([prelude + struct.pack(">I", crc32(prelude))]))


def test_what_is_cut_at_the_end_is_dropped():
    whole = event("a", {})
    assert list(split([whole + exception("b")[:-1]])) == [whole]
