from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from streaming_app.journal.read_log import ReadLog, UnitRead
from tests.memory_storage import MemoryStorage


@pytest.fixture
def storage():
    return MemoryStorage()


def read(unit="shard-0", rows=10, **detail):
    return UnitRead(unit, rows, rows * 100, detail)


def keys(storage, folder):
    return [item.key for item in storage.list(folder)]


def test_the_first_record_of_a_unit_stays(storage):
    log = ReadLog(storage)
    assert log.unit(1, "shard-0") is None
    assert log.put_if_absent(1, read(end="5"))
    assert not log.put_if_absent(1, read(end="9"))
    assert ReadLog(storage).unit(1, "shard-0") == read(end="5")
    assert log.unit(2, "shard-0") is None


def test_of_many_tasks_one_record_wins(storage):
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda end: ReadLog(storage).put_if_absent(1, read(end=end)), range(8)))
    assert won.count(True) == 1
    assert ReadLog(storage).unit(1, "shard-0") == read(end=won.index(True))


def test_the_first_plan_of_an_epoch_is_everybodys(storage):
    assert ReadLog(storage).put_plan_if_absent(1, {"files": ["a"]}) == {"files": ["a"]}
    assert ReadLog(storage).put_plan_if_absent(1, {"files": ["b"]}) == {"files": ["a"]}
    assert ReadLog(storage).plan(1) == {"files": ["a"]}
    assert ReadLog(storage).plan(2) is None
    assert ReadLog(storage).put_plan_if_absent(3, {}) == {}
    assert ReadLog(storage).put_plan_if_absent(3, {"files": ["b"]}) == {}


def test_an_epoch_is_the_same_before_and_after_it_is_sealed(storage):
    log = ReadLog(storage)
    log.put_plan_if_absent(1, {"files": ["a"]})
    reads = {unit: read(unit, rows=rows) for rows, unit in enumerate(["b", "a", "bad\udc80name", "ü"])}
    for one in reads.values():
        log.put_if_absent(1, one)
    assert log.units(1) == reads
    assert log.live_epochs() == [1]
    log.seal(1)
    assert keys(storage, "read_log/live") == []
    assert log.live_epochs() == []
    assert ReadLog(storage).units(1) == reads
    assert ReadLog(storage).plan(1) == {"files": ["a"]}
    assert ReadLog(storage).unit(1, "ü") == reads["ü"]
    assert dict(log.sealed()) == {1: reads}


def test_sealing_again_changes_nothing(storage):
    log = ReadLog(storage)
    log.put_if_absent(1, read())
    for _ in range(3):
        log.seal(1)
    assert dict(log.sealed()) == {1: {"shard-0": read()}}


def test_an_epoch_that_read_nothing_is_sealed_too(storage):
    log = ReadLog(storage)
    log.put_plan_if_absent(1, {"files": []})
    log.seal(1)
    log.seal(2)
    assert dict(log.sealed()) == {1: {}, 2: {}}
    assert log.plan(1) == {"files": []}


def test_sealing_takes_along_earlier_epochs_whose_commit_was_never_told(storage):
    log = ReadLog(storage)
    for epoch in (1, 2, 3, 4):
        log.put_if_absent(epoch, read(rows=epoch))
    log.seal(3)
    assert [epoch for epoch, _ in log.sealed()] == [1, 2, 3]
    assert log.live_epochs() == [4]


def test_a_late_task_or_plan_does_not_change_a_sealed_epoch(storage):
    log = ReadLog(storage)
    log.put_plan_if_absent(1, {"files": ["a"]})
    log.put_if_absent(1, read("shard-0"))
    log.put_if_absent(1, read("shard-1"))
    log.seal(1)
    ReadLog(storage).put_if_absent(1, read("shard-0", rows=99))
    assert ReadLog(storage).put_plan_if_absent(1, {"files": ["other"]}) == {"files": ["a"]}
    expected = {"shard-0": read("shard-0"), "shard-1": read("shard-1")}
    assert ReadLog(storage).units(1) == expected
    assert log.live_epochs() == []
    log.seal(2)
    assert dict(log.sealed()) == {1: expected, 2: {}}
    assert keys(storage, "read_log/live") == []


def test_a_thousand_epochs_leave_short_folders_and_all_their_reads(storage):
    for epoch in range(1000):
        log = ReadLog(storage)
        log.put_plan_if_absent(epoch, {"epoch": epoch})
        log.put_if_absent(epoch, read(rows=epoch))
        log.seal(epoch)
    assert len(keys(storage, "read_log")) < 120
    assert [(epoch, units["shard-0"].rows) for epoch, units in log.sealed()] == [(n, n) for n in range(1000)]
    assert ReadLog(storage).plan(7) == {"epoch": 7}
