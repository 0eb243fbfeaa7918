"""A compaction of an Iceberg table, and what removes its files, are cut off at every change of storage and catalog there is.

The table is real, made by pyiceberg in a catalog of folders. Its readers see every row once at every moment, and so do those of the
snapshots that are kept.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch_app.compaction.book import CompactionBook
from batch_app.compaction.engine import Outcome
from batch_app.compaction.iceberg import IcebergSwap
from batch_app.compaction.plan import Listed, Wanted, find
from batch_app.compaction.run import Tools, open_tools
from batch_app.compaction.vacuum import Cleaning, vacuum_with
from streaming_app.journal.ledger import Counts, Entry, Ledger
from streaming_app.places import checkpoint_of, compactions_of
from streaming_app.sink.iceberg import Mark, by_table
from streaming_app.sink.iceberg_hadoop import HadoopCatalog
from streaming_app.storage import open_storage
from tests.audit_lake import LakeBuilder
from tests.compaction_lake import START, clean_rows, write
from tests.memory_storage import Changes

pytest.importorskip("pyiceberg")
DAY = "order_date=2026-03-02"


class Died(BaseException):
    """The process was killed here: nobody catches it."""


class Lake:
    """An Iceberg lake in a folder that can be put back to how it began; addresses in its metadata stay true.

    A tag names the table as it was with the first five of its seven files.
    """

    def __init__(self, folder, orders) -> None:
        self._folder, self._orders = folder, orders
        self._root, self._kept = folder / "lake", folder / "kept"
        builder = LakeBuilder(str(self._root), orders, iceberg={"type": "hadoop", "namespace": "qsr"})
        self.loaded, self.suite = builder.loaded(folder)
        self.add(5)
        table = self.table()
        table.manage_snapshots().create_tag(table.current_snapshot().snapshot_id, "kept").commit()
        self.add(2, begin=100, day=DAY)
        self.rows = self.read()
        shutil.copytree(self._root, self._kept)

    def again(self) -> Lake:
        shutil.rmtree(self._root)
        shutil.copytree(self._kept, self._root)
        return self

    def storage(self, place: str = ""):
        return open_storage(f"{self._root}/{place}" if place else str(self._root))

    def tools(self, shared: Changes | None = None) -> Tools:
        """What the commands work with, everything that changes something counted."""
        made = open_tools(self.loaded, self.suite, Wanted(min_files=2), 0.0)
        if shared is None:
            return made
        tables = made.tables
        tables._open()
        warehouse = self._root / "iceberg"
        tables._catalog = HadoopCatalog("qsr", warehouse.as_uri(), shared.of(open_storage(str(warehouse))))
        lake = shared.of(self.storage())
        book = CompactionBook(shared.of(open_storage(compactions_of(self.loaded.config))), lake, IcebergSwap(tables))
        worker = replace(made.compactor, lake=lake, book=book)
        return replace(made, lake=lake, book=book, compactor=worker)

    def compact(self, shared: Changes | None = None) -> Outcome:
        """What the command does."""
        tools, outcome = self.tools(shared), Outcome(dry_run=False)
        outcome.finished = tools.book.finish()
        since = tools.book.since()
        for group in find(tools.as_read, Wanted(min_files=2), Listed()):
            tools.compactor.run(group, since, outcome)
        return outcome

    def vacuum(self, shared: Changes | None = None) -> Cleaning:
        done = Cleaning(dry_run=False)
        vacuum_with(self.tools(shared), self.loaded.config, 0.0, done)
        return done

    def add(self, count: int, *, begin: int = 0, day: str = "order_date=2026-03-01") -> None:
        """What the stream writes: files of three rows, an entry of the ledger, and a commit of the table."""
        ledger = Ledger(open_storage(checkpoint_of(self.loaded.config, "kinesis")))
        batch = ledger.published_through() + 1
        firsts = range(begin, begin + 3 * count, 3)
        rows = [clean_rows(self._orders, first, 3, START + timedelta(microseconds=first)) for first in firsts]
        files = tuple(write(self.storage(), self._orders, "clean", each, day=day) for each in rows)
        counts = Counts(read=3 * count, clean=3 * count, dead=0)
        ledger.append_if_absent(Entry(batch, batch, "kinesis:orders", "f", f"t{batch}", counts, files, None, 0.0))
        self.tools().tables.commit(by_table(files, "stream"), Mark("c", batch, "kinesis:orders"))
        ledger.mark_published(batch)

    def table(self):
        return self.tools().tables._load("clean")

    def read(self, snapshot: int | None = None) -> list[str]:
        """Every row with every column, as readers of the table get them."""
        found = self.table().scan(snapshot_id=snapshot).to_arrow().to_pylist()
        return sorted(json.dumps(row, default=str) for row in found)

    def require_whole_snapshots(self) -> None:
        for snapshot in self.table().metadata.snapshots:
            assert len(self.read(snapshot.snapshot_id)) == int(snapshot.summary["total-records"])

    def current(self) -> set[str]:
        return self.tools().tables.current("clean")

    def named(self) -> set[str]:
        """Files of any snapshot."""
        return self.tools().tables.needed("clean").files

    def files(self) -> set[str]:
        return {info.key for info in self.storage().list("clean")}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, orders):
    return Lake(tmp_path_factory.mktemp("iceberg"), orders)


@pytest.fixture
def lake(prepared):
    return prepared.again()


def changes_of(work) -> int:
    shared = Changes(10**6, died=Died)
    work(shared)
    return 10**6 - shared.left


@pytest.mark.parametrize("lost_answer", [False, True])
def test_a_compaction_cut_off_anywhere_shows_every_row_once_and_is_finished_by_the_next(lake, lost_answer):
    total = changes_of(lake.compact)
    assert total >= 2 * 4  # two partitions: entry, output, version of the table, pointer
    for at in range(total):
        lake.again()
        with pytest.raises(Died):
            lake.compact(Changes(at, lost_answer=lost_answer, died=Died))
        assert lake.read() == lake.rows, at
        lake.compact()
        assert lake.read() == lake.rows, at
        assert len(lake.current()) == 2, at
        assert lake.compact().replaced_files == 0
        lake.require_whole_snapshots()


@pytest.mark.parametrize("lost_answer", [False, True])
def test_a_vacuum_cut_off_anywhere_leaves_every_snapshot_whole(lake, lost_answer):
    lake.compact()
    total = changes_of(lake.vacuum)
    assert total >= 3  # the replaced files that the tag does not name, and a version of the table
    assert lake.files() == lake.named() > lake.current()
    for at in range(total):
        lake.again().compact()
        with pytest.raises(Died):
            lake.vacuum(Changes(at, lost_answer=lost_answer, died=Died))
        lake.require_whole_snapshots()
        assert lake.read() == lake.rows, at
        lake.vacuum()
        assert lake.files() == lake.named(), at
        assert lake.read() == lake.rows, at


step = st.tuples(st.sampled_from(["compact", "vacuum"]), st.integers(0, 16), st.booleans(), st.booleans())


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(step, min_size=1, max_size=4))
def test_crashes_on_crashes_with_late_files_and_lost_uploads_in_between(prepared, steps):
    lake = prepared.again()
    for number, (what, at, lost_answer, lose) in enumerate(steps):
        with suppress(Died):
            getattr(lake, what)(Changes(at, lost_answer=lost_answer, died=Died))
        lake.add(1, begin=1000 + 10 * number)  # the stream goes on
        if lose:  # a lifecycle rule aborts what is staged
            shutil.rmtree(lake._root / "_staging", ignore_errors=True)
        assert Counter(lake.rows) - Counter(lake.read()) == Counter()
        lake.require_whole_snapshots()
    lake.compact()
    lake.vacuum()
    expected = {f"s:{number}" for number in [*range(15), *range(100, 106)]}
    expected |= {f"s:{1000 + 10 * number + row}" for number in range(len(steps)) for row in range(3)}
    assert Counter(json.loads(row)["source_position"] for row in lake.read()) == Counter(expected)
    assert lake.files() == lake.named()


def test_outputs_that_somebody_damages_after_the_commit_are_taken_out_of_the_table_again(lake):
    shared = Changes(changes_of(lake.compact) - 1, died=Died)  # all but the last pointer
    lake.again()
    with pytest.raises(Died):
        lake.compact(shared)
    (output,) = [key for key in lake.current() if "part-compact-" in key and DAY in key]
    data = bytearray(lake.storage().get(output))
    data[20:60] = bytes(40)
    lake.storage().put(output, bytes(data))
    assert lake.tools().book.finish()
    assert lake.read() == lake.rows
    lake.compact()
    assert lake.read() == lake.rows
    assert len(lake.current()) == 2


def test_a_slow_finisher_leaves_what_was_carried_out_and_replaced_again(lake):
    with pytest.raises(Died):
        lake.compact(Changes(1, died=Died))  # right after the entry
    slow = lake.tools()
    entries = slow.book.unfinished()
    assert entries
    lake.compact()
    lake.add(1, begin=500)
    lake.compact()
    rows = lake.read()
    for entry in entries:
        slow.book._carry_out(entry)
    assert lake.read() == rows
    assert len(lake.current()) == 2
