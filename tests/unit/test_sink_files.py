"""Files of the sink: ended at their target size, no more open at a time than configured, every row once."""

from __future__ import annotations

from datetime import date

import pyarrow as pa
import pytest

from streaming_app.sink.options import SinkOptions
from streaming_app.sink.parquet_files import TableFiles
from streaming_app.storage import open_storage

ROWS = pa.RecordBatch.from_pydict({"text": [f"row {number:06d}" for number in range(5_000)]})


def files(tmp_path, orders, **limits) -> TableFiles:
    lake = str(tmp_path)
    options = SinkOptions(lake, lake, "test", "test", "stream", orders.to_option(), "f", **limits)
    return TableFiles(open_storage(lake), options, "clean", ROWS.schema)


def test_file_is_ended_when_it_has_reached_its_target_size(tmp_path, orders):
    table = files(tmp_path, orders, row_group_bytes=1, target_file_bytes=20_000)
    for _ in range(6):
        table.add("order_date=2026-03-01", ROWS)
    done = table.finish()
    assert len(done) > 1
    assert sum(file.rows for file in done) == 6 * ROWS.num_rows
    assert all(file.staged.size >= 20_000 for file in done[:-1])


@pytest.mark.parametrize("limits", [{"max_open_files": 2}, {"buffer_bytes": 1}])
def test_many_partitions_are_written_within_the_limits(tmp_path, orders, limits):
    table = files(tmp_path, orders, **limits)
    for day in range(1, 8):
        table.add(f"order_date={date(2026, 3, day)}", ROWS)
        assert len(table._open) <= limits.get("max_open_files", 7)
    assert sum(file.rows for file in table.finish()) == 7 * ROWS.num_rows
