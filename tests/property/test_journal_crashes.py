"""The journal cut off at every change it makes to the storage, then taken up by a fresh instance."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming_app.journal import sequenced
from streaming_app.journal.read_log import ReadLog, UnitRead
from streaming_app.journal.sequenced import SequencedLog
from tests.memory_storage import Cut, CutOffStorage, MemoryStorage


@pytest.fixture(autouse=True, scope="module")
def small_fanout():
    """Join three folds where the real log joins ten, so that a few dozen entries make folds of folds of folds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequenced, "_FANOUT", 3)
        patch.setattr(sequenced, "_LEVELS", (3, 9))
        yield


def every_cut(run_with):
    """Call `run_with(changes, lost)` for every number of changes, until the run gets to its end uncut."""
    for lost in (False, True):
        changes = 0
        while run_with([(changes, lost)]):
            changes += 1


def lives(run, storage, cuts):
    """Let `run` die after so many changes in each of its lives, then live on; how often it died."""
    for died, (changes, lost) in enumerate(cuts):
        try:
            run(CutOffStorage(storage, changes, lost_answer=lost))
        except Cut:
            continue
        return died
    run(storage)
    return len(cuts)


def keep_a_ledger(count, fold_every, check):
    """A service that appends entries as Spark replays batches: the last entry it finds may or may not be its own."""

    def run(storage):
        log = SequencedLog(storage, "ledger", fold_every)
        found = [number for number, _ in log.entries()]
        check(found)
        for number in range(len(found), count):
            log.append_if_absent(number, {"n": number, "text": "x" * number})
            assert log.get(number) == {"n": number, "text": "x" * number}
            log.fold(through=number - 1)

    return run


def expect_ledger(storage, count, fold_every):
    log = SequencedLog(storage, "ledger", fold_every)
    expected = {number: {"n": number, "text": "x" * number} for number in range(count)}
    assert list(log.entries()) == list(expected.items())
    assert {number: log.get(number) for number in expected} == expected
    assert not any(log.append_if_absent(number, {"other": True}) for number in expected)
    assert list(log.entries()) == list(expected.items())


def no_gap(found):
    assert found == list(range(len(found)))


@pytest.mark.parametrize("fold_every", [1, 2])
def test_a_log_cut_off_at_every_single_change_goes_on_without_loss(fold_every):
    def run(cuts):
        storage = MemoryStorage()
        died = lives(keep_a_ledger(15 * fold_every, fold_every, no_gap), storage, cuts)
        expect_ledger(storage, 15 * fold_every, fold_every)
        return died

    every_cut(run)


CUTS = st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=12)


@settings(max_examples=80, deadline=None)
@given(cuts=CUTS, count=st.integers(1, 40), fold_every=st.integers(1, 5))
def test_a_log_cut_off_again_and_again_goes_on_without_loss(cuts, count, fold_every):
    storage = MemoryStorage()
    lives(keep_a_ledger(count, fold_every, no_gap), storage, cuts)
    expect_ledger(storage, count, fold_every)


@settings(max_examples=60, deadline=None)
@given(cuts=CUTS, owners=st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_two_writers_cut_off_anywhere_never_both_win(cuts, owners):
    """Each number is claimed by a writer that may die and come back, then by a rival: one document stands for good."""
    storage = MemoryStorage()
    won: dict[int, int] = {}
    pending = iter(cuts)
    for number, owner in enumerate(owners):
        for who in (owner, owner + 10):
            changes, lost = next(pending, (1000, False))
            log = SequencedLog(CutOffStorage(storage, changes % 4, lost_answer=lost), "ledger", 2)
            try:
                if log.append_if_absent(number, {"who": who}):
                    assert number not in won
                    won[number] = who
                log.fold(through=number - 1)
            except Cut:
                pass
        SequencedLog(storage, "ledger", 2).append_if_absent(number, {"who": -1})
        SequencedLog(storage, "ledger", 2).fold(through=number - 1)
    found = dict(SequencedLog(storage, "ledger", 2).entries())
    assert list(found) == list(range(len(owners)))
    assert all(found[number] == {"who": who} for number, who in won.items())


def read_epochs(count, units, promised):
    """A source's life: what a record said once (to a task that went on) it must say for ever."""

    def run(storage):
        for epoch in range(count):
            log = ReadLog(storage)
            plan = log.put_plan_if_absent(epoch, {"life": id(storage)})
            assert promised.setdefault((epoch, "plan"), plan) == plan
            for unit in range(units):
                found = log.unit(epoch, str(unit))
                if found is None:
                    read = UnitRead(str(unit), 1, 1, {"life": id(storage)})
                    found = read if log.put_if_absent(epoch, read) else log.unit(epoch, str(unit))
                assert promised.setdefault((epoch, str(unit)), found) == found
            assert log.units(epoch) == {str(unit): promised[epoch, str(unit)] for unit in range(units)}
            if epoch:
                log.seal(epoch - 1)

    return run


def expect_reads(storage, count, units, promised):
    log = ReadLog(storage)
    for epoch in range(count):
        assert log.units(epoch) == {str(unit): promised[epoch, str(unit)] for unit in range(units)}
        assert log.plan(epoch) == promised[epoch, "plan"]
    assert [epoch for epoch, _ in log.sealed()] == list(range(count - 1))
    assert log.live_epochs() == [count - 1]


def test_a_read_log_cut_off_at_every_single_change_keeps_what_it_said():
    def run(cuts):
        storage, promised = MemoryStorage(), {}
        died = lives(read_epochs(6, 3, promised), storage, cuts)
        expect_reads(storage, 6, 3, promised)
        return died

    every_cut(run)


@settings(max_examples=60, deadline=None)
@given(cuts=CUTS, count=st.integers(1, 8), units=st.integers(1, 4))
def test_a_read_log_cut_off_again_and_again_keeps_what_it_said(cuts, count, units):
    storage, promised = MemoryStorage(), {}
    lives(read_epochs(count, units, promised), storage, cuts)
    expect_reads(storage, count, units, promised)


def test_a_late_callers_plan_beside_the_sealed_one_is_not_believed():
    """Cut off after the plan was written for an epoch that is sealed: its answer was lost, so nobody took it back."""
    storage, promised = MemoryStorage(), {}
    lives(read_epochs(2, 1, promised), storage, [(6, False), (0, True)])
    expect_reads(storage, 2, 1, promised)
