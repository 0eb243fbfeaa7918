"""What was read, epoch after epoch: nothing left out in between, nothing twice."""

from __future__ import annotations

import pytest

from batch_app.audit.reads import FileReads, ShardReads
from batch_app.audit.report import Kind
from streaming_app.journal.read_log import SealedEpoch, UnitRead
from streaming_app.sources.kinesis import positions
from streaming_app.sources.kinesis.reading import end_of
from tests.audit_lake import file_read, shard_read

START = {"a": "TRIM_HORIZON", "b": "TRIM_HORIZON"}


def epoch(number: int, *reads: UnitRead, plan=None) -> SealedEpoch:
    return SealedEpoch(number, plan, {read.unit: read for read in reads})


def findings(reads, *epochs: SealedEpoch) -> list[tuple[Kind, str | None]]:
    return [(found.kind, found.unit) for taken in epochs for found in reads.take(taken)]


def split(shard: str, start: str, numbers, *children: tuple[str, tuple[str, ...]]) -> UnitRead:
    return shard_read(shard, start, numbers, closed=True, children=children)


A1, A2 = shard_read("a", "TRIM_HORIZON", [10, 12]), shard_read("a", "AFTER:12", [13, 20])
B1, B2 = shard_read("b", "TRIM_HORIZON", []), shard_read("b", "TRIM_HORIZON", [5])


def test_ranges_that_join_are_fine():
    assert findings(ShardReads(START), epoch(1, A1, B1), epoch(2, A2, B2)) == []


def test_epoch_that_only_says_where_the_stream_begins_leaves_nothing_out():
    reads = ShardReads(START)
    assert findings(reads, epoch(0), epoch(1, A1, B1)) == []
    assert findings(reads, epoch(2, A2)) == [(Kind.GAP, "b")]


@pytest.mark.parametrize("start", ["AFTER:11", "AFTER:14", "TRIM_HORIZON"])
def test_range_that_does_not_begin_where_the_last_one_ended(start):
    reads = ShardReads(START)
    found = findings(reads, epoch(1, A1, B1), epoch(2, shard_read("a", start, [15, 20]), B2))
    assert found == [(Kind.GAP, "a")]


def test_records_that_an_earlier_epoch_had_read_already():
    reads = ShardReads(START)
    found = findings(reads, epoch(1, A1, B1), epoch(2, shard_read("a", "AFTER:12", [12, 20]), B2))
    assert found == [(Kind.READ_LOG, "a"), (Kind.OVERLAP, "a")]


def test_sequence_numbers_are_compared_as_numbers():
    first, second = shard_read("a", "TRIM_HORIZON", [9]), shard_read("a", "AFTER:9", [10])
    assert findings(ShardReads({"a": "TRIM_HORIZON"}), epoch(1, first), epoch(2, second)) == []


def test_shard_that_was_left_out_of_an_epoch():
    assert findings(ShardReads(START), epoch(1, A1)) == [(Kind.GAP, "b")]
    assert findings(ShardReads(START), epoch(1, A1, B1), epoch(2, A2)) == [(Kind.GAP, "b")]


def test_stream_that_does_not_begin_where_it_was_to():
    reads = ShardReads({"a": "AT_TIMESTAMP:2026-03-01T00:00:00.000Z"})
    assert findings(reads, epoch(1, A1)) == [(Kind.GAP, "a")]


def test_child_after_its_closed_parent_is_fine():
    child = shard_read("c", "TRIM_HORIZON", [30])
    closing = split("a", "AFTER:12", [13], ("c", ("a",)), ("d", ("a",)))
    other = shard_read("d", "TRIM_HORIZON", [])
    last = shard_read("b", "AFTER:5", [])
    assert findings(ShardReads(START), epoch(1, A1, B1), epoch(2, closing, B2), epoch(3, child, other, last)) == []


def test_child_that_began_together_with_the_end_of_its_parent():
    child = shard_read("c", "TRIM_HORIZON", [30])
    closing = split("a", "AFTER:12", [13], ("c", ("a",)))
    found = findings(ShardReads(START), epoch(1, A1, B1), epoch(2, closing, B2, child))
    assert (Kind.GAP, "c") in found


def test_merged_child_waits_for_both_parents():
    closing = split("a", "TRIM_HORIZON", [13], ("c", ("a", "b")))
    child = shard_read("c", "TRIM_HORIZON", [30])
    assert findings(ShardReads(START), epoch(1, closing, B1), epoch(2, B2, child)) == [(Kind.GAP, "c")]
    both = epoch(1, closing, split("b", "TRIM_HORIZON", [], ("c", ("a", "b"))))
    assert findings(ShardReads(START), both, epoch(2, child)) == []


def test_shard_out_of_nowhere():
    found = findings(ShardReads({"a": "TRIM_HORIZON"}), epoch(1, A1), epoch(2, A2, shard_read("x", "TRIM_HORIZON", [])))
    assert found == [(Kind.GAP, "x")]


def test_children_that_the_answer_did_not_name_are_accepted_after_an_end():
    closing, child = split("a", "TRIM_HORIZON", [13]), shard_read("c", "TRIM_HORIZON", [])
    assert findings(ShardReads({"a": "TRIM_HORIZON"}), epoch(1, closing), epoch(2, child)) == []


def test_shard_that_is_read_on_after_its_end():
    found = findings(ShardReads({"a": "TRIM_HORIZON"}), epoch(1, split("a", "TRIM_HORIZON", [12])), epoch(2, A2))
    assert found == [(Kind.OVERLAP, "a")]


def test_shard_that_expired_before_its_end_is_a_loss():
    lost = shard_read("a", "TRIM_HORIZON", [10])
    lost.detail["lost"] = True
    assert findings(ShardReads({"a": "TRIM_HORIZON"}), epoch(1, lost)) == [(Kind.GAP, "a")]


def test_planned_file_that_was_never_read():
    plan = {"files": [{"key": "x.csv"}, {"key": "y.csv"}]}
    assert findings(FileReads(), epoch(1, file_read("x.csv", 3), plan=plan)) == [(Kind.GAP, "y.csv")]


def test_file_that_is_read_twice_under_one_name():
    reads = FileReads()
    assert findings(reads, epoch(1, file_read("x.csv", 3)), epoch(2, file_read("x.csv", 3))) == [
        (Kind.OVERLAP, "x.csv")
    ]
    assert reads.units == 2


def test_changed_file_has_a_name_of_its_own():
    again = file_read("x.csv", 3, name="x.csv@etag-2")
    unchanged = file_read("x.csv", 0, kind="unchanged")
    assert findings(FileReads(), epoch(1, file_read("x.csv", 3)), epoch(2, again), epoch(3, unchanged)) == []


def test_audit_writes_positions_as_the_source_does():
    from batch_app.audit import reads

    assert positions.after("12") == f"{reads._AFTER}12"
    assert positions.at("12") == f"{reads._AT}12"
    assert end_of(A1).position == "AFTER:12"
