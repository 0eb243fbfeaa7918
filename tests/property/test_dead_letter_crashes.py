"""Replay and discard are cut off at every storage call, and run at the same time: each dead letter is taken once at most."""

from __future__ import annotations

import shutil
import threading
import uuid
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from batch_app.dead_letters.book import Action, AlreadyTakenError, Book, ids_of
from batch_app.dead_letters.replay import Replayer
from batch_app.dead_letters.selection import Selection
from batch_app.dead_letters.table import DeadLetters
from batch_app.dead_letters.taking import discard
from streaming_app.schema import InputSource
from streaming_app.storage import open_storage
from tests.dead_lake import DeadLake, NoAtlantis, dead_lake
from tests.memory_storage import Cut, CutOffStorage, MemoryStorage

ROWS = Selection(stages=("rule", "cast"))
PASSING = 5  # of the six rows of those stages; the one from Atlantis fails again


class Budget:
    """Changes that a process may make before it dies, in all its storages together."""

    def __init__(self, changes: int | None, *, lost_answer: bool = False) -> None:
        self.changes, self.lost, self.made = changes, lost_answer, 0


class Mortal(CutOffStorage):
    def __init__(self, inner, budget: Budget) -> None:
        super().__init__(inner, 0)
        self._budget = budget

    def _change(self, do):
        self._budget.made += 1
        if self._budget.changes is None or self._budget.made <= self._budget.changes:
            return do()
        if self._budget.lost and self._budget.made == self._budget.changes + 1:
            do()
        raise Cut


def replayer(lake: DeadLake, budget: Budget | None = None, meanwhile=lambda: None, chunk: int = 2) -> Replayer:
    budget = budget or Budget(None)
    storage = Mortal(lake.lake(), budget)
    book = Book(Mortal(open_storage(f"{lake.root}/checkpoints/dead_letters"), budget), storage).read()
    options = {InputSource.STREAM: lake.options("kinesis"), InputSource.BATCH: lake.options("csv")}
    return Replayer(
        DeadLetters(storage, book.taken), book, storage, NoAtlantis(lake.dataset, meanwhile), options, chunk=chunk
    )


def clean_positions(lake: DeadLake) -> Counter[str]:
    files = Path(lake.root, "clean").rglob("part-replay-*.parquet")
    return Counter(
        position for file in files for position in pq.ParquetFile(file).read()["source_position"].to_pylist()
    )


@pytest.fixture(scope="module")
def template(tmp_path_factory, orders) -> DeadLake:
    return dead_lake(str(tmp_path_factory.mktemp("template") / "lake"), orders)


def copy_of(template: DeadLake, folder: Path) -> DeadLake:
    shutil.copytree(template.root, folder / "lake")
    return DeadLake(str(folder / "lake"), template.dataset)


def test_what_passes_is_published_under_its_own_source_and_what_fails_stays(template, tmp_path):
    lake = copy_of(template, tmp_path)
    outcome = replayer(lake).run(ROWS)
    assert (outcome.selected, outcome.passed, outcome.failed) == (6, PASSING, 1)
    assert set(clean_positions(lake).values()) == {1}
    folders = {file.parts[-3] for file in Path(lake.root, "clean").rglob("part-replay-*.parquet")}
    assert folders == {"input_source=stream", "input_source=batch"}
    assert replayer(lake).run(ROWS).selected == 1


def test_dry_run_changes_nothing(template, tmp_path):
    lake = copy_of(template, tmp_path)
    before = sorted(Path(lake.root).rglob("*"))
    outcome = replayer(lake, Budget(0)).run(ROWS, dry_run=True)
    assert (outcome.passed, outcome.failed, outcome.still) == (PASSING, 1, {"city.in_set": 1})
    assert sorted(Path(lake.root).rglob("*")) == before


@pytest.mark.parametrize("lost_answer", [False, True])
def test_replay_that_is_killed_at_any_change_publishes_each_row_once(template, tmp_path, lost_answer):
    whole = Budget(None)
    replayer(copy_of(template, tmp_path / "whole"), whole).run(ROWS)
    assert whole.made > 15
    for changes in range(whole.made):
        lake = copy_of(template, tmp_path / str(changes))
        with pytest.raises(Cut):
            replayer(lake, Budget(changes, lost_answer=lost_answer)).run(ROWS)
        seen = clean_positions(lake)
        assert set(seen.values()) <= {1}, changes
        replayer(lake).run(ROWS)
        found = clean_positions(lake)
        assert (len(found), set(found.values())) == (PASSING, {1}), changes
        assert not seen - found, changes
        book = replayer(lake).book
        assert (len(book.taken), len(book.taken.twice()), book.unfinished()) == (PASSING, 0, []), changes
        shutil.rmtree(lake.root)


@pytest.mark.parametrize("lost_answer", [False, True])
def test_discard_that_is_killed_at_any_change_takes_each_row_once(template, tmp_path, lost_answer):
    whole = Budget(None)
    other = replayer(copy_of(template, tmp_path / "whole"), whole)
    discard(other.letters, other.book, ROWS, "test", chunk=2)
    for changes in range(whole.made):
        lake = copy_of(template, tmp_path / str(changes))
        cut = replayer(lake, Budget(changes, lost_answer=lost_answer))
        with pytest.raises(Cut):
            discard(cut.letters, cut.book, ROWS, "test", chunk=2)
        again = replayer(lake)
        discard(again.letters, again.book, ROWS, "test", chunk=2)
        assert (len(again.book.taken), len(again.book.taken.twice())) == (6, 0), changes


def test_two_replays_at_once_publish_each_row_once(template, tmp_path):
    lake = copy_of(template, tmp_path)
    both = threading.Barrier(2)
    outcomes, errors = [], []

    def work() -> None:
        once = iter([20])
        try:  # one chunk for all: both have selected the same rows before one of them commits
            outcomes.append(replayer(lake, meanwhile=lambda: [both.wait(wait) for wait in once], chunk=100).run(ROWS))
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    found = clean_positions(lake)
    assert (len(found), set(found.values())) == (PASSING, {1})
    assert sum(outcome.passed for outcome in outcomes) == PASSING
    assert sum(outcome.taken for outcome in outcomes) >= 1


def test_other_rows_of_a_chunk_are_replayed_when_some_were_taken_meanwhile(template, tmp_path):
    lake = copy_of(template, tmp_path)

    def others() -> None:
        faster = replayer(lake)
        discard(faster.letters, faster.book, Selection(reasons=("old.rule",)), "faster")

    outcome = replayer(lake, meanwhile=others, chunk=100).run(ROWS)
    assert (outcome.passed, outcome.taken) == (PASSING - 2, 2)
    assert len(clean_positions(lake)) == PASSING - 2
    assert not list(Path(lake.root, "_staging").rglob("*.staged"))


def test_action_whose_staged_files_are_gone_is_released_and_replayed_anew(template, tmp_path):
    whole = Budget(None)
    replayer(copy_of(template, tmp_path / "whole"), whole, chunk=100).run(ROWS)
    tried = 0
    for changes in range(whole.made):
        lake = copy_of(template, tmp_path / str(changes))
        with pytest.raises(Cut):
            replayer(lake, Budget(changes), chunk=100).run(ROWS)
        lost = list(Path(lake.root, "_staging").rglob("*.staged"))
        for file in lost:  # a lifecycle rule
            file.unlink()
        tried += bool(lost)
        replayer(lake).run(ROWS)
        found = clean_positions(lake)
        assert (len(found), set(found.values())) == (PASSING, {1}), changes
    assert tried > 2


def test_staged_files_of_a_run_that_died_long_ago_are_removed_and_those_of_a_living_one_are_not(template, tmp_path):
    import os

    lake = copy_of(template, tmp_path)
    with pytest.raises(Cut):
        replayer(lake, Budget(2)).run(ROWS)  # after its mark and its ids
    assert len(list(Path(lake.root, "_staging").rglob("*.staged"))) == 1
    replayer(lake).run(Selection(reasons=("amount.cast",)))
    assert len(list(Path(lake.root, "_staging").rglob("*.staged"))) == 1
    for mark in Path(lake.root, "checkpoints/dead_letters/runs").iterdir():
        os.utime(mark, (0, 0))
    replayer(lake).run(ROWS)
    assert not list(Path(lake.root, "_staging").rglob("*.staged"))


def action(kind: str = "discard") -> Action:
    return Action(kind, uuid.uuid4().hex, 0.0)


def test_many_writers_of_one_book_take_each_id_once():
    storage = MemoryStorage()
    ids = [uuid.uuid4().hex for _ in range(40)]
    won: Counter[str] = Counter()
    lock = threading.Lock()

    def work(number: int) -> None:
        book = Book(storage, MemoryStorage())
        for at in range(number % 3, len(ids) - 2, 2):
            mine = ids_of(ids[at : at + 3])
            try:
                book.commit(action(), mine)
            except AlreadyTakenError:
                continue
            else:
                with lock:
                    won.update(text.decode() for text in mine.tolist())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(won.values()) == {1}
    taken = Book(storage, MemoryStorage()).read().taken
    assert {text.decode() for text in taken.all().tolist()} == set(won)
    assert not len(taken.twice())


def test_book_of_many_actions_is_folded_and_read_back():
    storage = MemoryStorage()
    book = Book(storage, MemoryStorage())
    ids = [uuid.uuid4().hex for _ in range(250)]
    for one in ids:
        book.commit(action(), ids_of([one]))
    assert sum("/open/" in info.key for info in storage.list("actions")) < 120
    again = Book(storage, MemoryStorage()).read()
    assert (again.last, len(again.taken)) == (249, 250)
    assert again.taken.numbers(ids_of([ids[7], "0" * 32])).tolist() == [7, -1]
