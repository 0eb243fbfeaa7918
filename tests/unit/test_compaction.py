"""What compaction writes and what it leaves alone: order, types, settings, sizes, memory, listings."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_app.compaction.merging import SortedRows
from batch_app.compaction.plan import Listed, Wanted, find
from tests.compaction_lake import (
    START,
    canonical,
    clean_rows,
    compact,
    compactor,
    dead_rows,
    options,
    tables,
    write,
    write_files,
)
from tests.memory_storage import MemoryStorage

SCHEMA = pa.schema([("at", pa.timestamp("us", tz="UTC")), ("number", pa.int64())])


def rows_of(times) -> pa.Table:
    values = [None if time is None else START + timedelta(seconds=time) for time in times]
    return pa.table([pa.array(values, SCHEMA.field("at").type), pa.array(range(len(times)), pa.int64())], schema=SCHEMA)


@settings(max_examples=200, deadline=None)
@given(
    parts=st.lists(st.lists(st.none() | st.integers(-5, 5), max_size=12), max_size=8),
    budget=st.sampled_from([1, 100, 1 << 20]),
)
def test_rows_come_in_order_of_time_and_none_is_lost_or_doubled_however_often_they_are_spilled(parts, budget):
    with SortedRows("at", SCHEMA, budget) as rows:
        for part in parts:
            rows.add(rows_of(part))
        found = pa.Table.from_batches(list(rows.batches()), SCHEMA)
    times = found["at"].to_pylist()
    known = [time for time in times if time is not None]
    assert times == sorted(known) + [None] * (len(times) - len(known))
    expected = [row for part in parts for row in rows_of(part).to_pylist()]
    assert sorted(map(str, found.to_pylist())) == sorted(map(str, expected))


def test_equal_times_of_one_table_stay_in_their_order():
    with SortedRows("at", SCHEMA, 100) as rows:
        for first in range(0, 40, 10):
            part = rows_of([1] * 10)
            rows.add(part.set_column(1, "number", pa.array(range(first, first + 10))))
        found = pa.Table.from_batches(list(rows.batches()), SCHEMA)
    for first in range(0, 40, 10):
        assert [number for number in found["number"].to_pylist() if number // 10 == first // 10] == list(
            range(first, first + 10)
        )


def test_what_does_not_fit_the_budget_is_read_back_a_piece_at_a_time():
    generator = np.random.default_rng(7)
    with SortedRows("at", SCHEMA, 1 << 20) as rows:
        for _ in range(10):
            rows.add(rows_of(generator.integers(0, 10**6, 50_000).tolist()))
        largest = max(batch.nbytes for batch in rows.batches())
    assert largest < 1 << 20


@pytest.fixture
def lake(orders):
    storage = MemoryStorage()
    write_files(storage, orders, 6, rows=40)
    for number in range(4):
        write(storage, orders, "dead_letter", dead_rows(number * 5, 5, START + timedelta(seconds=9 - number)), day=DEAD)
    return storage


DEAD = "dead_date=2026-03-01"


def test_the_new_file_is_sorted_by_time_and_holds_every_value_of_every_row(lake, orders):
    rows = canonical(lake)
    compact(compactor(lake, MemoryStorage(), orders))
    assert canonical(lake) == rows
    clean, dead = tables(lake).values()
    assert clean["order_ts"].to_pylist() == sorted(clean["order_ts"].to_pylist())
    assert dead["arrived_at"].to_pylist() == sorted(dead["arrived_at"].to_pylist())


def test_the_new_file_has_the_sinks_own_schema_compression_and_encodings(lake, orders):
    def settings_of(data: bytes) -> tuple:
        file = pq.ParquetFile(io.BytesIO(data))
        group = file.metadata.row_group(0)
        columns = [group.column(index) for index in range(group.num_columns)]
        described = [(one.compression, one.physical_type, one.is_stats_set, one.has_dictionary_page) for one in columns]
        return file.schema_arrow, str(file.schema).partition("\n")[2], described, file.metadata.format_version

    before = {info.key.split("/")[0]: settings_of(lake.get(info.key)) for info in lake.list("")}
    compact(compactor(lake, MemoryStorage(), orders))
    after = {info.key.split("/")[0]: settings_of(lake.get(info.key)) for info in lake.list("")}
    assert after == before


def test_files_end_at_the_target_size_and_full_ones_are_not_touched_again(orders):
    lake, book = MemoryStorage(), MemoryStorage()
    write_files(lake, orders, 20, rows=400)
    total = sum(info.size for info in lake.list("clean"))
    target = total // 3
    made = compactor(lake, book, orders, budget=1 << 16)
    object.__setattr__(made, "options", options(orders, target_file_bytes=target, row_group_bytes=1 << 15))
    compact(made, Wanted(target=target, min_files=2))
    sizes = {info.key: info.size for info in lake.list("clean")}
    assert 1 < len(sizes) < 8
    full = {key for key, size in sizes.items() if size >= target * 0.75}
    write_files(lake, orders, 3, begin=9000)
    compact(made, Wanted(target=target, min_files=2))
    assert full <= {info.key for info in lake.list("clean")}


def test_each_table_is_listed_once_however_many_partitions_there_are(orders):
    lake = MemoryStorage()
    for day in range(1, 29):
        write_files(lake, orders, 2, begin=day * 100, day=f"order_date=2026-03-{day:02d}")
    listings = []
    listing = lake.list
    lake.list = lambda prefix: listings.append(prefix) or listing(prefix)
    groups = find(lake, Wanted(min_files=2), Listed())
    assert len(groups) == 28
    assert listings == ["clean", "dead_letter"]


def skipped(lake, orders) -> str:
    before = {info.key for info in lake.list("")}
    outcome = compact(compactor(lake, MemoryStorage(), orders))
    (note,) = outcome.skipped
    assert note.split(": ")[0] in before & {info.key for info in lake.list("")}
    return note


def test_a_file_with_a_column_that_the_dataset_does_not_know_is_left_alone(lake, orders):
    rows = clean_rows(orders, 900, 3, START + timedelta(hours=1))
    wider = pa.RecordBatch.from_arrays([*rows.columns, pa.array([1, 2, 3])], [*rows.schema.names, "tip"])
    write(lake, orders, "clean", wider)
    assert "tip" in skipped(lake, orders)


def test_a_file_from_before_a_column_was_added_reads_as_null_there(lake, orders):
    rows = clean_rows(orders, 900, 3, START + timedelta(hours=1))
    write(lake, orders, "clean", rows.drop_columns(["payment_method", "quality_warnings"]))
    outcome = compact(compactor(lake, MemoryStorage(), orders))
    assert not outcome.skipped
    assert len(list(lake.list("clean"))) == 1
    assert outcome.rows == 6 * 40 + 4 * 5 + 3


def test_a_file_with_another_type_is_left_alone(lake, orders):
    rows = clean_rows(orders, 900, 3, START + timedelta(hours=1))
    place = rows.schema.get_field_index("quantity")
    write(lake, orders, "clean", rows.set_column(place, "quantity", rows.column(place).cast(pa.int64())))
    assert "quantity is int64" in skipped(lake, orders)


def test_a_file_whose_moment_is_another_owners_too_is_left_alone(lake, orders):
    rows = clean_rows(orders, 900, 3, START)  # the first file's own
    write(lake, orders, "clean", rows, owner="backfill_stream")
    assert "same microsecond" in skipped(lake, orders)


@pytest.mark.parametrize("owner", ["kinesis", "backfill_stream"])
def test_whose_a_moment_is_stays_known_when_its_file_was_compacted(orders, owner):
    lake, book = MemoryStorage(), MemoryStorage()
    write_files(lake, orders, 2)
    compact(compactor(lake, book, orders))
    write(lake, orders, "clean", clean_rows(orders, 900, 3, START), owner=owner)  # the first file's moment
    outcome = compact(compactor(lake, book, orders))
    assert any("same microsecond" in note for note in outcome.skipped) is (owner != "kinesis")
    assert len(list(lake.list("clean"))) == (1 if owner == "kinesis" else 2)


def test_outputs_with_rows_that_two_owners_wrote_at_one_moment_are_not_merged(orders):
    lake, book = MemoryStorage(), MemoryStorage()
    for begin, owner in ((0, "kinesis"), (100, "backfill_stream")):
        hidden = [(info.key, lake.get(info.key)) for info in lake.list("clean")]
        lake.delete([key for key, _ in hidden])
        for number in (begin, begin + 10):
            write(lake, orders, "clean", clean_rows(orders, number, 3, START), owner=owner)
        compact(compactor(lake, book, orders))
        for key, data in hidden:
            lake.put(key, data)
    assert len(list(lake.list("clean"))) == 2
    outcome = compact(compactor(lake, book, orders))
    assert any("same microsecond" in note for note in outcome.skipped)
    assert len(list(lake.list("clean"))) == 2


def test_a_damaged_file_is_left_alone(lake, orders):
    key = "clean/input_source=stream/order_date=2026-03-01/part-kinesis-0123456789abcdef0123456789abcdef.parquet"
    lake.put(key, b"PAR1 and nothing more")
    assert "no sound Parquet" in skipped(lake, orders)


def test_a_file_that_the_sink_did_not_name_is_left_alone(lake, orders):
    source = next(iter(lake.list("clean"))).key
    lake.copy(source, source.replace("part-kinesis", "export"))
    assert "its name" in skipped(lake, orders)


def test_hidden_files_and_other_folders_are_never_looked_at(lake, orders):
    folder = "clean/input_source=stream/order_date=2026-03-01"
    for key in (f"{folder}/_SUCCESS", f"{folder}/.part.parquet", f"{folder}/deep/er.parquet", "clean/x.parquet"):
        lake.put(key, b"not for us")
    outcome = compact(compactor(lake, MemoryStorage(), orders))
    assert not outcome.skipped
    assert lake.get(f"{folder}/deep/er.parquet") == b"not for us"


def test_few_files_are_left_until_there_are_enough(orders):
    lake = MemoryStorage()
    write_files(lake, orders, 3)
    assert find(lake, Wanted(min_files=4), Listed()) == []
    write_files(lake, orders, 1, begin=100)
    (group,) = find(lake, Wanted(min_files=4), Listed())
    assert [file.key for file in group.files] == sorted(
        (info.key for info in lake.list("clean")), key=lambda key: lake.info(key).modified
    )


def test_times_before_1970_and_microseconds_survive(orders):
    lake = MemoryStorage()
    write_files(lake, orders, 4, rows=11)
    compact(compactor(lake, MemoryStorage(), orders))
    (table,) = tables(lake).values()
    assert datetime(1969, 12, 31, tzinfo=UTC) in table["order_ts"].to_pylist()
    assert START + timedelta(microseconds=1) in table["order_ts"].to_pylist()
    assert table.schema.field("amount").type == pa.decimal128(10, 2)
