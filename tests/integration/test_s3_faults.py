"""What S3Storage does when S3 throttles, loses answers and connections, or refuses: real requests, faults made by the server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from streaming_app.errors import ConfigError, SinkError
from streaming_app.storage import Published, StorageOptions, open_storage, s3, s3_client
from tests.moto_server import CREDENTIALS, moto_server

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server():
    with moto_server() as running:
        running.client("s3").create_bucket(Bucket="lake")
        yield running


@pytest.fixture
def aws(server, monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    yield server
    server.heal()


@pytest.fixture
def storage(aws):
    return open_storage(f"s3://lake/{uuid.uuid4().hex}", StorageOptions(endpoint_url=aws.url, path_style=True))


def stage(storage, data=b"rows"):
    file = storage.stage(f"clean/part-csv-{uuid.uuid4().hex}.parquet", "csv")
    file.write(data)
    return file.finish()


def test_a_write_whose_answer_was_lost_counts_as_written(aws, storage):
    aws.fail("PUT", "/log/1", done=True)
    assert storage.put_if_absent("log/1", b"the same bytes")
    assert [item.key for item in storage.list("")] == ["log/1"]


def test_a_write_that_lost_against_the_same_bytes_is_not_taken_for_its_own(aws, storage):
    assert storage.put_if_absent("log/1", b"the same bytes")
    aws.fail("PUT", "/log/1", status=503, code="SlowDown")
    assert not storage.put_if_absent("log/1", b"the same bytes")


def test_a_conflict_with_another_write_under_way_is_tried_again(aws, storage):
    aws.fail("PUT", "/log/1", status=409, code="ConditionalRequestConflict", times=2)
    assert storage.put_if_absent("log/1", b"1")


@pytest.mark.parametrize("lost", [{}, {"status": 500, "code": "InternalError"}])
def test_a_publication_whose_answer_was_lost_counts_as_done(aws, storage, lost):
    file = stage(storage)
    aws.fail("POST", "uploadId=", done=True, **lost)
    assert storage.publish(file) is Published.ALREADY
    assert storage.get(file.key) == b"rows"


@pytest.mark.parametrize("fault", [{}, {"status": 503, "code": "SlowDown"}])
def test_a_publication_that_did_not_arrive_is_repeated(aws, storage, fault):
    file = stage(storage)
    aws.fail("POST", "uploadId=", times=2, **fault)
    assert storage.publish(file) is Published.NOW
    assert storage.get(file.key) == b"rows"


def test_an_upload_that_is_gone_is_found_published_or_gone(aws, storage):
    published, gone = stage(storage), stage(storage)
    storage.publish(published)
    storage.discard(gone)
    for file, expected in ((published, Published.ALREADY), (gone, Published.GONE)):
        aws.fail("POST", "uploadId=", status=404, code="NoSuchUpload")  # as S3 says it; moto answers 200 or 500 here
        aws.fail("GET", "max-parts", status=404, code="NoSuchUpload")
        assert storage.publish(file) is expected
        aws.heal()


def test_another_file_in_the_place_of_a_published_one_is_an_error(aws, storage):
    file = stage(storage)
    storage.discard(file)
    storage.put(file.key, b"somebody else's")
    with pytest.raises(SinkError, match="has 15 bytes where 4 were written"):
        storage.publish(file)


def test_throttled_and_dropped_requests_are_repeated(aws, storage):
    storage.put("a", b"1")
    aws.fail("GET", "/a", status=503, code="SlowDown", times=2)
    assert storage.get("a") == b"1"
    aws.fail("PUT", "partNumber=1")
    file = stage(storage)
    assert storage.publish(file) is Published.NOW


def test_a_lost_connection_is_taken_up_where_it_was(aws, storage):
    data = os.urandom(3 << 20)
    storage.put("raw/a.csv", data)
    for read in (lambda: storage.get("raw/a.csv"), lambda: storage.open("raw/a.csv").read()):
        aws.fail("GET", "raw/a.csv", keep=1 << 20, times=2)
        assert read() == data


def test_a_file_replaced_while_it_is_read_is_an_error_and_not_a_mixture(aws, storage):
    storage.put("raw/a.csv", b"1" * (3 << 20))
    aws.fail("GET", "raw/a.csv", keep=1 << 20)
    with storage.open("raw/a.csv") as stream:
        stream.read(10)
        storage.put("raw/a.csv", b"2" * (3 << 20))
        with pytest.raises(SinkError, match="replaced while it was read"):
            stream.read()


def test_a_part_that_fails_for_good_aborts_the_upload(aws, storage):
    aws.fail("PUT", "partNumber=2", status=403, code="AccessDenied")
    file = storage.stage("clean/part-csv-1.parquet", "csv")
    file.write(b"1" * (9 << 20))
    with pytest.raises(SinkError, match="access denied"):
        file.write(b"1" * (9 << 20))
    assert list(storage.staged("csv", ["clean"])) == []


def everything(storage):
    yield lambda: storage.get("a")
    yield lambda: storage.open("a")
    yield lambda: storage.put("a", b"")
    yield lambda: storage.put_if_absent("a", b"")
    yield lambda: storage.delete(["a"])
    yield lambda: list(storage.list(""))
    yield lambda: storage.stage("part-csv-1", "csv").finish()
    yield lambda: list(storage.staged("csv", [""]))


def test_a_missing_bucket_is_named(aws):
    storage = open_storage("s3://no-such-bucket/x", StorageOptions(endpoint_url=aws.url, path_style=True))
    for call in everything(storage):
        with pytest.raises(ConfigError, match=r"s3://no-such-bucket/x.*create it or correct the name"):
            call()


def test_a_refusal_names_the_permissions(aws, storage):
    for method in ("GET", "PUT", "POST", "HEAD"):
        aws.fail(method, "", status=403, code="AccessDenied", times=-1)
    for call in (*everything(storage), lambda: storage.info("a")):
        with pytest.raises(SinkError, match=r"s3:PutObject"):
            call()


def test_one_key_that_cannot_be_deleted_is_named(aws, storage):
    storage.put("a", b"1")
    body = "<DeleteResult><Error><Key>lake/a</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>"
    aws.fail("POST", "delete", status=200, code="OK", body=body)
    with pytest.raises(
        SinkError, match=r"lake/a cannot be deleted: no \(AccessDenied\); the role needs s3:DeleteObject"
    ):
        storage.delete(["a"])


def refused(key: str, code: str) -> str:
    """What DeleteObjects answers, with status 200, for a key that it could not delete."""
    return f"<DeleteResult><Error><Key>{key}</Key><Code>{code}</Code><Message>later</Message></Error></DeleteResult>"


@pytest.mark.parametrize("code", ["SlowDown", "InternalError", "ServiceUnavailable"])
def test_keys_that_s3_could_not_delete_just_then_are_tried_again_and_no_others(aws, storage, code):
    prefix = storage.uri.removeprefix("s3://lake/")
    for key in ("a", "b", "c"):
        storage.put(key, b"1")
    aws.fail("POST", "delete", status=200, code="OK", body=refused(f"{prefix}/b", code), times=2)
    aws.seen()
    storage.delete(["b"])
    assert [item.key for item in storage.list("")] == ["a", "c"]
    assert sum(line.startswith("POST") for line in aws.seen()) == 3


def test_keys_that_s3_goes_on_refusing_are_named_with_its_own_reason(aws, storage, monkeypatch):
    monkeypatch.setattr(s3, "_waits", lambda: iter([0.0, 0.0]))
    aws.fail("POST", "delete", status=200, code="OK", body=refused("lake/a", "SlowDown"), times=-1)
    with pytest.raises(SinkError, match=r"lake/a cannot be deleted: .*throttles this prefix.*\(SlowDown\)") as caught:
        storage.delete(["a"])
    assert "s3:DeleteObject" not in str(caught.value)


def test_a_place_that_cannot_be_is_refused_at_once():
    for uri in ("s3://", "s3:///prefix", "gs://bucket/x", ""):
        with pytest.raises(ConfigError, match="s3://bucket/prefix"):
            open_storage(uri)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"endpoint_url": "no url"}, "endpoint_url"),
        ({"endpoint_url": "http://127.0.0.1:9", "region": "us-east-1"}, "no usable AWS credentials"),
    ],
)
def test_unusable_settings_are_explained(monkeypatch, tmp_path, options, message):
    for name in CREDENTIALS:
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_ROLE_ARN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ConfigError, match=message):
        open_storage("s3://lake/x", StorageOptions(**options)).get("a")


def test_writes_are_encrypted_and_paid_for_as_configured(aws):
    options = StorageOptions(endpoint_url=aws.url, path_style=True, sse_kms_key_id="alias/lake", requester_pays=True)
    storage = open_storage("s3a://lake/kms/", StorageOptions.from_options(options.to_options()))
    aws.seen()
    file = stage(storage)
    storage.publish(file)
    storage.discard(file)
    storage.put("a", b"1")
    storage.put_if_absent("b", b"1")
    storage.get("a")
    storage.info("a")
    storage.copy("a", "copy")
    storage.delete(["c"])
    assert [*storage.list("no"), *storage.staged("csv", [""])] == []
    assert [request for request in aws.seen() if not request.endswith(" requester")] == []
    s3 = aws.client("s3")
    for key in (file.key, "a", "b", "copy"):
        found = s3.head_object(Bucket="lake", Key=f"kms/{key}")
        assert (found["ServerSideEncryption"], found["SSEKMSKeyId"]) == ("aws:kms", "alias/lake")


@pytest.mark.parametrize(
    ("endpoint", "path_style", "address"),
    [
        ("", False, "https://our-lake.s3.amazonaws.com/a.parquet"),
        ("", True, "https://s3.eu-west-1.amazonaws.com/our-lake/a.parquet"),
        ("https://s3.example.com", True, "https://s3.example.com/our-lake/a.parquet"),
        (
            "https://s3.example.com",
            False,
            "https://s3.example.com/our-lake/a.parquet",
        ),  # boto3's way with such endpoints
    ],
)
def test_a_bucket_is_addressed_by_path_or_by_host_as_configured(monkeypatch, endpoint, path_style, address):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    made = s3_client.client(StorageOptions(endpoint_url=endpoint, region="eu-west-1", path_style=path_style))
    url = made.generate_presigned_url("get_object", Params={"Bucket": "our-lake", "Key": "a.parquet"})
    assert url.partition("?")[0] == address


def test_a_forked_child_makes_a_client_of_its_own_whatever_the_parents_threads_were_doing(aws):
    options = StorageOptions(endpoint_url=aws.url, path_style=True)
    parents = s3_client.client(options)
    with s3_client._lock:  # as if another thread were making a client just now
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            os._exit(0 if s3_client.client(options) is not parents else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert s3_client.client(options) is parents


def test_a_folder_that_the_console_marked_is_no_file(aws, storage):
    aws.client("s3").put_object(Bucket="lake", Key=f"{storage.uri.rsplit('/', 1)[-1]}/raw/", Body=b"")
    assert list(storage.list("")) == []


def test_boto3_is_not_imported_for_a_local_folder():
    code = "import sys; from streaming_app.storage import open_storage; open_storage('/tmp'); print('boto3' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
