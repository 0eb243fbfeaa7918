"""`backfill --rescue` while a batch is committed, a compaction runs, or the rescue itself is cut off: each row is there once."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import pytest

from tests.compaction_lake import START, clean_rows, compact, compactor, positions, rescue, tables, timedelta, write
from tests.memory_storage import Changes, Cut, MemoryStorage
from tests.stepping import Stepped

STEPS = {"put", "put_if_absent", "delete", "publish", "discard", "list", "info", "doubtful"}


class World:
    def __init__(self, orders):
        self.orders = orders
        self.lake, self.book = MemoryStorage(), MemoryStorage()
        self.in_doubt: set[str] = set()
        self.rows: Counter = Counter()
        for begin in (0, 10):
            self.file(begin)

    def file(self, begin, *, publish=True):
        rows = clean_rows(self.orders, begin, 3, START + timedelta(microseconds=begin))
        self.rows.update(f"s:{number}" for number in range(begin, begin + 3))
        return write(self.lake, self.orders, "clean", rows, publish=publish)

    def doubtful(self):
        return set(self.in_doubt)

    def rescue(self, step=lambda *_, **__: None, lake=None, book=None):
        lake, book = Stepped(lake or self.lake, step, STEPS), Stepped(book or self.book, step, STEPS)
        made = compactor(lake, book, self.orders)
        object.__setattr__(made, "in_doubt", Stepped(self, step, STEPS).doubtful)
        return rescue(made, book)

    def tips(self):
        return Counter(
            tip for rows in tables(self.lake).values() if "tip" in rows.column_names for tip in rows["tip"].to_pylist()
        )


def steps_of_one(orders) -> int:
    made = [0]

    def count(name, *, before):
        made[0] += before

    World(orders).rescue(count)
    return made[0]


def test_a_batch_that_recovery_takes_back_is_never_rewritten(orders):
    """Committed before one step and visible before the same or a later one; then its service dies, and recovery looks."""
    total = steps_of_one(orders)
    for committed in range(1, total + 1):
        for shown in range(committed, total + 1):
            world, made, staged = World(orders), [0], []

            def step(name, *, before, world=world, made=made, staged=staged, committed=committed, shown=shown):
                made[0] += before
                if before and made[0] == committed:
                    staged.append(world.file(100, publish=False).staged)
                    world.in_doubt.add(staged[0].key)
                if before and made[0] == shown and staged:
                    world.lake.publish(staged[0])

            world.rescue(step)
            for file in staged:  # commit.py: _finish_or_void
                if str(world.lake.publish(file)) == "gone":
                    world.file(100)
                    world.rows.subtract(f"s:{number}" for number in range(100, 103))
            assert Counter(positions(world.lake)) == +world.rows, (committed, shown)


def test_a_compaction_between_any_two_steps(orders):
    for at in range(1, steps_of_one(orders) + 1):
        world, made = World(orders), [0]

        def step(name, *, before, world=world, made=made, at=at):
            made[0] += before
            if before and made[0] == at:
                compact(compactor(world.lake, world.book, world.orders))

        world.rescue(step)
        world.rescue()
        assert Counter(positions(world.lake)) == world.rows, at
        assert set(world.tips()) == {None, "1", "11"}, at


@pytest.mark.parametrize("lost_answer", [False, True])
def test_every_single_crash_point(orders, lost_answer):
    for at in range(100):
        world, shared = World(orders), Changes(at, lost_answer=lost_answer)
        with suppress(Cut):
            world.rescue(lake=shared.of(world.lake), book=shared.of(world.book))
        assert set(positions(world.lake)) == set(world.rows), at
        world.rescue()
        assert Counter(positions(world.lake)) == world.rows, at
        assert world.tips() == {None: 4, "1": 1, "11": 1}, at
        if shared.left >= 0:
            return
    pytest.fail("a rescue of two files makes fewer changes")
