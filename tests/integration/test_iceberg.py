"""The sink's Iceberg commit on Glue (moto's server) and in folders alone, read back by pyiceberg."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from streaming_app.errors import SinkError
from streaming_app.journal.ledger import Ledger
from streaming_app.schema import Column
from streaming_app.sink.commit import Committer
from streaming_app.sink.iceberg import Mark, open_tables
from streaming_app.sink.iceberg_change import NewFile
from streaming_app.storage import StorageOptions
from tests.moto_server import CREDENTIALS, REGION, moto_server
from tests.property.test_commit_crashes import EXPECTED, prepare, write

pytest.importorskip("pyiceberg")


@pytest.fixture(scope="module")
def aws():
    with moto_server() as server:
        yield server


@pytest.fixture
def glue(aws, tmp_path, orders, monkeypatch):
    """A checkpoint with one planned batch of 20 rows, and a namespace of its own."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    namespace = f"n{uuid.uuid4().hex[:8]}"
    settings = {"type": "glue", "namespace": namespace, "region": REGION, "endpoint_url": aws.url}
    return replace(prepare(tmp_path, orders), iceberg=settings)


@pytest.fixture(params=["glue", "hadoop"])
def sink(request, tmp_path, orders):
    """As `glue`, in every kind of catalog that needs no server of its own."""
    if request.param == "glue":
        return request.getfixturevalue("glue")
    return replace(prepare(tmp_path, orders), iceberg={"type": "hadoop", "namespace": "qsr"})


def table(sink, name: str):
    return open_tables(sink)._load(name)


def rows(sink) -> list[str]:
    """Source positions of all rows of both tables."""
    return sorted(
        position
        for name in ("clean", "dead_letter")
        for position in table(sink, name).scan().to_arrow()["source_position"].to_pylist()
    )


def test_a_batch_is_one_snapshot_with_its_number_and_days_and_sources_are_hidden_partitions(sink, orders):
    Committer(sink).commit(write(sink, orders), 0)
    assert rows(sink) == EXPECTED
    clean = table(sink, "clean")
    assert clean.metadata.format_version == 2
    (snapshot,) = clean.metadata.snapshots
    assert (snapshot.summary["qsr.source"], snapshot.summary["qsr.batch"]) == ("test", "0")
    assert [field.name for field in clean.spec().fields] == ["order_ts_day", "input_source"]
    found = clean.scan(row_filter="input_source = 'stream'").to_arrow()
    assert found.num_rows == 16
    assert found["input_source"].to_pylist() == ["stream"] * 16  # stands in no file
    assert clean.scan(row_filter="input_source = 'batch'").to_arrow().num_rows == 0
    assert found["order_ts"].type.tz == "UTC"


def test_a_batch_that_is_committed_again_is_left_out(sink, orders):
    committer = Committer(sink)
    committer.commit(write(sink, orders), 0)
    Ledger(sink.open_checkpoint())._storage.delete(["ledger/published.json"])  # cut off before the mark
    Committer(sink).recover()
    Committer(sink).commit(write(sink, orders), 0)
    assert rows(sink) == EXPECTED
    assert len(table(sink, "clean").metadata.snapshots) == 1


def test_a_catalog_that_fails_leaves_the_batch_for_recovery(glue, orders, aws):
    aws.fail("POST", "AWSGlue.UpdateTable", status=400, code="AccessDeniedException", times=-1)
    try:
        with pytest.raises(SinkError, match=r"made up for when the source starts again"):
            Committer(glue).commit(write(glue, orders), 0)
    finally:
        aws.heal()
    assert Ledger(glue.open_checkpoint()).published_through() == -1
    assert Committer(glue).recover().finished == (0,)
    assert rows(glue) == EXPECTED


@pytest.mark.parametrize("times", [1, 2, 3])
def test_an_answer_that_got_lost_does_not_make_the_batch_come_twice(glue, orders, aws, times):
    open_tables(glue)._load("clean")
    aws.fail("POST", "AWSGlue.UpdateTable", done=True, times=times)
    try:
        Committer(glue).commit(write(glue, orders), 0)
    except SinkError:
        Committer(glue).recover()
    finally:
        aws.heal()
    assert rows(glue) == EXPECTED


def test_a_new_checkpoint_counts_its_batches_anew(sink, orders, tmp_path):
    Committer(sink).commit(write(sink, orders), 0)
    other = replace(prepare(tmp_path / "other", orders), iceberg=sink.iceberg, lake=sink.lake)
    Committer(other).commit(write(other, orders), 0)
    assert Counter(Counter(rows(sink)).values()) == {2: 20}


def test_two_sources_commit_at_once_and_none_loses(sink, orders):
    results = write(sink, orders)
    files = [file for result in results for file in result.files if file.table == "clean"]
    for file in files:
        sink.open_lake().publish(file.staged)
    new = [NewFile(file.staged.key, file.partition, "stream") for file in files]
    errors = []

    def run(number: int) -> None:
        try:
            for batch in range(2):
                open_tables(sink).commit({"clean": new[number : number + 1]}, Mark(f"c{number}", batch, "s"))
        except SinkError as error:
            errors.append(error)

    open_tables(sink)._load("clean")
    threads = [threading.Thread(target=run, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    clean = table(sink, "clean")
    assert len(clean.metadata.snapshots) == 6
    assert {key: value for key, value in clean.properties.items() if key.startswith("qsr.")} == {
        f"qsr.through.c{number}": "1" for number in range(3)
    }


def test_files_are_replaced_in_one_commit_and_once(sink, orders, tmp_path):
    Committer(sink).commit(write(sink, orders), 0)
    tables, clean = open_tables(sink), table(sink, "clean")
    paths = [entry["file_path"] for entry in clean.inspect.files().to_pylist()]
    old = [new_file(sink, path) for path in sorted(paths)]
    days = {file.partition for file in old}
    again = replace(sink, checkpoint=str(tmp_path / "other"))
    results = write(again, orders)  # the same rows again, as a compaction would have written them
    files = [file for result in results for file in result.files if file.table == "clean"]
    for file in files:
        sink.open_lake().publish(file.staged)
    new = [NewFile(file.staged.key, file.partition, "stream") for file in files]
    assert {file.partition for file in new} == days
    for _ in range(2):
        tables.replace("clean", old, new, {"qsr.compaction": "0"})
    assert rows(sink) == EXPECTED
    assert len(table(sink, "clean").metadata.snapshots) == 2
    assert {file.key for file in (*old, *new)} == tables.needed("clean").files
    assert {file.key for file in new} == tables.current("clean")
    summary = table(sink, "clean").current_snapshot().summary
    assert summary.operation.value == "replace"
    assert (summary["qsr.compaction"], summary["total-records"], summary["deleted-records"]) == ("0", "16", "16")
    assert not tables.replace("clean", [replace(old[0], key="a")], [replace(old[0], key="b")], {})
    with pytest.raises(SinkError, match="some of the files"):
        tables.replace("clean", [old[0], new[0]], [old[1]], {})


def new_file(sink, path: str) -> NewFile:
    key = path.removeprefix(f"{Path(sink.lake).as_uri()}/")
    return NewFile(key, key.split("/")[2], "stream")


def test_added_files_are_added_once(sink, orders):
    results = write(sink, orders)
    files = [file for result in results for file in result.files if file.table == "clean"]
    for file in files:
        sink.open_lake().publish(file.staged)
    new = [NewFile(file.staged.key, file.partition, "stream") for file in files]
    tables = open_tables(sink)
    assert tables.add({"clean": new[:2]}, {}) == 2
    assert tables.add({"clean": new}, {}) == len(new) - 2
    assert tables.add({"clean": new}, {}) == 0
    assert table(sink, "clean").scan().to_arrow().num_rows == 16


def test_a_column_that_the_dataset_gained_is_null_in_old_rows(sink, orders):
    Committer(sink).commit(write(sink, orders), 0)
    wider = orders.model_copy(update={"columns": (*orders.columns, Column(name="tip", type="decimal(10,2)"))})
    tables = open_tables(replace(sink, dataset=wider.to_option()))
    clean = tables._load("clean")
    assert clean.scan().to_arrow()["tip"].null_count == 16


def test_snapshots_from_before_a_moment_are_forgotten_but_for_the_newest(sink, orders, tmp_path):
    Committer(sink).commit(write(sink, orders), 0)
    other = replace(prepare(tmp_path / "other", orders), iceberg=sink.iceberg, lake=sink.lake)
    Committer(other).commit(write(other, orders), 0)
    assert open_tables(sink).expire(4_000_000_000.0) == 2  # one of each table
    assert len(table(sink, "clean").metadata.snapshots) == 1
    assert len(rows(sink)) == 40


def test_partition_days_are_those_of_the_files(sink, orders):
    Committer(sink).commit(write(sink, orders), 0)
    partitions = table(sink, "clean").inspect.partitions().to_pylist()
    assert {row["partition"]["order_ts_day"] for row in partitions} == {date(2026, 3, 1), date(2026, 3, 2)}


@pytest.fixture
def on_s3(aws, glue, orders, tmp_path):
    """Folders alone, on S3."""
    bucket = f"lake-{uuid.uuid4().hex[:8]}"
    aws.client("s3").create_bucket(Bucket=bucket)
    storage = StorageOptions(aws.url, REGION, path_style=True).to_options()
    settings = {"type": "hadoop", "namespace": "qsr"}
    return replace(glue, lake=f"s3://{bucket}/lake", storage=storage, iceberg=settings)


@pytest.mark.parametrize("times", [1, 3])
def test_a_version_whose_answer_got_lost_is_known_for_ones_own(on_s3, orders, aws, times):
    """S3 was asked a second time and says that the object is there: that is no other writer."""
    open_tables(on_s3)._load("clean")
    aws.fail("PUT", "v2.metadata.json", done=True, times=times)
    try:
        Committer(on_s3).commit(write(on_s3, orders), 0)
    except SinkError:
        Committer(on_s3).recover()
    finally:
        aws.heal()
    assert rows(on_s3) == EXPECTED
    assert len(table(on_s3, "clean").metadata.snapshots) == 1


def test_versions_are_found_without_the_hint_and_when_it_is_late(on_s3, orders):
    Committer(on_s3).commit(write(on_s3, orders), 0)
    tables = open_tables(on_s3)
    version = tables._load("clean").metadata_location
    storage, hint = on_s3.open_lake(), "iceberg/qsr/clean/metadata/version-hint.text"
    for text in (b"1", b"0", b"99", b"", None):
        if text is None:
            storage.delete([hint])
        else:
            storage.put(hint, text)
        assert open_tables(on_s3)._load("clean").metadata_location == version


@pytest.mark.parametrize("kind", ["glue", "hadoop"])
def test_metadata_is_encrypted_and_paid_for_as_data_is(tmp_path, orders, aws, monkeypatch, kind):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    bucket, s3 = f"kms-{uuid.uuid4().hex[:8]}", aws.client("s3")
    s3.create_bucket(Bucket=bucket)
    options = StorageOptions(aws.url, REGION, path_style=True, sse_kms_key_id="alias/lake", requester_pays=True)
    settings = {"type": kind, "namespace": bucket.replace("-", "_")}
    settings |= {"region": REGION, "endpoint_url": aws.url} if kind == "glue" else {}
    sink = replace(
        prepare(tmp_path, orders), lake=f"s3://{bucket}/lake", storage=options.to_options(), iceberg=settings
    )
    aws.seen()
    Committer(sink).commit(write(sink, orders), 0)
    tables = open_tables(sink)
    assert sum(len(tables.current(name)) for name in ("clean", "dead_letter")) == 6
    tables.expire(0.0)
    assert [line for line in aws.seen() if f"/{bucket}" in line and not line.endswith(" requester")] == []
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert any(key.endswith(".avro") for key in keys)
    found = {key: s3.head_object(Bucket=bucket, Key=key).get("SSEKMSKeyId") for key in keys}
    assert set(found.values()) == {"alias/lake"}, found


def test_file_that_may_not_replace_another_one_does_not(aws, monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    from streaming_app.sink.iceberg_io import StorageFileIO

    aws.client("s3").create_bucket(Bucket="own-io")
    files = StorageFileIO(StorageOptions(aws.url, REGION, path_style=True, requester_pays=True).to_options())
    place = "s3://own-io/lake/metadata/a.avro"
    with pytest.raises(FileNotFoundError):
        files.new_input(place).open()
    with pytest.raises(ZeroDivisionError), files.new_output(place).create() as stream:
        stream.write(b"half" * (1 // 0))
    assert not files.new_output(place).exists()
    late = files.new_output(place).create()
    late.write(b"late")
    with files.new_output(place).create() as stream:
        stream.write(b"0123456789")
    with pytest.raises(FileExistsError):
        late.close()
    with pytest.raises(FileExistsError):
        files.new_output(place).create()
    with files.new_input(place).open() as stream:
        assert (stream.seek(-3, 2), stream.read(), stream.seek(2), stream.read(3)) == (7, b"789", 2, b"234")
    with files.new_output(place).create(overwrite=True) as stream:
        stream.write(b"new")
    assert len(files.new_input(place)) == 3
    files.delete(place)
    files.delete(files.new_input(place))
    assert not files.new_input(place).exists()
