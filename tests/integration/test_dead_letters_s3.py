"""The same commands on S3, and the audit of replays: what somebody damages is found and named."""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_app.audit import Kind, audit
from batch_app.cli import main
from batch_app.dead_letters.book import Book
from batch_app.dead_letters.replay import Replayer
from batch_app.dead_letters.selection import Selection
from streaming_app.schema import InputSource
from streaming_app.storage import StorageOptions
from tests.dead_lake import DeadLake, NoAtlantis, dead_lake
from tests.moto_server import CREDENTIALS, REGION, moto_server


def replay(lake: DeadLake, folder: Path, selection: Selection) -> int:
    opened = lake.opened(folder)
    options = {InputSource.STREAM: lake.options("kinesis"), InputSource.BATCH: lake.options("csv")}
    judge = NoAtlantis(lake.dataset)
    return Replayer(opened.letters, opened.book, lake.lake(), judge, options).run(selection).passed


@pytest.fixture(scope="module")
def aws():
    with pytest.MonkeyPatch.context() as environment, moto_server() as server:
        for name, value in CREDENTIALS.items():
            environment.setenv(name, value)
        yield server


@pytest.fixture
def s3_lake(aws, orders) -> DeadLake:
    bucket = f"lake-{uuid.uuid4().hex[:8]}"
    aws.client("s3").create_bucket(Bucket=bucket)
    return dead_lake(f"s3://{bucket}/a/lake", orders, StorageOptions(aws.url, REGION, path_style=True))


def test_dead_letters_on_s3_are_counted_listed_replayed_and_audited(s3_lake, tmp_path, capsys):
    def run(*arguments: str) -> str:
        name, *others = arguments
        assert main(["dead-letters", name, "--config", s3_lake.config_file(tmp_path), *others]) == 0
        return capsys.readouterr().out

    assert json.loads(run("summary", "--format", "json"))["open"] == 11
    (found,) = json.loads(run("list", "--text", "atlantis", "--format", "json"))
    assert "Atlantis" in run("show", found["dead_letter_id"][:10])
    assert replay(s3_lake, tmp_path, Selection(stages=("rule", "cast"))) == 5
    assert replay(s3_lake, tmp_path, Selection(stages=("rule", "cast"))) == 0
    assert "1 of 1 discarded" in run("discard", "--text", "atlantis", "--because", "no such city")
    found = json.loads(run("summary", "--format", "json"))
    assert (found["open"], found["replayed"], found["discarded"]) == (5, 5, 1)
    report = audit(*s3_lake.loaded(tmp_path), settled=True)
    assert report.ok, report.differences
    assert {source.source: (source.replayed, source.discarded) for source in report.sources} == {
        "kinesis": (3, 1),
        "csv": (2, 0),
    }
    assert not list(s3_lake.lake().staged("replay", ["clean"]))


@pytest.fixture(scope="module")
def template(tmp_path_factory, orders) -> DeadLake:
    folder = tmp_path_factory.mktemp("template")
    lake = dead_lake(str(folder / "lake"), orders)
    assert replay(lake, folder, Selection(stages=("rule", "cast"))) == 5
    return lake


@pytest.fixture
def lake(template, tmp_path) -> DeadLake:
    shutil.copytree(template.root, tmp_path / "lake")
    return DeadLake(str(tmp_path / "lake"), template.dataset)


def kinds(lake: DeadLake, folder: Path) -> set[Kind]:
    return {found.kind for found in audit(*lake.loaded(folder), settled=True).differences}


def some_file(lake: DeadLake) -> Path:
    return max(Path(lake.root, "clean").rglob("part-replay-*.parquet"), key=lambda path: path.stat().st_size)


def change(lake: DeadLake, positions) -> None:
    file = some_file(lake)
    table = pq.ParquetFile(file).read()
    texts = positions(table["source_position"].to_pylist())
    place = table.schema.get_field_index("source_position")
    table = table.slice(0, len(texts)).set_column(place, "source_position", pa.array(texts, pa.string()))
    pq.write_table(table, file)


def test_lake_with_replays_has_no_difference(lake, tmp_path):
    assert audit(*lake.loaded(tmp_path), settled=True).ok


def test_replayed_file_that_is_gone(lake, tmp_path):
    some_file(lake).unlink()
    assert kinds(lake, tmp_path) == {Kind.MISSING_FILE}


def test_replayed_file_that_is_damaged(lake, tmp_path):
    some_file(lake).write_bytes(b"x")
    assert kinds(lake, tmp_path) == {Kind.FILE_SIZE, Kind.UNREADABLE_FILE}


@pytest.mark.parametrize(
    ("positions", "expected"),
    [
        (lambda texts: [texts[0]] * len(texts), {Kind.DUPLICATE_ROWS, Kind.MISSING_ROWS}),
        (lambda texts: ["elsewhere:1", *texts[1:]], {Kind.UNKNOWN_ROWS, Kind.MISSING_ROWS}),
        (lambda texts: texts[1:], {Kind.MISSING_ROWS}),
    ],
)
def test_replayed_rows_that_were_changed(lake, tmp_path, positions, expected):
    change(lake, positions)
    assert kinds(lake, tmp_path) - {Kind.FILE_SIZE} == expected


def test_book_that_is_gone_leaves_replayed_files_as_orphans(lake, tmp_path):
    shutil.rmtree(Path(lake.root, "checkpoints/dead_letters"))
    assert kinds(lake, tmp_path) == {Kind.ORPHAN_FILE}


def test_book_with_a_hole_or_without_its_ids_is_named(lake, tmp_path, capsys):
    first = next(Path(lake.root, "checkpoints/dead_letters/ids").iterdir())
    first.unlink()
    assert Kind.COUNTS in kinds(lake, tmp_path)
    assert main(["dead-letters", "summary", "--config", lake.config_file(tmp_path)]) == 6
    assert "restore it from a backup" in capsys.readouterr().err
    Path(lake.root, f"checkpoints/dead_letters/actions/open/{0:020d}.json").unlink()
    assert main(["dead-letters", "list", "--config", lake.config_file(tmp_path)]) == 6
    assert "but not entry 0" in capsys.readouterr().err


def test_dead_letter_that_was_replayed_must_be_there(lake, tmp_path):
    for file in Path(lake.root, "dead_letter/input_source=stream").rglob("*.parquet"):
        file.unlink()
    assert kinds(lake, tmp_path) == {Kind.MISSING_FILE, Kind.UNKNOWN_ROWS}


def test_replay_that_was_cut_off_is_to_be_finished(lake, tmp_path):
    book = Book(lake.opened(tmp_path).book._storage, lake.lake())
    book._storage.put("published.json", b'{"through": -1}')
    assert audit(*lake.loaded(tmp_path), settled=True).ok
    some_file(lake).unlink()
    assert kinds(lake, tmp_path) == {Kind.UNFINISHED}
    assert audit(*lake.loaded(tmp_path)).ok
