"""What is particular to a local folder; the contract that it shares with S3 is tests/integration/test_storage.py."""

from __future__ import annotations

import errno
import os
import uuid
from pathlib import Path

import pytest

from streaming_app.errors import SinkError
from streaming_app.storage import Published, open_storage
from streaming_app.storage.local import _explained


@pytest.fixture
def storage(tmp_path):
    return open_storage(str(tmp_path / "lake"))


def keys(storage, prefix=""):
    return [item.key for item in storage.list(prefix)]


@pytest.mark.parametrize("key", ["../x", "a/../../x", "/etc/passwd", "a//b", "a/./b", "", "a\0b", "a/.."])
def test_a_key_that_is_no_plain_path_below_the_root_is_refused(storage, key):
    for call in (storage.get, storage.open, storage.info, lambda k: storage.put(k, b""), lambda k: storage.delete([k])):
        with pytest.raises(ValueError, match="no key"):
            call(key)


def test_a_symbolic_link_neither_shows_nor_opens_what_is_outside(storage, tmp_path):
    (tmp_path / "secret").write_text("password")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/secret").write_text("password")
    storage.put("raw/good.csv", b"1")
    (tmp_path / "lake/raw/link.csv").symlink_to(tmp_path / "secret")
    (tmp_path / "lake/raw/folder").symlink_to(tmp_path / "folder")
    assert keys(storage) == ["raw/good.csv"]
    for key in ("raw/link.csv", "raw/folder/secret"):
        with pytest.raises(SinkError, match="symbolic link"):
            storage.get(key)


def test_the_root_itself_may_be_a_symbolic_link(storage, tmp_path):
    storage.put("a", b"1")
    (tmp_path / "alias").symlink_to(tmp_path / "lake")
    assert open_storage(str(tmp_path / "alias")).get("a") == b"1"


def test_what_is_no_regular_file_is_not_listed(storage, tmp_path):
    storage.put("raw/a.csv", b"1")
    os.mkfifo(tmp_path / "lake/raw/pipe.csv")
    assert keys(storage) == ["raw/a.csv"]
    assert storage.info("raw/pipe.csv") is None


def test_a_write_left_by_a_kill_is_hidden_and_removed_after_an_hour(storage, tmp_path):
    storage.put("a/b", b"1")
    fresh, stale, foreign = (
        tmp_path / "lake/a" / name for name in (f".tmp-{uuid.uuid4().hex}", f".tmp-{uuid.uuid4().hex}", ".tmp-x")
    )
    for path in (fresh, stale, foreign):
        path.write_text("half")
    os.utime(stale, (0, 0))
    os.utime(foreign, (0, 0))
    assert keys(storage) == ["a/.tmp-x", "a/b"]
    assert fresh.exists()
    assert not stale.exists()


def test_a_published_file_leaves_the_staging_folder(storage, tmp_path):
    file = storage.stage("clean/part-csv-1.parquet", "csv")
    file.write(b"rows")
    done = file.finish()
    assert storage.publish(done) is Published.NOW
    assert storage.publish(done) is Published.ALREADY
    assert list((tmp_path / "lake/_staging/csv").iterdir()) == []


def test_another_file_in_the_place_of_a_published_one_is_an_error(storage):
    file = storage.stage("clean/part-csv-1.parquet", "csv")
    done = file.finish()
    storage.discard(done)
    storage.put(done.key, b"somebody else's")
    with pytest.raises(SinkError, match="has 15 bytes where 0 were written"):
        storage.publish(done)


def test_a_file_in_the_place_of_a_folder_is_explained(storage):
    storage.put("a", b"1")
    with pytest.raises(SinkError, match=r"a/b: .*"):
        storage.put("a/b", b"1")
    assert storage.get("a/b") is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_explained(storage, tmp_path):
    (tmp_path / "lake").mkdir(mode=0o500)
    with pytest.raises(SinkError, match="give the service's user access"):
        storage.put("a", b"1")


def test_a_full_disk_is_explained_and_leaves_no_half_file(storage):
    with (
        Path("/dev/full").open("wb", buffering=0) as full,
        pytest.raises(SinkError, match="free some space"),
        _explained("x"),
    ):
        full.write(b"1")
    file = storage.stage("clean/part-csv-1.parquet", "csv")
    os.close(file._file.fileno())  # the next write to the disk fails
    with pytest.raises(SinkError, match=os.strerror(errno.EBADF)):
        file.write(b"1" * (1 << 20))
    assert list(storage.staged("csv", [""])) == []


def test_file_uris_are_decoded(tmp_path):
    assert open_storage(f"file://{tmp_path}/a%20b").uri == str(tmp_path / "a b")
    assert open_storage(f"file:{tmp_path}/a").uri == str(tmp_path / "a")
