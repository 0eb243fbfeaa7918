"""The CSV source on S3 (moto's server in a child process): discovery, reading, archiving and what is seen of changes."""

from __future__ import annotations

import time
import uuid

import pytest

from streaming_app.config.models import CsvConfig
from streaming_app.sources.csv_files import csv_options, parse_options
from streaming_app.sources.csv_files.epochs import Epochs
from streaming_app.sources.csv_files.reading import Reader
from streaming_app.storage import StorageOptions, open_storage
from streaming_app.storage.moving import Mover
from tests.moto_server import CREDENTIALS, moto_server

ROWS = b"order_id,store_id,city,amount,order_ts\n1,s,Medan,1,t\n2,s,Medan,1,t\n"


@pytest.fixture(scope="module")
def aws():
    with moto_server() as server:
        server.client("s3").create_bucket(Bucket="lake")
        yield server


@pytest.fixture
def options(aws, orders, monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("streaming_app.sources.csv_files.epochs._LISTING_SHARE", 0)
    root = f"s3://lake/{uuid.uuid4().hex}"
    storage = StorageOptions(endpoint_url=aws.url, path_style=True)
    config = CsvConfig(after_commit="archive")
    return parse_options(csv_options(config, orders, f"{root}/raw", f"{root}/archive", f"{root}/checkpoint", storage))


def errors_and_positions(options, epochs, start, end):
    reader = Reader.of(options)
    files = [file for partition in epochs.partitions(start, end) for file in partition.files]
    rows = [row for batch in reader.read_all(end, files) for row in batch.to_pylist()]
    return [(row["decode_error"], row["source_position"]) for row in rows]


def test_objects_are_read_once_archived_and_reported_when_they_come_back_changed(options):
    raw, archive = (open_storage(uri, options.storage) for uri in (options.path, options.archive_path))
    raw.put("day/a.csv", ROWS)
    epochs = Epochs(options)
    assert epochs.latest() == 1
    found = errors_and_positions(options, epochs, 0, 1)
    assert found == [(None, "day/a.csv#1"), (None, "day/a.csv#2")]
    assert errors_and_positions(options, epochs, 0, 1) == found
    assert epochs.latest() == 1
    epochs.stop()
    assert [item.key for item in raw.list("")] == []
    assert archive.get("day/a.csv") == ROWS

    time.sleep(1.1)  # S3 gives times in whole seconds
    raw.put("day/a.csv", ROWS + b"3,s,Medan,1,t\n")
    epochs = Epochs(options)
    assert epochs.partitions(1, 1) == []
    assert epochs.latest() == 2
    ((error, position),) = errors_and_positions(options, epochs, 1, 2)
    assert error == "changed_file"
    assert position.startswith("day/a.csv@")
    assert epochs.latest() == 2
    epochs.stop()
    assert [item.key for item in raw.list("")] == ["day/a.csv"]


def test_tags_of_an_upload_stay_behind_as_copying_them_takes_more_permissions(options, aws):
    raw, archive = (open_storage(uri, options.storage) for uri in (options.path, options.archive_path))
    raw.put("a.csv", ROWS)
    (bucket, prefix), s3 = raw.uri.removeprefix("s3://").split("/", 1), aws.client("s3")
    s3.put_object_tagging(Bucket=bucket, Key=f"{prefix}/a.csv", Tagging={"TagSet": [{"Key": "from", "Value": "till"}]})
    Mover(raw, archive, options.storage).move(raw.info("a.csv"))
    assert archive.get("a.csv") == ROWS
    place = archive.uri.removeprefix("s3://").split("/", 1)[1]
    assert s3.get_object_tagging(Bucket=bucket, Key=f"{place}/a.csv")["TagSet"] == []


def test_an_object_uploaded_again_with_the_same_content_gives_nothing(options):
    raw = open_storage(options.path, options.storage)
    raw.put("a.csv", ROWS)
    epochs = Epochs(options)
    errors_and_positions(options, epochs, 0, epochs.latest())
    epochs.latest()
    epochs.stop()
    raw.put("a.csv", ROWS)
    epochs = Epochs(options)
    epochs.partitions(1, 1)
    assert epochs.latest() == 1
    epochs.stop()
