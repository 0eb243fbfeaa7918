"""The storage contract: one suite over a local folder, S3 (moto's server in a child process) and the tests' own fake."""

from __future__ import annotations

import multiprocessing
import pickle
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from streaming_app.storage import Published, StagedFile, StorageOptions, open_storage
from streaming_app.storage.many import get_all
from tests.memory_storage import MemoryStorage
from tests.moto_server import CREDENTIALS, moto_server


@pytest.fixture(scope="module")
def aws():
    with moto_server() as server:
        server.client("s3").create_bucket(Bucket="lake")
        yield server


@pytest.fixture
def s3(aws, monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return open_storage(f"s3://lake/{uuid.uuid4().hex}/root", StorageOptions(endpoint_url=aws.url, path_style=True))


@pytest.fixture(params=["local", "s3", "memory"])
def storage(request, tmp_path):
    match request.param:
        case "local":
            return open_storage(f"file://{tmp_path}/a lake")
        case "s3":
            return request.getfixturevalue("s3")
        case _:
            return MemoryStorage()


def name(owner="kinesis"):
    return f"clean/day=1/part-{owner}-{uuid.uuid4().hex}.parquet"


def staged(storage, data=b"rows", owner="kinesis"):
    file = storage.stage(name(owner), owner)
    file.write(data)
    return StagedFile.from_json(file.finish().to_json())


def keys(storage, prefix=""):
    return [item.key for item in storage.list(prefix)]


def test_what_was_put_is_read_back_and_can_be_replaced(storage):
    storage.put("a/b.json", b"one")
    storage.put("a/b.json", b"two!")
    assert storage.get("a/b.json") == b"two!"
    assert storage.info("a/b.json").size == 4


def test_what_is_not_there_is_none_and_not_an_error(storage):
    storage.put("a/b", b"1")
    assert storage.get("a/c") is None
    assert storage.get("a") is None
    assert storage.info("a") is None
    assert keys(storage, "nowhere") == []
    storage.delete(["a/c", "nowhere/at/all"])
    with pytest.raises(FileNotFoundError):
        storage.open("a/c")


def test_an_object_is_written_if_absent_only_once(storage):
    assert storage.put_if_absent("log/1.json", b"first")
    assert not storage.put_if_absent("log/1.json", b"second")
    assert storage.get("log/1.json") == b"first"


def test_an_object_is_written_if_absent_again_after_it_was_deleted(storage):
    assert storage.put_if_absent("log/1.json", b"first")
    storage.delete(["log/1.json"])
    assert storage.put_if_absent("log/1.json", b"second")


def test_of_many_threads_one_writes_and_all_read_its_bytes(storage):
    with ThreadPoolExecutor(8) as pool:
        for number in range(5):
            key = f"race/{number}"
            won = list(pool.map(lambda who, key=key: storage.put_if_absent(key, b"%d" % who * 1000), range(8)))
            assert won.count(True) == 1
            assert storage.get(key) == b"%d" % won.index(True) * 1000


def race(storage, who, start, results):
    start.wait()
    results.put((who, [storage.put_if_absent(f"race/{number}", b"%d" % who) for number in range(10)]))


@pytest.mark.parametrize(("kind", "method"), [("local", "fork"), ("local", "spawn"), ("s3", "fork")])
def test_of_many_processes_one_writes(kind, method, request, tmp_path):
    storage = request.getfixturevalue("s3") if kind == "s3" else open_storage(str(tmp_path))
    storage.put("before", b"the parent's client is in use before the fork")
    context = multiprocessing.get_context(method)
    start, results = context.Barrier(3), context.Queue()
    children = [context.Process(target=race, args=(storage, who, start, results)) for who in range(3)]
    for child in children:
        child.start()
    found = dict(results.get(timeout=60) for _ in children)
    for child in children:
        child.join()
    for number in range(10):
        winners = [who for who in found if found[who][number]]
        assert len(winners) == 1
        assert storage.get(f"race/{number}") == b"%d" % winners[0]


def test_a_listing_is_in_order_of_key_below_a_folder_only(storage):
    names = ["a/b/c", "a/b.txt", "a/b-c", "a/z", "a/b/a", "ab/x", "a/é", "a/Z"]
    for key in names:
        storage.put(key, key.encode())
    expected = sorted((key for key in names if key.startswith("a/")), key=str.encode)
    assert keys(storage, "a") == keys(storage, "a/") == expected
    assert keys(storage) == sorted(names, key=str.encode)
    assert keys(storage, "a/b") == ["a/b/a", "a/b/c"]
    assert all(item.size == len(item.key.encode()) for item in storage.list(""))


def test_odd_characters_in_keys_survive(storage):
    odd = [
        "a b/c+d%20e&f=g?h#i.csv",
        "día=é/注文.csv",
        "quote'\"\\<>.csv",
        "~$!,;@[]{}^`|*.csv",
        "a\tb",
        " lead",
        "-x",
        "...",
    ]
    for key in odd:
        storage.put(key, b"1")
        assert storage.get(key) == b"1"
    assert keys(storage) == sorted(odd)
    assert list(get_all(storage, [*odd, "none"])) == [b"1"] * len(odd) + [None]
    storage.delete(odd)
    assert keys(storage) == []


def test_the_tag_changes_with_the_content(storage):
    storage.put("raw/a.csv", b"one")
    before = storage.info("raw/a.csv")
    storage.put("raw/a.csv", b"two")
    assert storage.info("raw/a.csv").etag != before.etag
    listed = next(iter(storage.list("raw")))
    assert listed.etag == storage.info("raw/a.csv").etag


def test_more_than_a_page_of_keys_is_listed_and_deleted(storage):
    many = [f"many/{number:05d}" for number in range(1050)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: storage.put(key, b""), many))
    assert keys(storage, "many") == many
    storage.delete(iter(many))
    assert keys(storage, "many") == []


@pytest.mark.parametrize("size", [0, 1, (8 << 20) - 1, 8 << 20, (17 << 20) + 3])
def test_a_staged_file_is_invisible_until_it_is_published_whole(storage, size):
    data = bytes(range(251)) * (size // 251 + 1)
    file = staged(storage, data[:size])
    assert file.size == size
    assert keys(storage) == []
    assert storage.get(file.key) is None
    assert storage.publish(file) is Published.NOW
    assert storage.get(file.key) == data[:size]
    assert keys(storage) == [file.key]


def test_a_file_is_the_same_however_it_was_written(storage):
    file = storage.stage(name(), "kinesis")
    pieces = [b"a" * 3, b"", b"b" * (9 << 20), memoryview(b"c" * 5), b"d" * (8 << 20)]
    for piece in pieces:
        assert file.write(piece) == len(piece)
    done = file.finish()
    storage.publish(done)
    assert storage.get(done.key) == b"".join(pieces)


def test_publishing_again_finds_the_file_published(storage):
    file = staged(storage)
    assert storage.publish(file) is Published.NOW
    assert storage.publish(file) in {Published.NOW, Published.ALREADY}  # S3 itself may say that it is done now
    assert storage.get(file.key) == b"rows"


def test_a_discarded_file_is_gone_for_publishing(storage):
    file = staged(storage)
    storage.discard(file)
    storage.discard(file)
    assert storage.publish(file) is Published.GONE
    assert keys(storage) == []


def test_discarding_does_not_touch_what_was_published(storage):
    file = staged(storage)
    storage.publish(file)
    storage.discard(file)
    assert storage.get(file.key) == b"rows"
    assert storage.publish(file) in {Published.NOW, Published.ALREADY}


def test_an_aborted_file_leaves_nothing(storage):
    for written in (b"", b"some", b"x" * (9 << 20)):
        file = storage.stage(name(), "kinesis")
        file.write(written)
        file.abort()
        file.abort()
    assert keys(storage) == []
    assert list(storage.staged("kinesis", ["clean"])) == []


def test_an_owner_finds_its_own_orphans_only(storage):
    mine, published, discarded, other = staged(storage), staged(storage), staged(storage), staged(storage, owner="csv")
    storage.publish(published)
    storage.discard(discarded)
    orphans = list(storage.staged("kinesis", ["clean", "dead_letter"]))
    assert len(orphans) == 1
    storage.discard(StagedFile.from_json(orphans[0].to_json()))
    assert list(storage.staged("kinesis", ["clean", "dead_letter"])) == []
    assert storage.publish(mine) is Published.GONE
    assert storage.publish(other) is Published.NOW


def test_a_copy_is_whole_replaces_what_was_there_and_outlives_the_original(storage):
    storage.put("a/one", b"first")
    storage.put("b/two", b"second")
    storage.copy("a/one", "b/two")
    storage.copy("a/one", "b/two")
    storage.copy("a/one", "c/deep/three")
    storage.put("a/one", b"changed")
    storage.delete(["a/one"])
    assert (storage.get("b/two"), storage.get("c/deep/three")) == (b"first", b"first")
    assert [info.key for info in storage.list("")] == ["b/two", "c/deep/three"]
    with pytest.raises(FileNotFoundError):
        storage.copy("a/one", "b/two")
    assert storage.get("b/two") == b"first"


def test_what_was_abandoned_is_found_whoever_began_it_by_its_age(storage):
    handles = [staged(storage, owner=owner) for owner in ("kinesis", "compact")]
    published = staged(storage, owner="csv")
    storage.publish(published)
    now = datetime.now(UTC)
    long_ago = datetime(2000, 1, 1, tzinfo=UTC)  # moto says that every upload began in 2010
    assert list(storage.abandoned(["clean"], long_ago)) == []
    found = list(storage.abandoned(["clean"], now + timedelta(hours=1)))
    assert len(found) == 2
    for file in found:
        storage.discard(file)
    assert [storage.publish(handle) for handle in handles] == [Published.GONE, Published.GONE]
    assert list(storage.abandoned(["clean"], now + timedelta(hours=1))) == []


def test_a_file_whose_name_hides_its_owner_is_refused(storage):
    for key, owner in (
        ("clean/part-1.parquet", "kinesis"),
        ("a-kinesis-b/part-1", "kinesis"),
        ("p-a/b-1", "a/b"),
        ("p---", "-"),
    ):
        with pytest.raises(ValueError, match="-"):
            storage.stage(key, owner)


def test_parquet_can_be_written_and_csv_streamed(storage):
    table = pa.table({"n": list(range(100_000))})
    file = storage.stage(name(), "kinesis")
    sink = pa.PythonFile(file, mode="w")
    pq.write_table(table, sink)
    done = file.finish()
    storage.publish(done)
    assert pq.read_table(pa.BufferReader(storage.get(done.key))) == table
    storage.put("raw/a.csv", b"a,b\n" + b"1,2\n" * 500_000)
    with storage.open("raw/a.csv") as stream:
        assert sum(batch.num_rows for batch in pa_csv.open_csv(stream)) == 500_000


def test_a_stream_reads_to_the_end_in_any_steps(storage):
    data = bytes(range(256)) * 9000
    storage.put("a", data)
    with storage.open("a") as stream:
        read = [stream.read(1), stream.read(100_000), stream.read(), stream.read(5)]
    assert b"".join(read) == data
    assert [len(piece) for piece in read] == [1, 100_000, len(data) - 100_001, 0]


def test_storage_is_small_to_pickle(s3, tmp_path):
    for storage in (s3, open_storage(str(tmp_path))):
        storage.put("a", b"1")
        copy = pickle.dumps(storage)
        assert len(copy) < 1000
        assert pickle.loads(copy).get("a") == b"1"  # noqa: S301


def test_times_of_change_do_not_go_back(storage):
    for number in range(3):
        storage.put(f"{number}", b"")
    times = [item.modified for item in storage.list("")]
    assert all(one <= other for one, other in pairwise(times))
    assert times[0].tzinfo is not None
