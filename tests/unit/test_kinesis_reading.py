from __future__ import annotations

import pyarrow as pa
import pytest

from streaming_app.errors import DataLossError, SourceError
from streaming_app.journal.read_log import UnitRead
from streaming_app.schema import Dataset
from streaming_app.sources.kinesis.epochs import EpochPartition, ShardTask
from streaming_app.sources.kinesis.source import read_partition
from tests.kinesis_reading import STREAM, context, credentials, task
from tests.strict_kinesis import LAST_HASH, strict_kinesis

SHARD = "shardId-000000000000"


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


def part(epoch: int = 1, position: str = "TRIM_HORIZON", iterator: str | None = None) -> EpochPartition:
    return EpochPartition(epoch, (ShardTask(SHARD, position, iterator),))


def events(count: int, size: int = 10) -> list[bytes]:
    return [b"%d" % number + b"x" * size for number in range(count)]


def test_a_read_ends_at_max_records(kinesis, where):
    sent = kinesis.put(STREAM, events(30))
    assert task(where(max_records_per_shard=12, records_per_fetch=5), part()) == sent[:12]
    read = where().read_log.unit(1, SHARD)
    assert read.rows == 12
    assert not read.detail["at_tip"]


def test_a_backlog_is_read_with_full_answers(kinesis, where):
    kinesis.put(STREAM, [b"x"] * 25_000)
    assert len(task(where(), part())) == 25_000
    assert kinesis.calls["GetRecords"] == 3


def test_a_read_ends_after_max_bytes(kinesis, where):
    sent = kinesis.put(STREAM, events(30, size=1000))
    assert task(where(max_bytes_per_shard=5000, records_per_fetch=2), part()) == sent[:6]


def test_a_read_ends_after_max_fetch_time_and_takes_one_answer_at_least(kinesis, where):
    sent = kinesis.put(STREAM, events(30))
    assert task(where(max_fetch_time=0.0, records_per_fetch=3), part()) == sent[:3]


def test_an_answer_cut_by_its_limit_is_no_tip_though_nothing_is_behind_in_time(tmp_path):
    with strict_kinesis(clock=lambda: 1_790_000_000.0, behind_rounds_down=True) as kinesis:
        kinesis.create(STREAM)
        sent = kinesis.put(STREAM, events(10))
        assert task(context(kinesis.url, tmp_path, records_per_fetch=5), part()) == sent


def test_empty_answers_before_the_tip_are_passed(kinesis, where):
    sent = kinesis.put(STREAM, events(10))
    kinesis.set(empty=0.8)
    assert task(where(), part()) == sent


def test_the_read_log_says_what_was_read(kinesis, where):
    sent = kinesis.put(STREAM, events(5))
    task(where(), part())
    read = where().read_log.unit(1, SHARD)
    assert (read.unit, read.rows, read.bytes) == (SHARD, 5, 55)
    detail = read.detail
    assert (detail["start"], detail["end"]) == ("TRIM_HORIZON", "AFTER:" + sent[-1].partition(":")[2])
    assert [detail["first_seq"], detail["last_seq"]] == [row.partition(":")[2] for row in (sent[0], sent[-1])]
    assert (detail["at_tip"], detail["closed"], detail["millis_behind"]) == (True, False, 0)
    assert detail["last_arrival_ms"] <= detail["read_at_ms"]


def test_the_read_log_says_that_a_shard_ended_and_what_came_of_it(kinesis, where):
    left, right = kinesis.split(STREAM, SHARD)
    task(where(), part())
    detail = where().read_log.unit(1, SHARD).detail
    assert detail["closed"]
    assert detail["children"] == [
        {"id": left, "parents": [SHARD], "hash_range": [0, LAST_HASH // 2]},
        {"id": right, "parents": [SHARD], "hash_range": [LAST_HASH // 2 + 1, LAST_HASH]},
    ]


def test_a_recorded_range_is_read_again_exactly_though_more_has_come(kinesis, where):
    sent = kinesis.put(STREAM, events(10))
    first = task(where(), part())
    kinesis.put(STREAM, events(10))
    kinesis.set(empty=0.5)
    assert task(where(records_per_fetch=3), part()) == first == sent


def test_a_recorded_empty_read_asks_nothing(kinesis, where):
    task(where(), part())
    kinesis.put(STREAM, events(10))
    before = kinesis.calls.copy()
    assert task(where(), part()) == []
    assert kinesis.calls == before


@pytest.mark.parametrize("trimmed", [1, 4, 10])
def test_a_recorded_range_that_is_no_longer_whole_is_data_loss(kinesis, where, trimmed):
    sent = kinesis.put(STREAM, events(10))
    task(where(), part())
    kinesis.put(STREAM, events(5))
    kinesis.trim(STREAM, SHARD, trimmed)
    with pytest.raises(
        DataLossError, match=rf"{SHARD}, epoch 1: the range .* had 10 records that arrived up to 20\d\d-\S+Z"
    ):
        task(where(), part())
    assert task(where(fail_on_data_loss=False), part()) == sent[trimmed:]


def test_a_recorded_range_of_a_vanished_shard_is_data_loss(kinesis, where):
    kinesis.put(STREAM, events(10))
    task(where(), part())
    kinesis.expire_shard(STREAM, SHARD)
    with pytest.raises(DataLossError):
        task(where(), part())


def test_the_loser_of_a_race_fails_and_its_retry_reads_the_winners_range(kinesis, where):
    kinesis.put(STREAM, events(10))
    slow = read_partition(where(records_per_fetch=1, max_records_per_shard=8), part())
    next(slow)
    winner = task(where(max_records_per_shard=4), part())
    with pytest.raises(SourceError, match="another attempt"):
        list(slow)
    assert task(where(max_records_per_shard=8), part()) == winner


def test_a_read_that_is_given_up_early_leaves_nothing_in_the_log(kinesis, where):
    kinesis.put(STREAM, events(100))
    rows = read_partition(where(records_per_fetch=1), part())
    next(rows)
    rows.close()
    assert where().read_log.unit(1, SHARD) is None


def test_expired_iterators_are_renewed_from_the_last_position(kinesis, where):
    sent = kinesis.put(STREAM, events(12))
    kinesis.script.extend(["", "ExpiredIteratorException", "", "ExpiredIteratorException"])
    assert task(where(records_per_fetch=3), part()) == sent
    assert where().read_log.unit(1, SHARD).detail["renewals"] == 2


def test_a_stale_iterator_of_the_driver_is_renewed(kinesis, where):
    sent = kinesis.put(STREAM, events(3))
    stale = where().api.shard_iterator(SHARD, "TRIM_HORIZON")
    kinesis.script.append("ExpiredIteratorException")
    assert task(where(), part(iterator=stale)) == sent


def test_throttled_calls_are_counted(kinesis, where):
    sent = kinesis.put(STREAM, events(3))
    kinesis.script.extend(
        ["ProvisionedThroughputExceededException", "KMSThrottlingException", "InternalFailureException"]
    )
    assert task(where(), part()) == sent
    assert where().read_log.unit(1, SHARD).detail["throttles"] == 3


def test_throttling_without_end_is_an_error_after_the_timeout(kinesis, where):
    kinesis.set(throttle=1.0)
    with pytest.raises(SourceError, match=r"gave up .*throttle_timeout.*ProvisionedThroughputExceeded"):
        task(where(throttle_timeout=0.3), part())


def test_a_server_that_is_not_there_is_an_error_after_the_timeout(tmp_path):
    with pytest.raises(SourceError, match="cannot be reached"):
        task(context("http://127.0.0.1:9", tmp_path, throttle_timeout=0.2), part())


def test_a_refusal_that_no_retry_helps_is_an_error_at_once(kinesis, where):
    kinesis.script.append("AccessDeniedException")
    with pytest.raises(SourceError, match="AccessDenied"):
        task(where(), part())


def test_a_foreign_sequence_number_is_an_error_that_names_it(kinesis, where):
    with pytest.raises(SourceError, match=r"InvalidArgument.*12345"):
        task(where(), part(position="AFTER:12345"))


def test_the_next_epoch_in_the_same_process_needs_no_new_iterator(kinesis, where):
    kinesis.put(STREAM, events(3))
    process = where()
    task(process, part(1))
    end = process.read_log.unit(1, SHARD).detail["end"]
    sent = kinesis.put(STREAM, events(3))
    before = kinesis.calls["GetShardIterator"]
    assert task(process, part(2, end)) == sent
    assert kinesis.calls["GetShardIterator"] == before


def test_a_read_that_ends_inside_a_gap_hands_its_iterator_on(kinesis, where):
    kinesis.put(STREAM, events(3))
    kinesis.set(empty=1.0)
    assert task(where(max_fetch_time=0.05), part()) == []
    assert where().read_log.unit(1, SHARD).detail["iterator"]


def test_the_generic_layout_is_the_record_as_kinesis_has_it(kinesis, where):
    place = kinesis.put(STREAM, [b"\x00\xff"], key=lambda _: "store-1")[0]
    arrival = kinesis._streams[STREAM][SHARD].records[0].arrival
    (batch,) = read_partition(where(), part())
    (row,) = batch.to_pylist()
    arrived = row.pop("approximate_arrival_timestamp")
    assert arrived.timestamp() == pytest.approx(arrival, abs=0.001)
    assert row == {
        "data": b"\x00\xff",
        "stream_name": STREAM,
        "shard_id": SHARD,
        "partition_key": "store-1",
        "sequence_number": place.partition(":")[2],
        "sub_sequence_number": 0,
    }
    assert batch.schema.field("approximate_arrival_timestamp").type == pa.timestamp("us", "UTC")


def test_the_decoded_layout_is_the_datasets_own(kinesis, where):
    columns = [{"name": "at", "type": "timestamp"}, {"name": "city", "type": "string"}]
    dataset = Dataset.model_validate({"name": "d", "columns": columns, "time_column": "at"})
    good, bad = kinesis.put(STREAM, [b'{"city":"Bali","at":"2026-03-01","tip":1}', b"not json"])
    (batch,) = read_partition(where(dataset=dataset.to_option()), part())
    first, second = batch.to_pylist()
    assert (first["city"], first["at"], first["rescued_data"], first["decode_error"]) == (
        "Bali",
        "2026-03-01",
        '{"tip":1}',
        None,
    )
    assert (first["source_position"], second["source_position"]) == (good, bad)
    assert second["decode_error"]
    assert second["raw"] == b"not json"


def test_several_shards_of_one_task_are_all_read(kinesis, where):
    left, right = kinesis.split(STREAM, SHARD)
    sent = kinesis.put(STREAM, events(40))
    both = EpochPartition(1, (ShardTask(left, "TRIM_HORIZON"), ShardTask(right, "TRIM_HORIZON")))
    assert sorted(task(where(records_per_fetch=3), both)) == sorted(sent)


def test_an_error_in_one_shard_of_a_task_fails_the_task(kinesis, where):
    kinesis.put(STREAM, events(4))
    both = EpochPartition(1, (ShardTask(SHARD, "TRIM_HORIZON"), ShardTask("shardId-000000000009", "TRIM_HORIZON")))
    with pytest.raises(DataLossError, match="shardId-000000000009"):
        task(where(), both)


def test_a_recorded_read_survives_json(kinesis, where):
    kinesis.put(STREAM, events(4))
    task(where(), part())
    read = where().read_log.unit(1, SHARD)
    assert UnitRead.from_json(read.to_json()) == read
