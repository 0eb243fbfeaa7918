"""`compact`, `vacuum` and every command that reads, on Iceberg lakes: folders alone (hadoop), and Glue and S3 (moto's)."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections import Counter
from pathlib import Path

import pytest

from batch_app.audit import Kind, audit
from batch_app.cli import main
from batch_app.dead_letters.replay import Replayer
from batch_app.dead_letters.selection import Selection
from batch_app.tables import open_iceberg
from streaming_app.schema import InputSource
from streaming_app.storage import StorageOptions
from tests.audit_lake import LakeBuilder, healthy_lake, numbers, shard_read
from tests.dead_lake import NoAtlantis, dead_lake
from tests.moto_server import CREDENTIALS, REGION, moto_server

pytest.importorskip("pyiceberg")
TABLES = ("clean", "dead_letter")


@pytest.fixture(scope="module")
def aws():
    with pytest.MonkeyPatch.context() as environment, moto_server() as server:
        for name, value in CREDENTIALS.items():
            environment.setenv(name, value)
        yield server


def namespace() -> str:
    return f"n{uuid.uuid4().hex[:8]}"


def in_glue(aws, root: str, orders, storage: StorageOptions | None = None) -> LakeBuilder:
    settings = {"type": "glue", "namespace": namespace(), "region": REGION, "endpoint_url": aws.url}
    return healthy_lake(root, orders, storage, settings)


@pytest.fixture
def local(tmp_path, orders) -> LakeBuilder:
    return healthy_lake(str(tmp_path / "lake"), orders, None, {"type": "hadoop", "namespace": namespace()})


@pytest.fixture
def glue(aws, tmp_path, orders) -> LakeBuilder:
    return in_glue(aws, str(tmp_path / "lake"), orders)


@pytest.fixture(params=["local", "s3"])
def lake(request, tmp_path, orders) -> LakeBuilder:
    if request.param == "local":
        return request.getfixturevalue("local")
    aws = request.getfixturevalue("aws")
    bucket = f"lake-{uuid.uuid4().hex[:8]}"
    aws.client("s3").create_bucket(Bucket=bucket)
    return in_glue(aws, f"s3://{bucket}/a/lake", orders, StorageOptions(aws.url, REGION, path_style=True))


def run(lake: LakeBuilder, folder: Path, capsys, *arguments: str):
    capsys.readouterr()
    json_format = ["--format", "json"] if arguments[0] == "dead-letters" else ["--json"]
    assert main([*arguments, "--config", lake.config_file(folder), *json_format]) == 0
    return json.loads(capsys.readouterr().out)


def compact(lake: LakeBuilder, folder: Path, capsys, *arguments: str) -> dict:
    return run(lake, folder, capsys, "compact", "--min-files", "2", *(arguments or ("--all",)))


def tables(lake: LakeBuilder, folder: Path):
    return open_iceberg(lake.loaded(folder)[0])


def table(lake: LakeBuilder, folder: Path, name: str):
    return tables(lake, folder)._load(name)


def rows(lake: LakeBuilder, folder: Path) -> Counter[str]:
    """Source positions as pyiceberg reads the tables."""
    return Counter(
        position
        for name in TABLES
        for position in table(lake, folder, name).scan().to_arrow()["source_position"].to_pylist()
    )


def files(lake: LakeBuilder) -> set[str]:
    return {info.key for name in TABLES for info in lake.lake().list(name)}


def current(lake: LakeBuilder, folder: Path) -> set[str]:
    return {key for name in TABLES for key in tables(lake, folder).current(name)}


def audited(lake: LakeBuilder, folder: Path):
    return audit(*lake.loaded(folder), settled=True)


def test_compaction_is_one_commit_a_partition_and_replaced_files_stay_for_earlier_snapshots(lake, tmp_path, capsys):
    before, listed = rows(lake, tmp_path), files(lake)
    assert set(before.values()) == {1}
    earlier = {name: table(lake, tmp_path, name).metadata.snapshots for name in TABLES}
    planned = compact(lake, tmp_path, capsys, "--all", "--dry-run")
    assert files(lake) == listed
    outcome = compact(lake, tmp_path, capsys)
    for name in (
        "partitions",
        "compacted_partitions",
        "files_before",
        "files_after",
        "replaced_files",
        "written_files",
    ):
        assert planned[name] == outcome[name], name
    assert (outcome["files_after"], outcome["skipped"]) == (6, [])
    assert rows(lake, tmp_path) == before
    assert listed <= files(lake)
    assert len(current(lake, tmp_path)) == 6
    for name in TABLES:
        made = table(lake, tmp_path, name)
        new = made.metadata.snapshots[len(earlier[name]) :]
        assert {snapshot.summary.operation.value for snapshot in new} == {"replace"}
        assert {snapshot.summary["qsr.source"] for snapshot in new} == {"compact"}
        old = made.scan(snapshot_id=earlier[name][-1].snapshot_id).to_arrow()
        assert old.num_rows == made.scan().to_arrow().num_rows  # the way it was, on the files as they were
    assert compact(lake, tmp_path, capsys)["replaced_files"] == 0


def test_the_audit_proves_a_compacted_table_row_by_row_and_again_after_more_batches(lake, tmp_path, capsys):
    before = audited(lake, tmp_path)
    assert before.ok, before.differences
    compact(lake, tmp_path, capsys)
    after = audited(lake, tmp_path)
    assert after.ok, after.differences
    assert [(source.rows_checked, source.clean, source.dead) for source in after.sources] == [
        (source.rows_checked, source.clean, source.dead) for source in before.sources
    ]
    assert all(source.compacted == source.files for source in after.sources if source.files)
    go_on(lake)
    compact(lake, tmp_path, capsys)
    assert audited(lake, tmp_path).ok
    vacuum(lake, tmp_path, capsys)
    assert audited(lake, tmp_path).ok


def go_on(lake: LakeBuilder) -> None:
    more = numbers(3000, 8)
    position = f"AFTER:{numbers(2000, 12)[-1]}"
    idle = [("shard-1", f"AFTER:{numbers(1000, 10)[-1]}"), ("shard-3", "TRIM_HORIZON")]
    nothing = [(shard_read(shard, start, []), []) for shard, start in idle]
    lake.commit_shards([*nothing, (shard_read("shard-2", position, more), more)])


def vacuum(lake: LakeBuilder, folder: Path, capsys, *arguments: str) -> dict:
    return run(lake, folder, capsys, "vacuum", *(arguments or ("--grace", "0s")))


def test_vacuum_expires_snapshots_and_removes_only_files_that_none_names(lake, tmp_path, capsys):
    before, listed = rows(lake, tmp_path), files(lake)
    nothing = vacuum(lake, tmp_path, capsys)
    assert (nothing["replaced"]["files"], nothing["orphans"]["files"], nothing["taken_out"]) == (0, 0, [])
    assert files(lake) == listed
    compact(lake, tmp_path, capsys)
    kept = vacuum(lake, tmp_path, capsys, "--grace", "1h")
    assert (kept["expired"], kept["replaced"]["files"]) == (0, 0)
    planned = vacuum(lake, tmp_path, capsys, "--grace", "0s", "--dry-run")
    assert len(files(lake)) > 6
    done = vacuum(lake, tmp_path, capsys)
    assert {name: done[name] for name in done if name != "dry_run"} == {
        name: planned[name] for name in planned if name != "dry_run"
    }
    assert done["expired"] > 0
    assert (done["replaced"]["files"], done["orphans"]["files"]) == (len(listed), 0)
    assert files(lake) == current(lake, tmp_path)
    assert rows(lake, tmp_path) == before
    assert [len(table(lake, tmp_path, name).metadata.snapshots) for name in TABLES] == [1, 1]
    assert audited(lake, tmp_path).ok


def test_what_was_current_within_the_grace_period_stays_readable(local, tmp_path, capsys):
    """A snapshot that is old, but was replaced a moment ago, still has readers."""
    snapshots = table(local, tmp_path, "clean").metadata.snapshots
    moment = time.time()
    compact(local, tmp_path, capsys, "--table", "clean")
    assert tables(local, tmp_path).expire(moment, dry_run=True) == tables(local, tmp_path).expire(moment)
    made = table(local, tmp_path, "clean")
    kept = [snapshot.snapshot_id for snapshot in made.metadata.snapshots]
    assert snapshots[-1].snapshot_id in kept
    assert snapshots[-2].snapshot_id not in kept
    assert made.scan(snapshot_id=snapshots[-1].snapshot_id).to_arrow().num_rows == made.scan().to_arrow().num_rows


def test_a_snapshot_that_was_made_current_again_stays_however_old_it_is(local, tmp_path, capsys):
    made = table(local, tmp_path, "clean")
    old = made.metadata.snapshots[0].snapshot_id
    moment = time.time()
    made.manage_snapshots().rollback_to_snapshot(old).commit()  # by people, who then think better of it
    made = table(local, tmp_path, "clean")
    made.manage_snapshots().set_current_snapshot(made.metadata.snapshots[-1].snapshot_id).commit()
    assert tables(local, tmp_path).expire(moment) > 0
    assert old in {snapshot.snapshot_id for snapshot in table(local, tmp_path, "clean").metadata.snapshots}


def test_what_a_tag_names_stays(local, tmp_path, capsys):
    made = table(local, tmp_path, "clean")
    snapshot = made.current_snapshot().snapshot_id
    made.manage_snapshots().create_tag(snapshot, "kept").commit()
    before = rows(local, tmp_path)
    compact(local, tmp_path, capsys)
    vacuum(local, tmp_path, capsys)
    made = table(local, tmp_path, "clean")
    assert made.scan(snapshot_id=snapshot).to_arrow().num_rows == made.scan().to_arrow().num_rows
    assert rows(local, tmp_path) == before


def test_vacuum_leaves_files_of_a_batch_that_is_not_published_and_removes_those_of_nobody(local, tmp_path, capsys):
    compact(local, tmp_path, capsys)
    Path(local.root, "checkpoints/kinesis/ledger/published.json").write_text('{"through": 1}')
    stranger = Path(
        local.root, "clean/input_source=stream/order_date=2026-03-01", f"part-kinesis-{uuid.uuid4().hex}.parquet"
    )
    stranger.write_bytes(b"rows of nobody")
    done = vacuum(local, tmp_path, capsys)
    assert done["orphans"]["files"] == 1
    assert not stranger.exists()
    entry = json.loads(next(Path(local.root, "checkpoints/kinesis/ledger/entries/open").glob("*2.json")).read_text())
    assert {file["key"] for file in entry["files"]} <= files(local)


def test_metadata_that_nothing_needs_goes_once_no_commit_can_be_under_way(local, tmp_path, capsys):
    for _ in range(3):
        go_on_with_files(local)
    left = Path(local.root, "iceberg", local.iceberg["namespace"], "clean/metadata/of-a-commit-that-failed-m0.avro")
    left.write_bytes(b"manifest")
    assert vacuum(local, tmp_path, capsys)["metadata"]["files"] == 0  # all of them are young
    old = time.time() - 7200
    for file in Path(local.root, "iceberg").rglob("*"):
        os.utime(file, (old, old))
    before = rows(local, tmp_path)
    assert vacuum(local, tmp_path, capsys)["metadata"]["files"] > 1
    assert not left.exists()
    assert rows(local, tmp_path) == before
    assert vacuum(local, tmp_path, capsys)["metadata"]["files"] == 0


def go_on_with_files(lake: LakeBuilder) -> None:
    from tests.audit_lake import file_read

    lake.commit_files([file_read(f"more-{uuid.uuid4().hex}.csv", 5)])


def test_a_file_that_an_engine_took_out_of_the_table_is_missed_by_the_audit_and_left_by_vacuum(local, tmp_path, capsys):
    made = table(local, tmp_path, "clean")
    made.delete("input_source = 'batch'")
    taken = {key for key in files(local) if key.startswith("clean/input_source=batch/")}
    done = vacuum(local, tmp_path, capsys)
    assert set(done["taken_out"]) == taken
    assert taken <= files(local)
    kinds = {finding.kind for finding in audited(local, tmp_path).differences}
    assert kinds == {Kind.MISSING_FILE}


def test_readers_beside_the_table_count_no_row_twice_while_replaced_files_are_there(lake, tmp_path, capsys):
    sql = "SELECT source_position, count(*) n FROM (SELECT source_position FROM clean UNION ALL SELECT source_position FROM dead_letter) GROUP BY 1"
    before = run(lake, tmp_path, capsys, "query", sql)
    dead = run(lake, tmp_path, capsys, "dead-letters", "list", "--limit", "1000")
    position = next(row["source_position"] for row in before)
    traced = run(lake, tmp_path, capsys, "trace", position)
    compact(lake, tmp_path, capsys)
    assert sorted(map(str, run(lake, tmp_path, capsys, "query", sql))) == sorted(map(str, before))
    assert {row["n"] for row in before} == {1}
    again = run(lake, tmp_path, capsys, "dead-letters", "list", "--limit", "1000")
    assert [item["dead_letter_id"] for item in again] == [item["dead_letter_id"] for item in dead]
    places = run(lake, tmp_path, capsys, "trace", position)["rows"][0]["places"]
    assert len(places) == len(traced["rows"][0]["places"]) == 1
    assert "compaction" in places[0]


def test_dead_letters_are_discarded_once_in_a_compacted_table(local, tmp_path, capsys):
    compact(local, tmp_path, capsys)
    done = run(local, tmp_path, capsys, "dead-letters", "discard", "--everything", "--because", "old")
    report = audited(local, tmp_path)
    assert report.ok, report.differences
    assert sum(source.discarded for source in report.sources) == done["selected"] == done["passed"] > 0


def test_dead_letters_are_replayed_once_in_a_compacted_table_and_proved_through_the_next(tmp_path, orders, capsys):
    lake = dead_lake(str(tmp_path / "lake"), orders, None, {"type": "hadoop", "namespace": "qsr"})
    compact(lake, tmp_path, capsys)
    before = rows(lake, tmp_path)
    for passed in (4, 0):
        opened = lake.opened(tmp_path)
        options = {InputSource.STREAM: lake.options("kinesis"), InputSource.BATCH: lake.options("csv")}
        replayer = Replayer(opened.letters, opened.book, lake.lake(), NoAtlantis(orders), options)
        assert replayer.run(Selection(stages=("rule",))).passed == passed
    after = rows(lake, tmp_path)
    assert sorted((after - before).values()) == [1] * 4  # clean rows now, and dead letters as before
    for command in (["compact", "--all", "--min-files", "2"], ["vacuum", "--grace", "0s"]):
        run(lake, tmp_path, capsys, *command)
        assert rows(lake, tmp_path) == after
        report = audited(lake, tmp_path)
        assert report.ok, report.differences
        assert sum(source.replayed for source in report.sources) == 4
    assert files(lake) == current(lake, tmp_path)


def test_a_lake_of_plain_parquet_becomes_an_iceberg_table_by_sync(tmp_path, orders, capsys):
    lake = healthy_lake(str(tmp_path / "lake"), orders)
    assert (
        main(["compact", "--config", lake.config_file(tmp_path), "--all", "--table", "dead_letter", "--min-files", "2"])
        == 0
    )
    go_on(lake)
    lake.iceberg = {"type": "hadoop", "namespace": "qsr"}
    assert {finding.kind for finding in audited(lake, tmp_path).differences} >= {Kind.MISSING_FILE}
    planned = run(lake, tmp_path, capsys, "catalog", "sync", "--dry-run")
    done = run(lake, tmp_path, capsys, "catalog", "sync")
    assert done == {**planned, "dry_run": False}
    assert sum(done["files"].values()) == len(files(lake)) == len(current(lake, tmp_path))
    report = audited(lake, tmp_path)
    assert report.ok, report.differences
    go_on_with_files(lake)
    compact(lake, tmp_path, capsys)
    vacuum(lake, tmp_path, capsys)
    assert audited(lake, tmp_path).ok
    again = run(lake, tmp_path, capsys, "catalog", "sync")
    assert (again["files"], again["kept"]) == ({}, ["clean", "dead_letter"])


def test_a_table_beside_plain_tables_in_glue_is_refused_before_anything_is_touched(local, tmp_path, capsys):
    before = files(local)
    more = [
        "--set",
        "catalog.type=glue",
        "--set",
        "catalog.database=plain",
        "--set",
        "lake.root=s3://no-such-bucket/lake",
    ]
    for command in (["compact", "--all", "--dry-run"], ["vacuum"]):
        assert main([*command, "--config", local.config_file(tmp_path), *more]) == 2
        assert "drop the plain tables" in capsys.readouterr().err
    assert files(local) == before


def test_a_catalog_that_is_away_fails_compaction_and_the_next_run_goes_on(glue, aws, tmp_path, capsys):
    before = rows(glue, tmp_path)
    aws.fail("POST", "AWSGlue.UpdateTable", status=400, code="AccessDeniedException", times=-1)
    try:
        assert main(["compact", "--all", "--min-files", "2", "--config", glue.config_file(tmp_path)]) == 6
        assert "it goes on where it was" in capsys.readouterr().err
    finally:
        aws.heal()
    assert rows(glue, tmp_path) == before
    notices = audit(*glue.loaded(tmp_path))
    assert notices.ok, notices.differences
    assert Kind.UNFINISHED in {finding.kind for finding in notices.notices}
    assert compact(glue, tmp_path, capsys)["finished"] == [0]
    assert rows(glue, tmp_path) == before
    assert audited(glue, tmp_path).ok


def test_answers_that_get_lost_replace_files_once(glue, aws, tmp_path, capsys):
    before = rows(glue, tmp_path)
    aws.fail("POST", "AWSGlue.UpdateTable", done=True, times=3)
    try:
        compact(glue, tmp_path, capsys)
    finally:
        aws.heal()
    assert rows(glue, tmp_path) == before
    assert len(current(glue, tmp_path)) == 6
    assert audited(glue, tmp_path).ok
