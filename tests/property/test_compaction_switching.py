"""Compaction with a catalog: at every single step a reader of the catalog sees what is published, each row once."""

from __future__ import annotations

import itertools
from collections import Counter
from contextlib import suppress

import pytest

from batch_app.compaction.book import AlreadyReplacedError, Compaction
from batch_app.compaction.engine import Outcome, _Merge
from batch_app.compaction.plan import File, Group, Listed, Wanted, find
from batch_app.compaction.switching import Switcher, retired
from streaming_app.journal.switches import Switches
from streaming_app.sink.parquet_files import TableFiles
from tests.compaction_lake import (
    START,
    canonical,
    clean_rows,
    compact,
    compactor,
    positions,
    rescue,
    tables,
    timedelta,
    write,
    write_files,
)
from tests.memory_storage import Cut, MemoryStorage
from tests.stepping import CHANGES, Stepped

FOLDER = "clean/input_source=stream/order_date=2026-03-01"
OTHER = "clean/input_source=stream/order_date=2026-03-02"
READS = {"list", "info", "folder"}  # files are read by several threads


class FolderCatalog:
    def __init__(self):
        self.places = {}

    def folder(self, folder):
        return self.places.get(folder, folder)

    def switch(self, folder, target):
        self.places[folder] = target


class World:
    """A lake with a catalog, a clock, a writer that publishes as the sink does, and a reader of the catalog."""

    def __init__(self, orders):
        self.orders = orders
        self.lake, self.book, self.catalog = MemoryStorage(), MemoryStorage(), FolderCatalog()
        self.now = 1000.0
        self.doubtful: set[str] = set()
        self.published: set[str] = set()
        self.numbers = itertools.count(1000, 3)
        write_files(self.lake, orders, 4)
        write_files(self.lake, orders, 2, begin=100, day="order_date=2026-03-02")
        self.published |= set(positions(self.lake))

    def write(self, *, day="order_date=2026-03-01"):
        """A batch: committed (in doubt), visible, copied where readers are sent, published."""
        first = next(self.numbers)
        rows = clean_rows(self.orders, first, 3, START + timedelta(microseconds=first))
        file = write(self.lake, self.orders, "clean", rows, day=day, publish=False)
        self.doubtful.add(file.staged.key)
        yield
        self.lake.publish(file.staged)
        yield
        Switches(self.book).mirror(self.lake, [file.staged.key])
        yield
        self.doubtful.discard(file.staged.key)
        self.published |= {f"s:{number}" for number in range(first, first + 3)}

    def read(self) -> Counter:
        """Every row, as a reader finds it that asks the catalog for places first."""
        found: Counter = Counter()
        everything = tables_of(self.lake)
        for folder in (FOLDER, OTHER):
            place = self.catalog.folder(folder)
            for key, rows in everything.items():
                if key.rpartition("/")[0] == place:
                    found.update(rows)
        return found

    def check(self):
        found = self.read()
        assert max(found.values()) == 1
        assert set(found) >= self.published

    def slow_reader(self):
        """A query that takes its time: places, then a listing, then the files, each at another step."""
        before = set(self.published)
        places = [self.catalog.folder(folder) for folder in (FOLDER, OTHER)]
        yield
        keys = [info.key for place in places for info in self.lake.list(place)]
        yield
        found = Counter(row for key in keys for row in rows_of(self.lake, key, {}))
        assert max(found.values()) == 1
        assert set(found) >= before

    def switcher(self, step=lambda *_, **__: None, names=CHANGES, **more) -> Switcher:
        lake, book = Stepped(self.lake, step, names), Stepped(self.book, step, names)
        made = compactor(lake, book, self.orders, doubtful=())
        object.__setattr__(made, "in_doubt", lambda: set(self.doubtful))
        more = {"wait": lambda _: None, "clock": lambda: self.now, **more}
        return Switcher(made, Stepped(self.catalog, step, names), book, grace=60.0, **more)

    def compact(self, switcher) -> Outcome:
        outcome = Outcome(dry_run=False)
        waiting = switcher.finish(outcome)
        since = switcher.compactor.book.since()
        groups = find(switcher.compactor.lake, Wanted(min_files=2), Listed())
        for folder, some in itertools.groupby(groups, lambda group: group.folder):
            if folder not in waiting:
                switcher.run(list(some), since, outcome)
        return outcome

    def settle(self, switcher) -> Outcome:
        outcome = Outcome(dry_run=False)
        self.now += 61
        switcher.finish(outcome)
        return outcome


def tables_of(lake):
    keys = [info.key for folder in ("clean", "compacted") for info in lake.list(folder)]
    return {key: rows_of(lake, key) for key in keys}


def rows_of(lake, key, cache={}):  # noqa: B006 - files do not change
    if key not in cache:
        import io

        import pyarrow.parquet as pq

        cache[key] = pq.ParquetFile(io.BytesIO(lake.get(key))).read(["source_position"]).column(0).to_pylist()
    return cache[key]


def test_readers_are_sent_to_the_new_files_and_back_and_all_is_one_folder_again(orders):
    world = World(orders)
    rows = canonical(world.lake)
    outcome = world.compact(world.switcher())
    assert (outcome.switched, outcome.waiting, outcome.replaced_files, outcome.written_files) == (2, 2, 6, 2)
    assert world.catalog.folder(FOLDER).startswith("compacted/")
    world.check()
    assert canonical(world.lake) == rows
    assert len(tables(world.lake)) == 6  # the partition's own folder is as it was
    assert world.settle(world.switcher()).settled == 2
    assert world.catalog.places == {FOLDER: FOLDER, OTHER: OTHER}
    assert len(tables(world.lake)) == 2
    assert canonical(world.lake) == rows
    assert Switches(world.book).open() == []
    assert len(retired(world.book, float("inf"))) == 2


@pytest.mark.parametrize("pace", [1, 2, 5, 11])
def test_a_slow_query_sees_every_row_that_was_published_before_it_once(orders, pace):
    world = World(orders)
    readers = itertools.chain.from_iterable(world.slow_reader() for _ in itertools.count())
    writer = itertools.chain.from_iterable(world.write() for _ in itertools.count())
    steps = itertools.count(1)

    def step(name, *, before):
        next(writer)
        if next(steps) % pace == 0:
            next(readers)

    def run(action):
        nonlocal readers
        readers = itertools.chain.from_iterable(world.slow_reader() for _ in itertools.count())
        action(world.switcher(step, CHANGES | READS, wait=lambda _: next(writer)))
        for _ in range(3):  # within the grace period the last query ends, too
            next(readers)

    for _ in range(2):
        run(world.compact)
        run(world.settle)
    assert next(steps) > 200


def test_within_the_grace_period_a_partition_is_left_alone(orders):
    world = World(orders)
    world.compact(world.switcher())
    before = world.catalog.folder(FOLDER)
    list(world.write())
    outcome = world.compact(world.switcher())
    assert (outcome.switched, outcome.settled, outcome.waiting) == (0, 0, 2)
    assert world.catalog.folder(FOLDER) == before
    world.check()


def beside_a_writer(world):
    """Counts steps; at each a writer goes on by one of its own, and readers look before and after."""
    steps = [0]
    writer = itertools.chain.from_iterable(world.write() for _ in itertools.count())

    def step(name, *, before):
        steps[0] += 1
        world.check()
        next(writer)
        world.check()

    return steps, step, lambda _: step("wait", before=True)


def test_at_every_step_a_reader_sees_every_published_row_once_while_a_writer_goes_on(orders):
    world = World(orders)
    steps, step, wait = beside_a_writer(world)
    world.compact(world.switcher(step, CHANGES | READS, wait=wait))
    world.settle(world.switcher(step, CHANGES | READS, wait=wait))
    world.check()
    assert steps[0] > 100
    assert world.catalog.places == {FOLDER: FOLDER, OTHER: OTHER}
    assert not Switches(world.book).open()


@pytest.mark.parametrize("begun", range(4))
def test_a_batch_may_begin_and_end_at_any_two_steps(orders, begun):
    """One batch, each of its own steps at each step of the compaction: `begun` of them are done before it."""
    total = [0]
    world = World(orders)

    def count(name, *, before):
        total[0] += 1

    world.compact(world.switcher(count, CHANGES | READS))
    for at in range(total[0]):
        world = World(orders)
        batch = world.write()
        for _ in range(begun):
            next(batch, None)
        left = [at]

        def step(name, *, before, world=world, batch=batch, left=left):
            left[0] -= 1
            if left[0] < 0:
                next(batch, None)
            world.check()

        world.compact(world.switcher(step, CHANGES | READS, wait=lambda _, batch=batch: next(batch, None)))
        list(batch)
        world.check()
        world.settle(world.switcher(step, CHANGES | READS))
        world.check()
        assert set(positions(world.lake)) == world.published, at


@pytest.mark.parametrize("before", [False, True])
def test_cut_off_at_every_change_readers_see_every_row_once_and_the_next_run_ends_it(orders, before):
    def run(at: int | None):
        world = World(orders)
        rows = canonical(world.lake)
        made = [0]

        def step(name, *, before):
            made[0] += before is cut_before
            if at is not None and made[0] > at:
                raise Cut
            world.check()

        cut_before = before
        with suppress(Cut):
            world.compact(world.switcher(step))
            world.settle(world.switcher(step))
        world.check()
        list(world.write())
        world.check()
        world.compact(world.switcher())
        world.check()
        world.settle(world.switcher())
        world.settle(world.switcher())
        world.check()
        assert set(rows) <= set(canonical(world.lake))
        assert len(positions(world.lake)) == len(set(positions(world.lake))) == len(world.published)
        assert world.catalog.folder(FOLDER) == FOLDER
        assert not Switches(world.book).open()
        return made[0]

    total = run(None)
    assert total > 20
    for at in range(total):
        run(at)


def test_a_batch_that_is_never_published_keeps_the_partition_where_it_is(orders):
    world = World(orders)
    batch = world.write()
    next(batch)  # committed, and its process is gone
    outcome = world.compact(world.switcher())
    assert outcome.switched == 1  # the other day's
    assert any("committed and not published" in note for note in outcome.skipped)
    assert world.catalog.folder(FOLDER) == FOLDER
    assert [switch.folder for switch in Switches(world.book).open()] == [OTHER]
    world.check()


def test_a_move_that_was_given_up_by_half_and_then_made_is_not_for_vacuum(orders):
    def run(at: int) -> int:
        world, made = World(orders), [0]
        batch = world.write()
        next(batch)

        def step(name, *, before):
            made[0] += before
            if made[0] > at:
                raise Cut

        with suppress(Cut):
            world.compact(world.switcher(step))
        list(batch)
        world.compact(world.switcher())
        world.check()
        gone = {folder for _, folder in retired(world.book, float("inf"))}
        assert gone.isdisjoint(world.catalog.places.values()), at
        return made[0]

    for at in range(run(10**6)):
        run(at)


def test_a_batch_that_is_taken_back_leaves_no_rows_where_readers_are_sent(orders):
    """Its first file is visible in doubt while the compaction looks; then recovery takes it back and writes it anew."""
    world = World(orders)
    rows = clean_rows(orders, 5000, 3, START + timedelta(seconds=1))
    made = []

    def step(name, *, before):
        if Switches(world.book).open() and not made:
            file = write(world.lake, orders, "clean", rows, publish=False)
            made.append(file.staged.key)
            world.doubtful.add(file.staged.key)
            world.lake.publish(file.staged)

    world.compact(world.switcher(step))
    world.lake.delete(made)
    world.doubtful.clear()
    again = write(world.lake, orders, "clean", rows)
    Switches(world.book).mirror(world.lake, [again.staged.key])
    world.published |= {"s:5000", "s:5001", "s:5002"}
    world.check()


def test_a_partition_that_the_catalog_has_elsewhere_is_left_alone(orders):
    world = World(orders)
    world.catalog.switch(FOLDER, "somewhere/else")
    outcome = world.compact(world.switcher())
    assert any("elsewhere" in note for note in outcome.skipped)
    assert world.catalog.folder(FOLDER) == "somewhere/else"


def rewrite_each(world):
    """What `backfill --rescue` does without this catalog in its configuration: one file for one, no notes asked."""
    made = compactor(world.lake, world.book, world.orders)
    since = made.book.since()
    for info in list(world.lake.list("clean")):
        group = Group("/".join(info.key.split("/")[:3]), (File(info.key, info.size, 0.0),))
        rewritten = rewritten_alone(made, group)
        with suppress(AlreadyReplacedError):
            made.book.commit(rewritten, since)


def rewritten_alone(made, group):
    merge = _Merge(made, group, Outcome(dry_run=False))
    writer = TableFiles(made.lake, made._sink(group), group.table, merge.schema)
    outputs = merge.write(group.files, writer)
    return Compaction.of(made.new_token(), group.folder, merge.inputs, outputs, merge.proof)


def without_the_catalog(world):
    compact(compactor(world.lake, world.book, world.orders))


def with_the_catalog(world):
    world.compact(world.switcher())


def with_the_catalog_and_back(world):
    world.compact(world.switcher())
    world.settle(world.switcher())


def rescue_with_the_catalog(world):
    switcher = world.switcher()
    rescue(switcher.compactor, world.book, switcher)


def unlike_steps(orders) -> int:
    total = [0]

    def count(name, *, before):
        total[0] += before

    world = World(orders)
    world.compact(world.switcher(count, CHANGES | READS))
    world.settle(world.switcher(count, CHANGES | READS))
    return total[0]


@pytest.mark.parametrize(
    "rival", [rewrite_each, rescue_with_the_catalog, without_the_catalog, with_the_catalog, with_the_catalog_and_back]
)
def test_whoever_replaces_files_between_any_two_steps_doubles_no_row_of_a_switched_partition(orders, rival):
    """Another one acts whole before one step; from its end on each reader sees each row once, also within the grace period."""
    for at in range(1, unlike_steps(orders) + 1):
        world = World(orders)
        made = [0]

        def step(name, *, before, world=world, made=made, at=at):
            made[0] += before
            if before and made[0] == at:
                rival(world)
            if made[0] >= at:
                world.check()

        world.compact(world.switcher(step, CHANGES | READS))
        world.check()
        world.settle(world.switcher(step, CHANGES | READS))
        world.settle(world.switcher())
        world.check()
        assert len(positions(world.lake)) == len(set(positions(world.lake))) == len(world.published), at
        assert not Switches(world.book).open()


def test_readers_of_a_catalog_see_each_row_once_at_every_step_of_a_rescue(orders):
    world = World(orders)
    steps, step, wait = beside_a_writer(world)
    switcher = world.switcher(step, CHANGES | READS, wait=wait)
    outcome = rescue(switcher.compactor, world.book, switcher)
    assert (outcome.switched, outcome.skipped) == (2, [])
    assert outcome.files >= 6
    assert not any("tip" in rows.column_names for rows in tables(world.lake).values())  # the own folder is as it was
    world.settle(world.switcher(step, CHANGES | READS))
    world.check()
    assert steps[0] > 100
    assert world.catalog.places == {FOLDER: FOLDER, OTHER: OTHER}
    tips = [
        tip for rows in tables(world.lake).values() if "tip" in rows.column_names for tip in rows["tip"].to_pylist()
    ]
    assert set(tips) >= {"1", "3", "5", "7", "9", "11", "101", "103", "105"}


@pytest.mark.parametrize("before", [False, True])
def test_a_rescue_cut_off_at_every_change_is_ended_by_the_next_commands(orders, before):
    def run(at: int | None):
        world, made = World(orders), [0]

        def step(name, *, before):
            made[0] += before is cut_before
            if at is not None and made[0] > at:
                raise Cut
            world.check()

        cut_before = before
        with suppress(Cut):
            switcher = world.switcher(step)
            rescue(switcher.compactor, world.book, switcher)
            world.settle(world.switcher(step))
        list(world.write())
        world.check()
        for _ in range(2):
            world.settle(world.switcher())
            switcher = world.switcher()
            rescue(switcher.compactor, world.book, switcher)
            world.check()
        world.settle(world.switcher())
        world.check()
        assert len(positions(world.lake)) == len(set(positions(world.lake))) == len(world.published)
        assert not Switches(world.book).open()
        left = [row for rows in tables(world.lake).values() for row in rows["rescued_data"].to_pylist()]
        assert set(left) == {None}
        return made[0]

    for at in range(run(None)):
        run(at)
