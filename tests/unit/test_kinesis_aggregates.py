"""Aggregated records through the whole reading side, without Spark: rows, positions, read log, restarts, splits."""

from __future__ import annotations

import pytest

from batch_app.audit.tally import ShardRange, ShardTally
from streaming_app.schema import Dataset
from streaming_app.sources.kinesis.epochs import EpochPartition, ShardTask
from streaming_app.sources.kinesis.messages import HashRange
from streaming_app.sources.kinesis.source import read_partition
from tests.kinesis_reading import STREAM, Query, context, credentials
from tests.kpl import UserRecord, aggregate, of
from tests.strict_kinesis import LAST_HASH, strict_kinesis

SHARD = "shardId-000000000000"
MIDDLE = LAST_HASH // 2
COLUMNS = [{"name": "at", "type": "timestamp"}, {"name": "city", "type": "string"}]
DATASET = Dataset.model_validate({"name": "d", "columns": COLUMNS, "time_column": "at"})


@pytest.fixture(autouse=True)
def _credentials(monkeypatch):
    credentials(monkeypatch)


@pytest.fixture
def kinesis():
    with strict_kinesis() as server:
        server.create(STREAM)
        yield server


@pytest.fixture
def where(kinesis, tmp_path):
    return lambda **changes: context(kinesis.url, tmp_path, **changes)


def part(epoch: int = 1, position: str = "TRIM_HORIZON", hash_range: HashRange | None = None) -> EpochPartition:
    return EpochPartition(epoch, (ShardTask(SHARD, position, hash_range=hash_range),))


def rows(where, partition: EpochPartition) -> list[tuple[bytes, int]]:
    return [
        (row["data"], row["sub_sequence_number"])
        for batch in read_partition(where, partition)
        for row in batch.to_pylist()
    ]


def half(side: int, *events: bytes) -> list[UserRecord]:
    """Records whose hash keys lie in the left or the right half."""
    return [UserRecord("k", event, str(side * (MIDDLE + 1))) for event in events]


def test_aggregates_and_plain_records_become_rows_in_their_order(kinesis, where):
    kinesis.put(STREAM, [b"plain", of(b"a", b"b", b"c"), b"last"])
    assert rows(where(), part()) == [(b"plain", 0), (b"a", 0), (b"b", 1), (b"c", 2), (b"last", 0)]


def test_a_row_of_an_aggregate_has_its_own_key_and_its_records_number_and_time(kinesis, where):
    place = kinesis.put(STREAM, [aggregate([UserRecord("store-7", b"a")])], key=lambda _: "outer")[0]
    (batch,) = read_partition(where(), part())
    (row,) = batch.to_pylist()
    assert (row["partition_key"], row["shard_id"], row["sequence_number"]) == ("store-7", *place.split(":"))
    arrival = kinesis._streams[STREAM][SHARD].records[0].arrival
    assert row["approximate_arrival_timestamp"].timestamp() == pytest.approx(arrival, abs=0.001)


def test_decoded_rows_of_an_aggregate_have_positions_of_their_own(kinesis, where):
    plain, whole, broken = kinesis.put(
        STREAM, [b'{"city":"Bali"}', of(b'{"city":"Solo"}', b"no json"), of(b"x")[:-1] + b"?"]
    )
    found = [row for batch in read_partition(where(dataset=DATASET.to_option()), part()) for row in batch.to_pylist()]
    assert [(row["source_position"], row["city"]) for row in found] == [
        (plain, "Bali"), (f"{whole}:0", "Solo"), (f"{whole}:1", None), (broken, None),
    ]  # fmt: skip
    assert found[2]["raw"] == b"no json"
    assert found[3]["raw"] == of(b"x")[:-1] + b"?"


def test_the_read_log_counts_rows_and_says_what_they_came_out_of(kinesis, where):
    kinesis.put(STREAM, [b"plain", aggregate(half(0, b"a", b"b") + half(1, b"c"))])
    rows(where(), part(hash_range=HashRange(0, MIDDLE)))
    read = where().read_log.unit(1, SHARD)
    assert read.rows == 3
    assert {name: read.detail[name] for name in ("records", "aggregates", "dropped", "hash_range")} == {
        "records": 2, "aggregates": 1, "dropped": 1, "hash_range": [0, MIDDLE],
    }  # fmt: skip


def test_the_read_log_of_plain_records_is_as_it_always_was(kinesis, where):
    kinesis.put(STREAM, [b"plain", of(b"a")[:-1]])
    rows(where(), part())
    assert not where().read_log.unit(1, SHARD).detail.keys() & {"records", "aggregates", "dropped", "hash_range"}


def test_records_that_are_left_out_are_logged(kinesis, where, caplog):
    kinesis.put(STREAM, [aggregate(half(0, b"a") + half(1, b"c", b"d"))])
    rows(where(), part(hash_range=HashRange(0, MIDDLE)))
    assert f"shard {SHARD}, epoch 1: left out 2 records of aggregates" in caplog.text


def test_limits_count_kinesis_records_so_that_an_aggregate_is_never_divided(kinesis, where):
    kinesis.put(STREAM, [of(*[b"x"] * 50), of(b"a", b"b"), b"c"])
    assert len(rows(where(max_records_per_shard=2, records_per_fetch=1), part())) == 52
    read = where().read_log.unit(1, SHARD)
    assert not read.detail["at_tip"]
    assert rows(where(), part(2, read.detail["end"])) == [(b"c", 0)]


def test_a_recorded_range_is_read_again_exactly(kinesis, where):
    kinesis.put(STREAM, [of(b"a", b"b"), b"plain", aggregate(half(0, b"c") + half(1, b"d")), of(b"e")])
    first = rows(where(max_records_per_shard=3), part(hash_range=HashRange(0, MIDDLE)))
    kinesis.put(STREAM, [of(b"later")])
    assert rows(where(records_per_fetch=1), part(hash_range=HashRange(0, MIDDLE))) == first


def test_a_recorded_range_is_read_again_exactly_whatever_is_known_by_then(kinesis, where):
    kinesis.put(STREAM, [aggregate(half(0, b"a") + half(1, b"b"))])
    first = rows(where(), part(hash_range=HashRange(0, MIDDLE)))
    assert rows(where(), part()) == first == [(b"a", 0)]
    assert rows(where(deaggregate=False), part()) == first


def test_a_range_that_was_recorded_without_deaggregation_is_read_again_without(kinesis, where):
    whole = of(b"a", b"b")
    kinesis.put(STREAM, [whole])
    assert rows(where(deaggregate=False), part()) == [(whole, 0)]
    assert rows(where(), part()) == [(whole, 0)]
    assert where().read_log.unit(1, SHARD).rows == 1


def test_an_aggregate_of_which_nothing_belongs_here_is_passed(kinesis, where):
    sent = kinesis.put(STREAM, [aggregate(half(1, b"a"))])
    assert rows(where(), part(hash_range=HashRange(0, MIDDLE))) == []
    read = where().read_log.unit(1, SHARD)
    assert (read.rows, read.detail["records"], read.detail["end"]) == (0, 1, "AFTER:" + sent[0].partition(":")[2])
    before = kinesis.calls["GetRecords"]
    assert rows(where(), part(hash_range=HashRange(0, MIDDLE))) == []
    assert kinesis.calls["GetRecords"] == before


class Rows(Query):
    """A query that keeps data instead of positions."""

    def read(self, keep: bool = True) -> list[str]:
        start, end = self.offsets[-2:]
        got = [
            data.decode()
            for partition in self.epochs.partitions(start, end)
            for data, _ in rows(self.make(), partition)
        ]
        if keep:
            self.rows += got
        return got


def test_through_a_split_each_row_is_read_once_where_it_belongs(kinesis, where):
    """Aggregates that were made for the parent and arrive in a child: what is another child's is sent again there."""
    reader = Rows(lambda: where(max_records_per_shard=2))
    kinesis.put(STREAM, [aggregate(half(0, b"p0") + half(1, b"p1")), b"plain", aggregate(half(1, b"p2"))])
    reader.run(batches=1)
    left, right = kinesis.split(STREAM, SHARD)
    in_left, in_right = "a", "b"  # their MD5s begin with 0c and 92
    mixed = aggregate(half(0, b"l0") + half(1, b"r0") + half(0, b"l1"))
    sent = kinesis.put(STREAM, [mixed], key=lambda _: in_left) + kinesis.put(
        STREAM, [aggregate(half(1, b"r0", b"r1"))], key=lambda _: in_right
    )
    assert [place.partition(":")[0] for place in sent] == [left, right]
    reader.crash().run()
    assert sorted(reader.rows) == sorted(["p0", "p1", "plain", "p2", "l0", "l1", "r0", "r1"])


def test_hash_ranges_cost_one_listing_a_start_and_none_after_a_split_that_names_the_children(kinesis, where):
    reader = Query(where)
    kinesis.put(STREAM, [of(b"a")])
    reader.run()
    kinesis.put(STREAM, [of(b"b")])
    before = kinesis.calls["ListShards"]
    reader.run()
    assert kinesis.calls["ListShards"] == before
    kinesis.split(STREAM, SHARD)
    reader.run()
    kinesis.put(STREAM, [of(b"c")])
    reader.run()
    assert kinesis.calls["ListShards"] - before == 1  # the one that a closed shard costs anyway


def test_without_deaggregation_nobody_asks_for_hash_ranges(kinesis, where):
    reader = Query(lambda: where(deaggregate=False))
    reader.start()
    before = kinesis.calls["ListShards"]
    kinesis.put(STREAM, [of(b"a")])
    assert len(reader.run().rows) == 1
    assert kinesis.calls["ListShards"] == before


def test_a_shard_that_is_not_listed_keeps_all_its_rows_and_is_asked_for_once(kinesis, where):
    kinesis.split(STREAM, SHARD)
    reader = Query(where)
    reader.start()
    reader.plan()
    kinesis.expire_shard(STREAM, SHARD)
    (partition,) = reader.epochs.partitions(*reader.offsets)
    before = kinesis.calls["ListShards"]
    reader.epochs.partitions(*reader.offsets)
    assert partition.shards[0].hash_range is None
    assert kinesis.calls["ListShards"] == before


def test_the_audit_counts_rows_of_aggregates(kinesis, where):
    kinesis.put(STREAM, [b"{}", of(*[b"{}"] * 11), b"{}"])
    positions = [
        batch.column("source_position") for batch in read_partition(where(dataset=DATASET.to_option()), part())
    ]
    read = where().read_log.unit(1, SHARD)
    found = ShardRange(SHARD, read.detail["first_seq"], read.detail["last_seq"], read.rows, aggregates=True)
    tally = ShardTally([found])
    for column in positions:
        tally.add(column)
    counted = tally.result()
    assert (read.rows, counted.missing, counted.unknown, counted.duplicates) == (13, 0, 0, 0)


def test_faults_of_every_kind_change_no_row(kinesis, where):
    kinesis.set(throttle=0.2, expire=0.1, internal=0.1, empty=0.2)
    reader = Rows(lambda: where(max_records_per_shard=3, records_per_fetch=2))
    sent: list[str] = []
    for batch in range(4):
        for record in range(6):
            events = [b"%d-%d-%d" % (batch, record, sub) for sub in range(record)]
            sent += [event.decode() for event in events] or ["plain"]
            kinesis.put(STREAM, [of(*events) if events else b"plain"])
        reader.run(batches=2).crash()
    assert sorted(reader.run().rows) == sorted(sent)
