"""Two compactions at once, one of them between any two steps of the other, whole or cut off: each row is there once at the end."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import pytest

from tests.compaction_lake import compact, compactor, positions, write_files
from tests.memory_storage import Changes, Cut, MemoryStorage
from tests.stepping import Stepped

STEPS = {"put", "put_if_absent", "delete", "publish", "discard", "list", "info", "get"}


def raced(orders, at: int, changes: int | None) -> int:
    """One compaction, before whose step `at` another one makes so many changes (None: all) and dies; returns all steps."""
    lake, book = MemoryStorage(), MemoryStorage()
    write_files(lake, orders, 4)
    rows = Counter(positions(lake))
    made = [0]

    def step(name, *, before):
        made[0] += before
        if before and made[0] == at:
            shared = Changes(10**6 if changes is None else changes)
            with suppress(Cut):
                compact(compactor(shared.of(lake), shared.of(book), orders))

    compact(compactor(Stepped(lake, step, STEPS), Stepped(book, step, STEPS), orders))
    compact(compactor(lake, book, orders))  # whatever was cut off is finished
    assert Counter(positions(lake)) == rows, (at, changes)
    return made[0]


@pytest.mark.parametrize("changes", [None, *range(1, 8)])
def test_a_rival_between_any_two_steps_doubles_and_loses_no_row(orders, changes):
    total = raced(orders, -1, None)
    assert total > 20
    for at in range(1, total + 1):
        raced(orders, at, changes)
