"""Positions against what a batch read: each exactly once, whatever order and pieces they come in."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_app.audit.tally import Counted, FileTally, ShardRange, ShardTally, UnitGap


def count(tally, positions, pieces: int = 1) -> Counted:
    size = -(-len(positions) // pieces) or 1
    for begin in range(0, len(positions), size):
        tally.add(pa.array(positions[begin : begin + size], pa.string()))
    return tally.result()


def shard(numbers, name: str = "s") -> ShardRange:
    return ShardRange(name, str(numbers[0]), str(numbers[-1]), len(numbers))


def at(numbers, name: str = "s") -> list[str]:
    return [f"{name}:{number}" for number in numbers]


HUGE = 49590338271490256608559692538361571095921575989136588898


@pytest.mark.parametrize("begin", [0, 5, 95, 990, HUGE])
def test_all_records_of_a_range_are_fine_in_any_order(begin):
    numbers = range(begin, begin + 200, 3)
    shuffled = random.Random(1).sample(at(numbers), len(numbers))
    assert count(ShardTally([shard(numbers)]), shuffled, pieces=7) == Counted()


def test_shards_do_not_answer_for_one_another():
    first, second = range(100, 150), range(100, 140)
    positions = at(first, "s-1") + at(second, "s-2")
    assert count(ShardTally([shard(first, "s-1"), shard(second, "s-2")]), positions) == Counted()
    counted = count(ShardTally([shard(first, "s-1"), shard(second, "s-2")]), [*at(first, "s-1"), *at(first, "s-2")])
    assert (counted.unknown, counted.unknown_examples[0]) == (10, "s-2:140")


def test_missing_record_is_counted_and_its_range_named():
    numbers = range(10, 30)
    counted = count(ShardTally([shard(numbers)]), at(number for number in numbers if number != 17))
    assert counted.gaps == [UnitGap("s", 1, "between 10 and 29")]


def test_record_twice_does_not_hide_a_missing_one():
    numbers = range(10, 30)
    positions = ["s:18" if number == 17 else f"s:{number}" for number in numbers]
    counted = count(ShardTally([shard(numbers)]), positions, pieces=5)
    assert (counted.duplicates, counted.duplicate_examples, counted.missing, counted.unknown) == (1, ["s:18"], 1, 0)


@pytest.mark.parametrize(
    "position", ["s:30", "s:9", "s:1a", "t:15", "s", "", "s:015", "s:15:1", "s:2\N{ARABIC-INDIC DIGIT FIVE}", None]
)
def test_row_outside_its_batch_is_unknown(position):
    numbers = range(10, 30)
    counted = count(ShardTally([shard(numbers)]), [*at(numbers), position], pieces=3)
    assert (counted.unknown, counted.duplicates, counted.missing) == (1, 0, 0)


# Records of aggregates have a number more.

SUBS = [*(f"s:9:{sub}" for sub in range(12)), "s:10", *(f"s:11:{sub}" for sub in range(101)), "s:100:0"]


def with_aggregates(rows: int) -> ShardTally:
    return ShardTally([ShardRange("s", "9", "100", rows, aggregates=True)])


def test_all_records_of_aggregates_are_fine_in_any_order():
    assert count(with_aggregates(len(SUBS)), random.Random(1).sample(SUBS, len(SUBS)), pieces=7) == Counted()
    long = [f"s:{HUGE}", *(f"s:{HUGE + 1}:{sub}" for sub in range(1000))]
    assert count(ShardTally([ShardRange("s", str(HUGE), str(HUGE + 1), 1001, aggregates=True)]), long) == Counted()


def test_missing_or_repeated_record_of_an_aggregate_is_counted():
    counted = count(with_aggregates(len(SUBS)), [*(place for place in SUBS if place != "s:11:57"), "s:9:3"], pieces=5)
    assert (counted.missing, counted.duplicates, counted.duplicate_examples) == (1, 1, ["s:9:3"])


@pytest.mark.parametrize("position", ["s:8:1", "s:101:0", "s:9:03", "s:9:", "s:9:1:1", "s:09:1", "s:9:x", "s:9:12"])
def test_row_that_no_aggregate_held_is_unknown(position):
    counted = count(with_aggregates(len(SUBS)), [*SUBS, position], pieces=3)
    assert (counted.unknown, counted.duplicates, counted.missing) == (1, 0, 0)


def test_file_rows_count_from_one_and_names_may_hold_anything():
    names = ["a.csv", "a.csv@etag-3", "b#7.csv", "2026", "ü/ñ 1.csv", "#"]
    positions = [f"{name}#{row}" for row in range(1, 1201) for name in names]
    assert count(FileTally(dict.fromkeys(names, 1200)), positions, pieces=11) == Counted()


def test_header_that_became_a_row_is_row_zero():
    assert count(FileTally({"f": 3}), ["f#0", "f#1", "f#2"]) == Counted()
    assert count(FileTally({"f": 1}), ["f#0"]) == Counted()
    assert count(FileTally({"f": 3}), ["f#0", "f#1", "f#2", "f#3"]).unknown_examples == ["f#3"]


def test_missing_rows_of_a_file_are_named():
    rows = [row for row in range(1, 101) if row not in {3, 4, 5, 9, 20, 21, 50, 100}]
    counted = count(FileTally({"f": 100}), [f"f#{row}" for row in rows])
    assert counted.gaps == [UnitGap("f", 8, "rows 3-5, 9, 20-21, ...")]
    assert count(FileTally({"f": 4}), []).gaps == [UnitGap("f", 4, "rows 1-4")]


@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_file_rows_that_are_twice_are_counted_once_each(pieces):
    rows = [*range(1, 11), 4, 9, 9]
    counted = count(FileTally({"f": 10}), [f"f#{row}" for row in rows], pieces)
    assert (counted.duplicates, counted.missing) == (3, 0)
    assert set(counted.duplicate_examples) == {"f#4", "f#9"}


@pytest.mark.parametrize("position", ["f#11", "g#1", "f#", "f", "f#01", "#", "f#1234567890123456789012", None, ""])
def test_row_of_no_file_is_unknown(position):
    counted = count(FileTally({"f": 10}), [*(f"f#{row}" for row in range(1, 11)), position], pieces=2)
    assert (counted.unknown, counted.duplicates, counted.missing) == (1, 0, 0)


@given(
    sent=st.lists(st.integers(0, 40), max_size=60),
    pieces=st.integers(1, 5),
    kind=st.sampled_from(["file", "shard"]),
)
def test_tally_agrees_with_plain_sets(sent, pieces, kind):
    low, high = (1, 30) if kind == "file" else (8, 30)
    wanted = set(range(low, high + 1))
    sent = [number for number in sent if number]  # 0 may be a file's header
    tally = FileTally({"u": 30}) if kind == "file" else ShardTally([ShardRange("u", "8", "30", len(wanted))])
    counted = count(tally, [f"u#{number}" if kind == "file" else f"u:{number}" for number in sent], pieces)
    assert counted.missing == len(wanted - set(sent))
    inside = [number for number in sent if number in wanted]
    outside = [number for number in sent if number not in wanted]
    if kind == "file":
        assert (counted.duplicates, counted.unknown) == (len(inside) - len(set(inside)), len(outside))
    else:  # what is outside and twice counts as one of each
        assert counted.duplicates == len(sent) - len(set(sent))
        assert counted.unknown == len(set(outside))
