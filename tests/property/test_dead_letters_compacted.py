"""Dead letters are read while a compaction replaces their files: each that was there is given once, or the command says it failed."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import pytest

from batch_app.compaction.book import CompactionBook
from batch_app.dead_letters.book import Book
from batch_app.dead_letters.selection import Selection
from batch_app.dead_letters.table import ID, DeadFile, DeadLetters
from batch_app.dead_letters.taking import discard
from streaming_app.errors import SinkError
from tests.compaction_lake import START, compact, compactor, dead_rows, timedelta, write
from tests.memory_storage import Changes, Cut, MemoryStorage
from tests.stepping import Stepped

FILES, ROWS = 5, 3
DAYS = ("dead_date=2026-03-01", "dead_date=2026-03-02")
IDS = Counter(f"{number:032x}" for number in range(len(DAYS) * FILES * ROWS))


class World:
    def __init__(self, orders):
        self.orders = orders
        self.lake, self.book = MemoryStorage(), MemoryStorage()
        for place, day in enumerate(DAYS):
            for file in range(FILES):
                self.file((place * FILES + file) * ROWS, day)

    def file(self, begin, day=DAYS[0]):
        rows = dead_rows(begin, ROWS, START + timedelta(microseconds=begin))
        return write(self.lake, self.orders, "dead_letter", rows, day=day).staged.key

    def compact(self, changes=10**6):
        shared = Changes(changes)
        with suppress(Cut):
            compact(compactor(shared.of(self.lake), shared.of(self.book), self.orders))

    def letters(self, step=lambda *_, **__: None) -> DeadLetters:
        lake = Stepped(self.lake, step, {"list", "get"})
        return DeadLetters(lake, compactions=CompactionBook(Stepped(self.book, step, {"list", "get"}), lake))


def ids(letters, **more) -> Counter:
    return Counter(text for _, rows in letters.scan(Selection(), (ID,), **more) for text in rows[ID].to_pylist())


def steps_of_one(orders) -> int:
    made = [0]

    def count(name, *, before):
        made[0] += before

    ids(World(orders).letters(count))
    return made[0]


@pytest.fixture(autouse=True)
def _one_after_the_other(monkeypatch):
    """A file is read when it is asked for, so that a compaction can come before any of them."""
    monkeypatch.setattr("batch_app.dead_letters.table._FILES_AHEAD", 1)
    monkeypatch.setattr("os.cpu_count", lambda: 1)


@pytest.mark.parametrize("changes", [*range(1, 9), 10**6])
def test_each_is_given_once_whatever_a_compaction_has_done_by_any_step(orders, changes):
    total = steps_of_one(orders)
    assert total > len(DAYS) * FILES
    for at in range(1, total + 1):
        world, made = World(orders), [0]

        def step(name, *, before, world=world, made=made, at=at):
            made[0] += before
            if before and made[0] == at:
                world.compact(changes)

        assert ids(world.letters(step)) == IDS, at


def test_compactions_and_batches_at_every_step_leave_nothing_out(orders):
    world, made = World(orders), [0]

    def step(name, *, before):
        made[0] += before
        if before and made[0] % 7 == 0 and made[0] < 200:
            world.file(1000 + made[0] * ROWS)
            world.compact()

    found = ids(world.letters(step))
    assert max(found.values()) == 1
    assert set(found) >= set(IDS)
    assert made[0] >= 30


def test_what_goes_each_time_that_it_is_read_is_an_error(orders):
    world = World(orders)

    def step(name, *, before):
        if name == "get" and before:
            world.lake.delete([info.key for info in world.lake.list("dead_letter")])
            world.file(5000)

    letters = DeadLetters(Stepped(world.lake, step, {"get"}), compactions=CompactionBook(world.book, world.lake))
    with pytest.raises(SinkError, match="run the command again"):
        ids(letters)


def test_files_of_a_table_that_go_are_an_error(orders):
    letters = DeadLetters(World(orders).lake)
    files = letters.files(Selection())
    gone = DeadFile(f"{files[0].partition}/part-kinesis-0.parquet", 1, files[0].input_source, files[0].day)
    with pytest.raises(SinkError, match="run the command again"):
        ids(letters, files=[gone])


def test_a_discard_that_a_compaction_overtakes_takes_every_letter(orders):
    total = steps_of_one(orders)
    for at in range(1, total + 1):
        world, made = World(orders), [0]

        def step(name, *, before, world=world, made=made, at=at):
            made[0] += before
            if before and made[0] == at:
                world.compact()

        letters = world.letters(step)
        book = Book(MemoryStorage(), world.lake)
        letters.taken = book.taken
        outcome = discard(letters, book, Selection(), "test", chunk=4)
        assert (outcome.selected, outcome.passed, outcome.taken) == (IDS.total(), IDS.total(), 0), at
        assert len(book.taken) == IDS.total()
