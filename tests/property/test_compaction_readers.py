"""A reader who lists the lake while it is compacted sees each row once, by the book, whenever his listing begins and ends."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass, field
from itertools import combinations_with_replacement

import pyarrow.parquet as pq
import pytest

from batch_app.compaction.book import CompactionBook
from batch_app.compaction.seen_once import OvertakenError, left_out
from tests.compaction_lake import compact, compactor, write_files
from tests.memory_storage import CutOffStorage, MemoryStorage

CHANGES = 10**6


@dataclass
class Course:
    """Everything that lake and book held, after each change of either."""

    lake: MemoryStorage = field(default_factory=MemoryStorage)
    book: MemoryStorage = field(default_factory=MemoryStorage)
    moments: list[tuple[MemoryStorage, MemoryStorage]] = field(default_factory=list)
    contents: dict[str, list[str]] = field(default_factory=dict)

    def note(self) -> None:
        for key, (data, _) in self.lake._objects.items():
            if key not in self.contents:
                self.contents[key] = pq.ParquetFile(io.BytesIO(data)).read()["source_position"].to_pylist()
        self.moments.append((_copy(self.lake), _copy(self.book)))

    def watched(self, inner: MemoryStorage) -> CutOffStorage:
        course = self

        class Watched(CutOffStorage):
            def _change(self, do):
                done = do()
                course.note()
                return done

        return Watched(inner, CHANGES)

    def compact(self, orders) -> None:
        compact(compactor(self.watched(self.lake), self.watched(self.book), orders))

    def write(self, orders, begin: int) -> None:
        write_files(self.lake, orders, 1, begin=begin)
        self.note()


def _copy(storage: MemoryStorage) -> MemoryStorage:
    made = MemoryStorage()
    made._objects = dict(storage._objects)
    return made


@pytest.fixture(scope="module")
def plain(orders) -> Course:
    """Two compactions, the second of the first one's output, too, with files of the stream in between."""
    course = Course()
    write_files(course.lake, orders, 3)
    write_files(course.lake, orders, 2, begin=100, day="order_date=2026-03-02")
    course.note()
    course.compact(orders)
    course.write(orders, 1000)
    course.compact(orders)
    course.write(orders, 2000)
    return course


@pytest.fixture(scope="module")
def taken_back(orders) -> Course:
    """An output that does not hold what it should is visible until that is found; then all is compacted anew."""
    course = Course()
    write_files(course.lake, orders, 3)
    course.note()
    wrong = next(iter(course.lake._objects.values()))[0]
    publish = course.lake.publish

    def damaged(staged):
        done = publish(staged)
        course.lake.put(staged.key, wrong)
        return done

    course.lake.publish = damaged
    course.compact(orders)
    assert any(not stands for _, stands in CompactionBook(course.book, course.lake).history())
    course.lake.publish = publish
    course.compact(orders)
    assert len(list(course.lake.list("clean"))) == 1
    return course


@pytest.mark.parametrize("name", ["plain", "taken_back"])
@pytest.mark.parametrize("backwards", [False, True])
def test_each_row_is_seen_once_however_long_the_listing_takes(request, name, backwards):
    course = request.getfixturevalue(name)
    overtaken = seen_twice_by_others = 0
    for first, last in combinations_with_replacement(range(len(course.moments)), 2):
        (before, old), (after, new) = course.moments[first], course.moments[last]
        history = list(CompactionBook(new, after).history(CompactionBook(old, before).finished_through() + 1))
        keys = sorted({*before._objects, *after._objects}, reverse=backwards)
        least, most = rows_of(course, before, old), rows_of(course, after, new)
        for turn in range(len(keys) + 1):
            listed = {key for key in keys[:turn] if before.info(key)} | {key for key in keys[turn:] if after.info(key)}
            try:
                kept = listed - left_out(history, listed)
            except OvertakenError:
                overtaken += 1
                assert first != last  # a listing of one moment is always of use
                continue
            rows = Counter(position for key in kept for position in course.contents[key])
            assert max(rows.values()) == 1, (first, last, turn)
            assert least <= set(rows) <= most, (first, last, turn)
            seen_twice_by_others += len(rows) < sum(len(course.contents[key]) for key in listed)
    assert overtaken or backwards  # outputs sort before inputs, so that only who looks there first can miss both
    assert seen_twice_by_others


def rows_of(course: Course, lake: MemoryStorage, book: MemoryStorage) -> set[str]:
    """No row is ever missing from the lake, so whoever sees all files sees all rows."""
    return {position for key in lake._objects for position in course.contents[key]}
