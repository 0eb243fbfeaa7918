"""Sums over the ledger: each published batch counts once, whoever tells of it, and over restarts."""

from __future__ import annotations

import json

import pytest

from streaming_app.journal.ledger import Ledger
from streaming_app.journal.totals import LedgerTotals
from tests.memory_storage import MemoryStorage
from tests.metrics_lake import entry, publish

KEPT = "ledger/totals.json"


@pytest.fixture
def storage():
    return MemoryStorage()


def rows(totals: LedgerTotals) -> tuple[int, int]:
    return totals.totals.batches, totals.totals.rows["read"]


def test_a_start_finds_everything_published(storage):
    publish(storage, *range(25))
    found = LedgerTotals(storage).totals
    assert found.rows == {"read": 250, "clean": 150, "dead": 75, "duplicates": 25}
    assert found.by_stage == {"cast": 25, "rule": 50}
    assert found.by_reason["quantity_positive"] == 50
    assert (found.files, found.bytes) == ({"clean": 50, "dead_letter": 25}, {"clean": 15000, "dead_letter": 2250})
    assert (found.breaches, found.breached) == ({"late": 25}, 25)


def test_an_entry_that_is_not_published_does_not_count_yet(storage):
    publish(storage, 0)
    Ledger(storage).append_if_absent(entry(1))
    totals = LedgerTotals(storage)
    assert rows(totals) == (1, 10)
    Ledger(storage).mark_published(1)
    totals.add(entry(1))
    assert rows(totals) == (2, 20)


def test_a_batch_that_is_told_of_twice_counts_once(storage):
    totals = LedgerTotals(storage)
    publish(storage, 0)
    totals.add(entry(0))
    totals.add(entry(0))
    assert rows(totals) == (1, 10)


def test_batches_that_nobody_told_of_count_with_the_next(storage):
    totals = LedgerTotals(storage)
    publish(storage, 0, 1, 2, 3)
    totals.add(entry(3))
    assert rows(totals) == (4, 40)


def test_a_restart_reads_only_what_came_after_the_kept_sums(storage, monkeypatch):
    publish(storage, *range(30))
    LedgerTotals(storage).save()
    publish(storage, 30)
    asked = []
    entries = Ledger.entries
    monkeypatch.setattr(Ledger, "entries", lambda self, first=0: asked.append(first) or entries(self, first))
    assert rows(LedgerTotals(storage)) == (31, 310)
    assert asked == [30]


def test_sums_are_kept_every_hundred_batches(storage):
    totals = LedgerTotals(storage)
    for number in range(100):
        publish(storage, number)
        totals.add(entry(number))
    assert json.loads(storage.get(KEPT))["through"] == 99


@pytest.mark.parametrize(
    "kept",
    [b"", b"{", b"[]", b"{}", b'{"format": 2}', b'{"format": 9, "through": 0}', b'{"format": 2, "through": 0, "x": 1}'],
)
def test_kept_sums_that_cannot_be_read_are_made_anew(storage, kept):
    publish(storage, 0, 1)
    storage.put(KEPT, kept)
    assert rows(LedgerTotals(storage)) == (2, 20)


def test_kept_sums_of_a_longer_ledger_are_made_anew(storage):
    other = MemoryStorage()
    publish(other, *range(9))
    LedgerTotals(other).save()
    publish(storage, 0)
    storage.put(KEPT, other.get(KEPT))
    assert rows(LedgerTotals(storage)) == (1, 10)
