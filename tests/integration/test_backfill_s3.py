"""Backfill of a lake on S3, by moto: found by prefix, staged as uploads, each file once, killed or not."""

from __future__ import annotations

import gzip

import pytest

from batch_app.audit import audit
from batch_app.backfill.engine import Backfill, Outcome
from batch_app.backfill.inputs import Wanted, find
from batch_app.backfill.loading import stage
from streaming_app.errors import ConfigError
from streaming_app.schema import InputSource
from streaming_app.sink.commit import Committer
from streaming_app.storage import StorageOptions
from tests.audit_lake import LakeBuilder
from tests.dead_lake import HEADER, Row, csv_row, event, judged
from tests.moto_server import CREDENTIALS, REGION, moto_server

STREAM = InputSource.STREAM


class Killed(BaseException):
    pass


class PlainLoader:
    """The real reader and writer; every row passes."""

    def __init__(self, dataset):
        self._dataset = dataset

    def load(self, reader, work, sink, suite):
        del suite
        batches = [
            judged(self._dataset, [Row(position) for position in batch.column("source_position").to_pylist()])
            for batch in reader.read_all(work.epoch, work.files)
        ]
        return [stage(batches, sink, self._dataset, None)]


@pytest.fixture(scope="module")
def aws():
    with moto_server() as server:
        yield server


@pytest.fixture
def lake(aws, orders, monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="backfill-lake")
    several = gzip.compress("".join(map(event, ("o1", "o2", "o3"))).encode())
    s3.put_object(Bucket="backfill-lake", Key="lake/raw_stream/2026/03/01/09/pos-1", Body=several)
    s3.put_object(Bucket="backfill-lake", Key="lake/raw/day.csv", Body=f"{HEADER}\n{csv_row('c1')}\n".encode())
    s3.put_object(Bucket="backfill-lake", Key="elsewhere/late.json", Body=event("o4").encode())
    return LakeBuilder("s3://backfill-lake/lake", orders, StorageOptions(aws.url, REGION, path_style=True))


def run(lake, tmp_path, *paths: str) -> Outcome:
    loaded, suite = lake.loaded(tmp_path)
    outcome = Outcome(dry_run=False)
    for source, files in find(Wanted(paths), loaded.config).files.items():
        Backfill(loaded, suite, source, lambda: PlainLoader(lake.dataset)).run(files, None, outcome)
    return outcome


def clean(aws) -> list[str]:
    listed = aws.client("s3").list_objects_v2(Bucket="backfill-lake", Prefix="lake/clean/").get("Contents", [])
    return [item["Key"] for item in listed]


def test_prefixes_and_single_objects_are_loaded_once_and_audited(lake, aws, tmp_path, monkeypatch):
    everything = [
        "s3://backfill-lake/lake/raw_stream/",
        "s3a://backfill-lake/lake/raw",
        "s3://backfill-lake/elsewhere/late.json",
    ]
    monkeypatch.setattr(Committer, "_publish_all", lambda *_: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        run(lake, tmp_path, *everything)
    monkeypatch.undo()
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    assert clean(aws) == []
    rest = run(lake, tmp_path, *everything)
    assert (rest.finished, rest.read, rest.clean) == (1, 5, 5)
    files = clean(aws)
    again = run(lake, tmp_path, *everything)
    assert (again.files, again.already) == (0, 3)
    assert clean(aws) == files
    report = audit(*lake.loaded(tmp_path), settled=True)
    assert report.ok, report.differences
    assert {found.source: found.rows_checked for found in report.sources if found.rows_checked} == {
        "backfill_stream": 4,
        "backfill_batch": 1,
    }
    uploads = aws.client("s3").list_multipart_uploads(Bucket="backfill-lake").get("Uploads", [])
    assert uploads == []


def test_object_or_bucket_that_is_not_there_is_a_clear_error(lake, tmp_path):
    config = lake.loaded(tmp_path)[0].config
    for path in ("s3://backfill-lake/nothing/", "s3://backfill-lake/nothing.json", "s3://no-such-bucket-here/x/"):
        with pytest.raises(ConfigError):
            find(Wanted((path,)), config)
