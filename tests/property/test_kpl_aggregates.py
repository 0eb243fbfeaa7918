"""Aggregates of any content come apart exactly; anything that is not exactly one stays what it was and never raises."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming_app.sources.kinesis.aggregates import MOST_ROWS, Deaggregation, Part, hash_key_of, parts_of
from streaming_app.sources.kinesis.messages import HashRange, Record
from tests.kpl import MAGIC, UserRecord, aggregate, message, number, of, signed, text, varint

TOP = 2**128 - 1
KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=256)
USER_RECORDS = st.builds(
    UserRecord,
    KEYS,
    st.binary(max_size=300),
    st.none() | st.integers(0, TOP).map(str),
    st.lists(st.tuples(st.text("ab", max_size=3), st.text("ab", max_size=200)), max_size=2).map(tuple),
)
GOOD = aggregate([UserRecord("a", b"one"), UserRecord("b", b"two", "7")])


def part(record: UserRecord) -> Part:
    return Part(record.key, None if record.hash_key is None else int(record.hash_key), record.data)


def rows_of(data: list[bytes], hash_range: HashRange | None = None) -> tuple[list[tuple[bytes, int | None]], int]:
    """Data and number of each row that comes of these records, and how many were left out."""
    apart = Deaggregation(hash_range)
    pieces = list(apart.rows([Record(item, "outer", str(place), 1.5) for place, item in enumerate(data)]))
    rows = [
        (record.data, sub)
        for piece in pieces
        for record, sub in zip(piece.records, piece.subs or [None] * len(piece.records), strict=True)
    ]
    return rows, apart.dropped


@given(st.lists(USER_RECORDS, min_size=1, max_size=40))
def test_what_was_put_together_comes_apart(records):
    assert parts_of(aggregate(records)) == [part(record) for record in records]


@given(st.lists(USER_RECORDS, min_size=1, max_size=5), st.data())
def test_a_changed_byte_makes_it_a_plain_record(records, data):
    whole = aggregate(records)
    place = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[place] ^= data.draw(st.integers(1, 255))
    assert parts_of(bytes(changed)) is None


@given(st.lists(USER_RECORDS, min_size=1, max_size=5), st.data())
def test_a_cut_makes_it_a_plain_record(records, data):
    whole = aggregate(records)
    assert parts_of(whole[: data.draw(st.integers(0, len(whole) - 1))]) is None


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_with_a_right_digest_are_read_or_refused(noise):
    found = parts_of(signed(noise))
    assert found is None or all(isinstance(item, Part) for item in found)


@settings(max_examples=300)
@given(st.lists(USER_RECORDS, min_size=1, max_size=5), st.data())
def test_a_broken_message_with_a_right_digest_never_raises(records, data):
    broken = bytearray(message(records))
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    found = parts_of(signed(bytes(broken[: data.draw(st.integers(1, len(broken)))])))
    assert found is None or all(isinstance(item, Part) for item in found)


NO_LIMIT = b"\xff" * 9 + b"\x7f"  # the largest number that ten bytes hold
RECORD = text(3, number(1, 0) + text(3, b"data"))


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        text(1, b"k"),  # no record
        RECORD,  # no table
        text(1, b"k") + text(3, text(3, b"data")),  # no partition key
        text(1, b"k") + text(3, number(1, 0)),  # no data
        text(1, b"k") + text(3, number(1, 1) + text(3, b"data")),  # an index beyond the table
        text(1, b"k") + text(3, number(1, 0) + number(2, 0) + text(3, b"data")),
        text(1, b"k") + text(3, b"\x08" + NO_LIMIT + text(3, b"data")),
        text(1, b"k") + text(3, b"\x08" + b"\xff" * 200 + text(3, b"data")),  # a number that never ends
        text(1, b"k") + text(3, number(1, 0) + b"\x1a" + NO_LIMIT + b"data"),  # a length beyond everything
        text(1, b"k") + text(3, number(1, 0) + b"\x1a\x05data"),
        text(1, b"k") + text(3, number(1, 0) + number(3, 4)),  # a number where bytes should be
        text(1, b"k") + text(3, text(1, b"") + text(3, b"data")),
        text(1, b"\xff") + RECORD,  # no UTF-8
        text(1, b"k" * 257) + RECORD,
        text(2, b"-1") + text(1, b"k") + RECORD,
        text(2, b"9" * 5000) + text(1, b"k") + RECORD,
        text(2, str(TOP + 1).encode()) + text(1, b"k") + RECORD,
        text(1, b"k") + RECORD + b"\x0b",  # a group
        text(1, b"k") + RECORD + b"\x80",  # a tag that ends in the middle
        text(1, b"k") + RECORD + varint(9 << 3 | 1) + b"1234567",  # a fixed number that is cut
    ],
)
def test_a_message_that_is_no_aggregate_stays_one_record(broken):
    assert parts_of(signed(broken)) is None
    assert rows_of([signed(broken)]) == ([(signed(broken), None)], 0)


def test_fields_that_this_version_does_not_know_are_passed_over():
    unknown = varint(9 << 3 | 1) + b"12345678" + varint(10 << 3 | 5) + b"1234" + number(11, 3) + text(12, b"x")
    body = text(3, number(1, 0) + unknown + text(3, b"data"))
    assert parts_of(signed(unknown + text(1, b"k") + body + unknown)) == [Part("k", None, b"data")]


def test_a_table_may_come_after_the_records():
    assert parts_of(signed(RECORD + text(1, b"k"))) == [Part("k", None, b"data")]


@pytest.mark.parametrize("data", [b"", b"\xf3\x89\x9a", MAGIC, MAGIC + b"x" * 15, b"x" + GOOD, GOOD + b"x"])
def test_what_only_looks_like_an_aggregate_stays_one_record(data):
    assert rows_of([data]) == ([(data, None)], 0)


@given(st.lists(st.lists(st.binary(max_size=20), min_size=1, max_size=30) | st.binary(max_size=20), max_size=10))
def test_rows_keep_the_order_of_the_shard_and_are_numbered_within_their_record(items):
    sent = [of(*item) if isinstance(item, list) else item for item in items]
    expected = [
        row
        for item in items
        for row in ([(event, sub) for sub, event in enumerate(item)] if isinstance(item, list) else [(item, None)])
    ]
    assert rows_of(sent) == (expected, 0)


@given(st.lists(USER_RECORDS, min_size=1, max_size=20), st.integers(0, TOP), st.integers(0, TOP))
def test_records_of_other_shards_are_left_out_and_keep_their_numbers(records, one, other):
    hash_range = HashRange(min(one, other), max(one, other))
    own = [
        (record.data, sub)
        for sub, record in enumerate(records)
        if hash_range.first <= part(record).hash_key <= hash_range.last
    ]
    assert rows_of([aggregate(records)], hash_range) == (own, len(records) - len(own))


def test_both_ends_of_a_range_belong_to_it():
    records = [UserRecord("k", b"%d" % place, str(place)) for place in range(3, 8)]
    assert rows_of([aggregate(records)], HashRange(4, 6)) == ([(b"4", 1), (b"5", 2), (b"6", 3)], 2)


def test_the_hash_of_a_partition_key_is_its_md5():
    assert hash_key_of("a") == 0x0CC175B9C0F1B6A831C399E269772661


def test_many_rows_of_few_records_come_in_pieces():
    data = of(*[b""] * (2 * MOST_ROWS + 1))
    pieces = list(Deaggregation(None).rows([Record(data, "k", "1", 0.0)]))
    assert [len(piece.records) for piece in pieces] == [MOST_ROWS, MOST_ROWS, 1]


def test_a_page_of_plain_records_is_handed_on_as_it_is():
    records = [Record(b"plain", "k", "1", 0.0)]
    (piece,) = Deaggregation(None).rows(records)
    assert piece.records is records
    assert piece.subs is None
