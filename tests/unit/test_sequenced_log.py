from __future__ import annotations

import gzip
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import pytest

from streaming_app.errors import SinkError
from streaming_app.journal.sequenced import SequencedLog
from streaming_app.storage import LocalStorage
from tests.memory_storage import MemoryStorage


@pytest.fixture
def storage():
    return MemoryStorage()


def log_of(storage, count, fold_every=4):
    log = SequencedLog(storage, "ledger", fold_every)
    for number in range(count):
        assert log.append_if_absent(number, {"n": number})
        log.fold(through=number - 1)
    return log


def keys(storage, folder):
    return [item.key for item in storage.list(folder)]


@pytest.mark.parametrize("count", [0, 1, 4, 5, 9, 500, 1000])
def test_every_entry_is_given_once_in_order(storage, count):
    log = log_of(storage, count)
    assert list(log.entries()) == [(number, {"n": number}) for number in range(count)]


@pytest.mark.parametrize("first", [0, 3, 4, 399, 400, 850, 899, 900])
def test_entries_can_begin_anywhere(storage, first):
    log = log_of(storage, 900)
    assert [number for number, _ in log.entries(first)] == list(range(first, 900))


@pytest.mark.parametrize("number", [0, 4, 399, 400, 898, 899])
def test_one_entry_is_found_open_folded_and_folded_twice(storage, number):
    log = log_of(storage, 900)
    assert log.get(number) == {"n": number}
    assert log.get(900) is None


def test_numbers_may_have_gaps(storage):
    log = SequencedLog(storage, "ledger", fold_every=3)
    numbers = [1, 5, 6, 20, 21, 22, 40]
    for number in numbers:
        log.append_if_absent(number, {"n": number})
        log.fold(through=number)
    assert [number for number, _ in log.entries()] == numbers
    assert log.get(2) is None
    assert log.open_numbers() == [40]


def test_an_entry_is_never_written_twice_not_even_after_it_was_folded(storage):
    log = log_of(storage, 900)
    for number in (0, 399, 850, 899):
        assert not log.append_if_absent(number, {"other": True})
        assert log.get(number) == {"n": number}
    assert [number for number, _ in log.entries()] == list(range(900))


def test_a_leftover_behind_a_fold_is_never_read_and_goes_with_the_next_fold(storage):
    log = log_of(storage, 10)
    key = f"ledger/open/{2:020d}.json"
    storage.put(key, b'{"other":true}')
    assert log.get(2) == {"n": 2}
    assert 2 not in log.open_numbers()
    assert list(log.entries())[2] == (2, {"n": 2})
    for number in range(10, 20):
        log.append_if_absent(number, {"n": number})
        log.fold(through=number)
    assert storage.get(key) is None


def test_a_number_that_the_folds_have_passed_over_is_refused(storage):
    log = SequencedLog(storage, "ledger", fold_every=2)
    for number in (0, 2):
        log.append_if_absent(number, {"n": number})
    log.fold(through=2)
    with pytest.raises(SinkError, match="number 1 but not that one"):
        log.append_if_absent(1, {"n": 1})
    assert [number for number, _ in log.entries()] == [0, 2]


def test_what_may_still_change_is_not_folded(storage):
    log = SequencedLog(storage, "ledger", fold_every=2)
    for number in range(6):
        log.append_if_absent(number, {"n": number})
    log.fold(through=3)
    assert log.folded_through() == 3
    assert log.open_numbers() == [4, 5]
    log.remove_open(4)
    assert log.append_if_absent(4, {"again": True})
    assert [entry for _, entry in log.entries(4)] == [{"again": True}, {"n": 5}]


def test_a_reader_misses_nothing_while_entries_are_folded_under_it(storage):
    log = log_of(storage, 450, fold_every=4)
    reader = log.entries()
    read = [next(reader)]
    for number in range(450, 900):  # folds and joins everything that the reader has listed but not read
        log.append_if_absent(number, {"n": number})
        log.fold(through=number)
    read += reader
    assert [number for number, _ in read][:450] == list(range(450))


def test_an_entry_that_is_folded_between_listing_and_reading_is_found(storage):
    class FoldsMeanwhile(MemoryStorage):
        def list(self, prefix):
            found = list(super().list(prefix))
            if prefix.endswith("/folded") and not self.folded:
                self.folded = True
                SequencedLog(self, "ledger", fold_every=4).fold(through=10)
            return iter(found)

    racing = FoldsMeanwhile()
    racing.folded = True
    log = SequencedLog(racing, "ledger", fold_every=100)
    for number in range(8):
        log.append_if_absent(number, {"n": number})
    racing.folded = False
    assert [number for number, _ in log.entries()] == list(range(8))
    assert keys(racing, "ledger/open") == []


def test_of_many_writers_one_wins(storage):
    logs = [SequencedLog(storage, "ledger", fold_every=5) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for number in range(50):
            won = list(pool.map(lambda who, number=number: logs[who].append_if_absent(number, {"who": who}), range(4)))
            assert won.count(True) == 1
            logs[0].fold(through=number)
            assert logs[1].get(number) == {"who": won.index(True)}


def test_any_text_survives(storage):
    document = {"path": "bad\udc80name", "city": "Jōgjakarta \u2028 \n", "nested": [{"n": None}]}
    log = SequencedLog(storage, "ledger", fold_every=1)
    log.append_if_absent(0, document)
    assert log.get(0) == document
    log.fold(through=0)
    assert log.get(0) == document


def test_damage_is_named(storage):
    log = log_of(storage, 10)
    storage.put(f"ledger/open/{9:020d}.json", b"{")
    with pytest.raises(SinkError, match=r"0009\.json is not JSON"):
        log.get(9)
    fold = keys(storage, "ledger/folded")[0]
    for damaged in (b"not gzip", gzip.compress(b"")[:-4]):
        storage.put(fold, damaged)
        with pytest.raises(SinkError, match="is damaged"):
            list(log.entries())


def test_foreign_files_in_its_folders_are_ignored(storage):
    storage.put("ledger/open/.DS_Store", b"")
    storage.put("ledger/folded/README", b"")
    log = log_of(storage, 10)
    assert [number for number, _ in log.entries()] == list(range(10))


def seconds_each(log, numbers):
    times = []
    for number in numbers:
        started = time.process_time()
        log.append_if_absent(number, {"n": number})
        log.fold(through=number - 1)
        assert log.get(number) == {"n": number}
        times.append(time.process_time() - started)
    return median(times)


def packed(first, count):
    return gzip.compress(b"".join(b'{"n":%d,"entry":{"n":%d}}\n' % (n, n) for n in range(first, first + count)), 1)


def after(count, storage):
    """A log as `count` appended entries leave it, made in memory and copied."""
    memory = MemoryStorage()
    for first in range(0, count, 100):
        memory.put(f"ledger/folded/{first:020d}-{first + 99:020d}.jsonl.gz", packed(first, 100))
        SequencedLog(memory, "ledger")._fold_folds()
    for key in keys(memory, ""):
        storage.put(key, memory.get(key))
    return SequencedLog(storage, "ledger")


def test_it_is_as_fast_after_100_000_entries_as_after_100(tmp_path):
    young = after(100, LocalStorage(str(tmp_path / "young")))
    old = after(100_000, storage := LocalStorage(str(tmp_path / "old")))
    early, late = seconds_each(young, range(100, 190)), seconds_each(old, range(100_000, 100_090))
    assert len(keys(storage, "ledger/folded")) <= 40
    assert late < early * 4, f"{late * 1e6:.0f} µs instead of {early * 1e6:.0f} µs"
    assert [number for number, _ in old.entries()] == list(range(100_090))


def test_a_wide_fold_between_small_ones_is_not_lost_when_they_are_joined(storage):
    log = SequencedLog(storage, "ledger", fold_every=1)
    numbers = [*range(8), *range(8, 80, 8), *range(80, 100)]
    for number in numbers:
        log.append_if_absent(number, {"n": number})
        if not 8 <= number < 80:  # a backlog that is folded at once spans many numbers
            log.fold(through=number)
    assert [number for number, _ in log.entries()] == numbers
