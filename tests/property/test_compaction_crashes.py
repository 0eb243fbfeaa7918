"""A compaction is cut off at every change of the storage there is; no row is ever missing, and each is there once at the end."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streaming_app.errors import SinkError
from tests.compaction_lake import canonical, compact, compactor, positions, write_files
from tests.memory_storage import Changes, Cut, MemoryStorage


def lake_of(orders, files: int = 5):
    lake, book = MemoryStorage(), MemoryStorage()
    write_files(lake, orders, files)
    write_files(lake, orders, 2, begin=100, day="order_date=2026-03-02")
    return lake, book, canonical(lake)


def changes_of_a_whole_run(orders) -> int:
    lake, book, _ = lake_of(orders)
    shared = Changes(10**6, lost_answer=False)
    compact(compactor(shared.of(lake), shared.of(book), orders))
    return 10**6 - shared.left


def run_cut_off(lake, book, orders, changes: int, *, lost_answer: bool) -> None:
    shared = Changes(changes, lost_answer=lost_answer)
    with pytest.raises(Cut):
        compact(compactor(shared.of(lake), shared.of(book), orders))


@pytest.mark.parametrize("lost_answer", [False, True])
def test_every_single_crash_point(orders, lost_answer):
    total = changes_of_a_whole_run(orders)
    assert total >= 2 * 4  # two partitions: entry, output, an input or more, pointer
    for at in range(total):
        lake, book, rows = lake_of(orders)
        run_cut_off(lake, book, orders, at, lost_answer=lost_answer)
        assert set(canonical(lake)) == set(rows), at  # a reader may see rows twice here, but never miss one
        compact(compactor(lake, book, orders))
        assert canonical(lake) == rows, at
        assert len(list(lake.list("clean"))) == 2, at


@pytest.mark.parametrize("lost_answer", [False, True])
def test_a_row_is_seen_twice_only_between_entry_and_pointer(orders, lost_answer):
    for at in range(changes_of_a_whole_run(orders)):
        lake, book, rows = lake_of(orders)
        run_cut_off(lake, book, orders, at, lost_answer=lost_answer)
        if not compactor(lake, book, orders).book.unfinished():
            assert canonical(lake) == rows, at


cut = st.tuples(st.integers(0, 14), st.booleans())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(cut, min_size=1, max_size=5), lose=st.lists(st.booleans(), min_size=5, max_size=5))
def test_crashes_on_crashes_with_late_files_and_staged_files_lost_in_between(orders, cuts, lose):
    lake, book, rows = lake_of(orders)
    for number, (at, lost_answer) in enumerate(cuts):
        shared = Changes(at, lost_answer=lost_answer)
        with suppress(Cut):
            compact(compactor(shared.of(lake), shared.of(book), orders))
        write_files(lake, orders, 1, begin=1000 + 10 * number)  # the stream goes on
        if lose[number]:  # a lifecycle rule aborts what is staged
            lake._staged.clear()
        assert set(rows) <= set(canonical(lake))
    expected = {f"s:{number}" for number in [*range(15), *range(100, 106)]}
    expected |= {f"s:{1000 + 10 * number + row}" for number in range(len(cuts)) for row in range(3)}
    compact(compactor(lake, book, orders))
    assert Counter(positions(lake)) == Counter(expected)


def test_outputs_whose_staged_files_are_gone_are_taken_back(orders):
    lake, book, rows = lake_of(orders)
    run_cut_off(lake, book, orders, 1, lost_answer=False)  # right after the entry
    lake._staged.clear()
    made = compactor(lake, book, orders)
    assert made.book.finish() == [0]
    assert canonical(lake) == rows
    assert made.book.unfinished() == []
    assert list(made.book.entries()) == []
    compact(made)
    assert canonical(lake) == rows
    assert len(list(lake.list("clean"))) == 2


def test_an_output_that_does_not_read_back_is_taken_back_before_any_file_is_removed(orders):
    lake, book, rows = lake_of(orders, files=3)
    run_cut_off(lake, book, orders, 2, lost_answer=False)  # the output is visible
    (output,) = [info for info in lake.list("clean") if "part-compact-" in info.key]
    data = bytearray(lake.get(output.key))
    data[20:60] = bytes(40)
    lake.put(output.key, bytes(data))
    compactor(lake, book, orders).book.finish()
    assert canonical(lake) == rows


def test_outputs_that_are_lost_when_inputs_are_gone_are_an_error_that_names_both(orders):
    lake, book, _ = lake_of(orders)
    run_cut_off(lake, book, orders, 3, lost_answer=False)  # the first input is deleted
    (output,) = [info for info in lake.list("clean") if "part-compact-" in info.key]
    lake.delete([output.key])
    with pytest.raises(SinkError, match=rf"1 of the files that it replaces.*restore {output.key}"):
        compactor(lake, book, orders).book.finish()


def test_two_compactions_at_once_replace_each_file_once(orders):
    lake, book, rows = lake_of(orders)
    first, second = compactor(lake, book, orders), compactor(lake, book, orders)
    append = second.book._append

    def late(compaction, since):
        compact(first)  # is faster, from beginning to end
        return append(compaction, since)

    second.book._append = late
    outcome = compact(second)
    assert any("another command" in note for note in outcome.skipped)
    assert canonical(lake) == rows
    assert not lake._staged


def test_a_slow_finisher_leaves_what_was_carried_out_and_replaced_again(orders):
    lake, book, _ = lake_of(orders)
    slow = compactor(lake, book, orders)
    run_cut_off(lake, book, orders, 1, lost_answer=False)
    entries = slow.book.unfinished()
    compact(compactor(lake, book, orders))
    write_files(lake, orders, 1, begin=500)
    compact(compactor(lake, book, orders))
    rows = canonical(lake)
    for entry in entries:
        slow.book._carry_out(entry)
    assert canonical(lake) == rows
