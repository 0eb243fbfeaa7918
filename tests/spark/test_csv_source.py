"""The CSV source in real Structured Streaming: batches, restarts, failed tasks, and what Spark calls when."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from streaming_app.config.models import CsvConfig
from streaming_app.sources.csv_files import CsvFilesDataSource, csv_options
from streaming_app.storage import StorageOptions

pytestmark = pytest.mark.spark
HEADER = "order_id,store_id,city,amount,order_ts\n"
OLD = 1_000_000_000


def put(folder: Path, name: str, rows: range) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(HEADER + "".join(f'{row},s,"Medan, ""M""",1.5,t\n' for row in rows) + "broken\n")
    os.utime(path, (OLD, OLD))


@pytest.fixture
def start(spark, orders, tmp_path):
    """Starts the query; rows go to Parquet once for each batch id, so a repeated batch replaces itself."""
    spark.dataSource.register(CsvFilesDataSource)
    queries = []

    def begin(on_batch=None, **config):
        checkpoint = str(tmp_path / "checkpoint")
        options = csv_options(
            CsvConfig(max_files_per_batch=2, **config),
            orders,
            str(tmp_path / "raw"),
            str(tmp_path / "archive"),
            checkpoint,
            StorageOptions(),
            parallelism=2,
        )

        def write(batch, number):
            batch.write.mode("overwrite").parquet(str(tmp_path / "out" / f"batch={number}"))
            if on_batch:
                on_batch(number)

        frame = spark.readStream.format("csv-files").options(**options).load()
        assert frame.schema.simpleString() == spark.createDataFrame([], orders.decoded_ddl()).schema.simpleString()
        query = frame.writeStream.foreachBatch(write).option("checkpointLocation", checkpoint).start()
        queries.append(query)
        return query

    yield begin
    for query in queries:
        query.stop()


def positions(spark, tmp_path) -> Counter:
    rows = (
        spark.read.parquet(str(tmp_path / "out")).select("source_position", "order_id", "decode_error", "raw").collect()
    )
    for row in rows:
        assert (row.order_id is None) == (row.decode_error == "too_few_fields")
        assert bytes(row.raw) == (
            b"broken" if row.order_id is None else f'{row.order_id},s,"Medan, ""M""",1.5,t'.encode()
        )
    return Counter(row.source_position for row in rows)


def expected(files: int, rows: int) -> Counter:
    return Counter(f"{number}.csv#{row}" for number in range(files) for row in range(1, rows + 2))


def test_every_row_once_over_batches_and_a_restart(spark, start, tmp_path):
    for number in range(3):
        put(tmp_path / "raw", f"{number}.csv", range(50))
    query = start()
    query.processAllAvailable()
    query.stop()
    put(tmp_path / "raw", "3.csv", range(50))
    start().processAllAvailable()
    assert positions(spark, tmp_path) == expected(4, 50)


def test_a_batch_that_failed_is_read_again_the_same_after_a_restart(spark, start, tmp_path):
    for number in range(3):
        put(tmp_path / "raw", f"{number}.csv", range(50))

    def fail(number):
        raise RuntimeError("after the rows were written, before Spark committed")

    with pytest.raises(Exception, match="before Spark committed"):
        start(on_batch=fail).processAllAvailable()
    first = positions(spark, tmp_path)
    put(tmp_path / "raw", "between.csv", range(5))
    start().processAllAvailable()
    assert sorted(first.elements()) == sorted((Counter(expected(2, 50))).elements())
    assert positions(spark, tmp_path) == expected(3, 50) + Counter(f"between.csv#{row}" for row in range(1, 7))


def test_files_are_archived_only_once_spark_committed_their_batch(spark, start, tmp_path):
    put(tmp_path / "raw", "0.csv", range(50))
    seen_in_batch = []
    query = start(on_batch=lambda _: seen_in_batch.append((tmp_path / "raw/0.csv").exists()), after_commit="archive")
    query.processAllAvailable()
    for _ in range(100):
        if (tmp_path / "archive/0.csv").exists():
            break
        query.awaitTermination(0.1)
    assert seen_in_batch == [True]
    assert (tmp_path / "checkpoint/commits/0").exists()
    assert (tmp_path / "archive/0.csv").exists()
    assert not (tmp_path / "raw/0.csv").exists()


def test_spark_asks_for_the_next_offset_only_after_the_batch_was_committed(start, tmp_path, monkeypatch):
    """What archiving rests on: a slow batch, with files waiting, is never overtaken by `latestOffset`."""
    for number in range(5):
        put(tmp_path / "raw", f"{number}.csv", range(5))
    planned = tmp_path / "checkpoint/read_log"

    def plans(number):
        found = {path.name for path in planned.rglob("*plan.json")}
        assert not any(int(name.split("-")[0]) > number + 1 for name in found), found
        if number:
            assert (tmp_path / f"checkpoint/commits/{number - 1}").exists()

    start(on_batch=plans).processAllAvailable()
