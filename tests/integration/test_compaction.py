"""`compact` on lakes that the sink wrote, local and on S3; the audit proves them as before, and finds what somebody damages."""

from __future__ import annotations

import json
import shutil
import uuid
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from batch_app.audit import Kind, audit
from batch_app.cli import main
from batch_app.compaction.engine import Outcome
from batch_app.compaction.plan import Planned, Wanted
from batch_app.compaction.run import show
from batch_app.query.duckdb_engine import ask as query
from batch_app.query.run import _begun
from batch_app.query.tables import open_tables
from streaming_app.storage import StorageOptions, open_storage
from tests.audit_lake import LakeBuilder, healthy_lake, numbers, shard_read
from tests.compaction_lake import compact as compact_all
from tests.compaction_lake import compactor
from tests.memory_storage import Cut, CutOffStorage
from tests.moto_server import CREDENTIALS, REGION, moto_server


@pytest.fixture(scope="module")
def aws():
    with pytest.MonkeyPatch.context() as environment, moto_server() as server:
        for name, value in CREDENTIALS.items():
            environment.setenv(name, value)
        yield server


@pytest.fixture(params=["local", "s3"])
def lake(request, tmp_path, orders) -> LakeBuilder:
    if request.param == "local":
        return healthy_lake(str(tmp_path / "lake"), orders)
    server = request.getfixturevalue("aws")
    bucket = f"lake-{uuid.uuid4().hex[:8]}"
    server.client("s3").create_bucket(Bucket=bucket)
    return healthy_lake(f"s3://{bucket}/a/lake", orders, StorageOptions(server.url, REGION, path_style=True))


@pytest.fixture
def local(tmp_path, orders) -> LakeBuilder:
    return healthy_lake(str(tmp_path / "lake"), orders)


def compact(lake: LakeBuilder, folder: Path, capsys, *arguments: str) -> dict:
    more = arguments or ("--all",)
    assert main(["compact", "--config", lake.config_file(folder), "--min-files", "2", "--json", *more]) == 0
    return json.loads(capsys.readouterr().out)


def files(lake: LakeBuilder) -> list[str]:
    return [info.key for table in ("clean", "dead_letter") for info in lake.lake().list(table)]


def audited(lake: LakeBuilder, folder: Path):
    return audit(*lake.loaded(folder), settled=True)


def outputs(lake: LakeBuilder) -> list[Path]:
    return [Path(lake.root, key) for key in files(lake) if "part-compact-" in key]


def go_on(lake: LakeBuilder, begin: int) -> None:
    """One more batch of the stream."""
    more = numbers(begin, 10)
    before = "AFTER:" + str(numbers(2000, 12)[-1]) if begin == 3000 else f"AFTER:{numbers(begin - 1000, 10)[-1]}"
    nothing = [(shard_read(shard, start, []), []) for shard, start in _elsewhere()]
    lake.commit_shards([*nothing, (shard_read("shard-2", before, more), more)])


def _elsewhere():
    return [("shard-1", f"AFTER:{numbers(1000, 10)[-1]}"), ("shard-3", "TRIM_HORIZON")]


def test_a_compacted_lake_is_audited_row_by_row_as_before(lake, tmp_path, capsys):
    before = audited(lake, tmp_path)
    assert before.ok
    count = len(files(lake))
    outcome = compact(lake, tmp_path, capsys)
    assert (outcome["files_before"], outcome["files_after"]) == (count, len(files(lake)))
    assert outcome["files_after"] == outcome["partitions"] == 6
    after = audited(lake, tmp_path)
    assert after.ok, after.differences
    rows = [(source.rows_checked, source.clean, source.dead) for source in before.sources]
    assert [(source.rows_checked, source.clean, source.dead) for source in after.sources] == rows
    assert all(source.compacted == source.files for source in after.sources if source.files)


def test_a_lake_that_is_compacted_again_and_again_between_batches_stays_proved(lake, tmp_path, capsys):
    for begin in (3000, 4000, 5000):
        compact(lake, tmp_path, capsys)
        go_on(lake, begin)
        report = audited(lake, tmp_path)
        assert report.ok, report.differences
    assert compact(lake, tmp_path, capsys)["files_after"] == 6
    assert audited(lake, tmp_path).ok
    assert compact(lake, tmp_path, capsys)["replaced_files"] == 0


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(local, tmp_path, capsys):
    before = files(local)
    planned = compact(local, tmp_path, capsys, "--all", "--dry-run")
    assert files(local) == before
    assert not Path(local.root, "checkpoints/compaction").exists()
    done = compact(local, tmp_path, capsys)
    for name in (
        "partitions",
        "compacted_partitions",
        "files_before",
        "files_after",
        "replaced_files",
        "written_files",
    ):
        assert planned[name] == done[name], name


def test_the_plan_of_a_dry_run_names_each_partition(local, tmp_path, capsys):
    planned = compact(local, tmp_path, capsys, "--all", "--dry-run")["plan"]
    assert len(planned) == 6
    assert planned == sorted(planned, key=lambda part: part["folder"])
    for part in planned:
        inside = list(local.lake().list(part["folder"]))
        assert (part["files"], part["bytes"], part["into"]) == (len(inside), sum(info.size for info in inside), 1)
    arguments = ["compact", "--config", local.config_file(tmp_path), "--min-files", "2", "--all", "--dry-run"]
    assert main(arguments) == 0
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    for part in planned:
        table, source, day = (word.rpartition("=")[2] for word in part["folder"].split("/"))
        assert [table, source, day, str(part["files"]), "0.0", "1"] in shown


def test_a_long_plan_is_shown_in_part(capsys):
    plan = [Planned(f"clean/input_source=stream/order_date={day}", 9 + day, 1 << 20, 1) for day in range(60)]
    show(Outcome(dry_run=True, plan=plan))
    lines = capsys.readouterr().out.splitlines()
    assert "and 10 partitions more" in "".join(lines)
    assert len(lines) < 70


def test_outputs_of_a_compaction_are_compacted_again_to_a_larger_size_and_stay_proved(local, tmp_path, orders):
    """Each has a part of the rows of one file, so they share its moment."""
    book = open_storage(f"{local.root}/checkpoints/compaction")

    def compacted(target: int):
        made = compactor(local.lake(), book, orders, budget=1)
        small = replace(made.options, row_group_bytes=1, target_file_bytes=target)
        return compact_all(replace(made, options=small), Wanted(min_files=2))

    first = compacted(7500)
    assert first.written_files > 6  # more than one in some partitions
    again = compacted(1 << 20)
    assert (again.skipped, len(files(local))) == ([], 6)
    report = audited(local, tmp_path)
    assert report.ok, report.differences
    assert compacted(1 << 20).replaced_files == 0


def test_filters_leave_other_partitions_alone(local, tmp_path, capsys):
    outcome = compact(local, tmp_path, capsys, "--table", "clean", "--input-source", "stream", "--since", "2026-03-02")
    assert (outcome["partitions"], outcome["compacted_partitions"]) == (1, 1)
    made = [key for key in files(local) if "part-compact-" in key]
    assert [key.rsplit("/", 1)[0] for key in made] == ["clean/input_source=stream/order_date=2026-03-02"]


def test_days_that_have_not_ended_long_enough_ago_are_left(local, tmp_path, capsys):
    days = compact(local, tmp_path, capsys, "--older-than", "0s", "--dry-run")["partitions"]
    assert days == 4  # the dead letters' day is today
    assert compact(local, tmp_path, capsys, "--older-than", "36500d", "--dry-run")["partitions"] == 0


def test_without_any_word_which_partitions_it_is_refused(local, tmp_path, capsys):
    assert main(["compact", "--config", local.config_file(tmp_path)]) == 2
    assert "--all" in capsys.readouterr().err


def test_files_of_a_batch_that_is_not_published_are_left_alone(local, tmp_path, capsys):
    pointer = Path(local.root, "checkpoints/kinesis/ledger/published.json")
    pointer.write_text('{"through": 1}')  # batch 2 may still be taken back
    outcome = compact(local, tmp_path, capsys)
    assert any("not published yet" in note for note in outcome["skipped"])
    entry = json.loads(next(Path(local.root, "checkpoints/kinesis/ledger/entries/open").glob("*2.json")).read_text())
    assert {file["key"] for file in entry["files"]} <= set(files(local))


def test_an_output_that_vanished_is_a_difference_for_each_batch_that_had_rows_in_it(local, tmp_path, capsys):
    compact(local, tmp_path, capsys)
    outputs(local)[0].unlink()
    report = audited(local, tmp_path)
    kinds = {finding.kind for finding in report.differences}
    assert kinds == {Kind.MISSING_FILE}
    assert {finding.source for finding in report.differences} >= {"lake"}


def test_rows_that_somebody_doubles_or_removes_in_an_output_are_found(local, tmp_path, capsys):
    compact(local, tmp_path, capsys)
    file = next(path for path in outputs(local) if "input_source=stream" in str(path) and "clean" in str(path))
    table = pq.ParquetFile(file).read()
    saved = file.read_bytes()
    pq.write_table(table.take([0, *range(table.num_rows)]), file)
    kinds = {finding.kind for finding in audited(local, tmp_path).differences}
    assert {Kind.DUPLICATE_ROWS, Kind.FILE_ROWS} <= kinds
    pq.write_table(table.slice(1), file)
    kinds = {finding.kind for finding in audited(local, tmp_path).differences}
    assert {Kind.MISSING_ROWS, Kind.FILE_ROWS} <= kinds
    file.write_bytes(saved)
    assert audited(local, tmp_path).ok


def test_a_replaced_file_that_somebody_brings_back_is_found(local, tmp_path, capsys):
    victim = Path(local.root, files(local)[0])
    shutil.copy(victim, tmp_path / "kept")
    compact(local, tmp_path, capsys)
    shutil.copy(tmp_path / "kept", victim)
    (finding,) = audited(local, tmp_path).differences
    assert finding.kind is Kind.DUPLICATE_ROWS
    assert "there again" in finding.message


def test_a_file_of_nobody_that_was_compacted_is_found(local, tmp_path, capsys):
    known = Path(local.root, files(local)[0])
    table = pq.ParquetFile(known).read()
    stranger = known.with_name(f"part-kinesis-{uuid.uuid4().hex}.parquet")
    stamps = table.column("ingested_at")
    moved = [moment.replace(year=2020) for moment in stamps.to_pylist()]
    place = table.schema.get_field_index("ingested_at")
    import pyarrow as pa

    pq.write_table(table.set_column(place, "ingested_at", pa.array(moved, stamps.type)), stranger)
    compact(local, tmp_path, capsys)
    found = [finding for finding in audited(local, tmp_path).differences if finding.kind is Kind.ORPHAN_FILE]
    assert [finding.file for finding in found] == [str(stranger.relative_to(local.root))]


def test_a_compaction_that_was_cut_off_is_a_notice_and_finished_by_the_next(local, tmp_path, capsys):
    pointer = Path(local.root, "checkpoints/compaction/published.json")
    compact(local, tmp_path, capsys, "--table", "clean")
    pointer.unlink()
    notices = {finding.kind for finding in audit(*local.loaded(tmp_path)).notices}
    assert Kind.UNFINISHED in notices
    assert len(compact(local, tmp_path, capsys)["finished"]) == 4
    assert audited(local, tmp_path).ok


@pytest.mark.parametrize("changes", [2, 3])
def test_query_counts_each_row_once_where_a_compaction_was_cut_off(lake, tmp_path, orders, capsys, changes):
    """Two changes: the entry is written and its output visible; three: the first file that it replaces is gone, too."""
    counts = ask(lake, tmp_path, capsys)
    book = CutOffStorage(open_storage(f"{lake.root}/checkpoints/compaction", lake.storage), 1)
    cut_off = compactor(CutOffStorage(lake.lake(), changes - 1), book, orders)
    with pytest.raises(Cut):
        compact_all(cut_off)
    assert len({key.rsplit("/", 1)[0] for key in files(lake)}) < len(files(lake))
    assert any("part-compact-" in key for key in files(lake))
    assert ask(lake, tmp_path, capsys) == counts
    compact(lake, tmp_path, capsys)
    assert ask(lake, tmp_path, capsys) == counts


@pytest.mark.parametrize("changes", [2, 3])
def test_dead_letters_count_each_letter_once_where_a_compaction_was_cut_off(lake, tmp_path, orders, capsys, changes):
    def counted() -> int:
        assert main(["dead-letters", "summary", "--config", lake.config_file(tmp_path), "--format", "json"]) == 0
        return json.loads(capsys.readouterr().out)["open"]

    count = counted()
    assert count > 0
    book = CutOffStorage(open_storage(f"{lake.root}/checkpoints/compaction", lake.storage), 1)
    cut_off = compactor(CutOffStorage(lake.lake(), changes - 1), book, orders)
    with pytest.raises(Cut):
        compact_all(cut_off, Wanted(tables=("dead_letter",), min_files=2))
    assert any("part-compact-" in key for key in files(lake))
    assert counted() == count
    compact(lake, tmp_path, capsys)
    assert counted() == count


def ask(lake: LakeBuilder, folder: Path, capsys) -> list[dict]:
    sql = "SELECT 'c' t, COUNT(*) n, COUNT(DISTINCT source_position) d FROM clean UNION ALL"
    sql += " SELECT 'd', COUNT(*), COUNT(DISTINCT source_position) FROM dead_letter ORDER BY t"
    assert main(["query", "--config", lake.config_file(folder), sql, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert all(row["n"] == row["d"] > 0 for row in found)
    return found


def test_query_that_a_compaction_takes_a_file_from_is_asked_again_by_itself(lake, tmp_path, capsys):
    loaded, _ = lake.loaded(tmp_path)
    tables = [open_tables(loaded)]
    (expected,) = next(_count(tables[0]).batches).to_pylist()
    compact(lake, tmp_path, capsys)

    def again():
        return _count(tables.pop() if tables else open_tables(loaded))

    assert next(_begun(again).batches).to_pylist() == [expected]
    assert not tables


def test_query_on_a_lake_whose_compaction_cannot_be_told_says_what_to_do(local, tmp_path, orders, capsys):
    book = CutOffStorage(open_storage(f"{local.root}/checkpoints/compaction"), 1)
    with pytest.raises(Cut):
        compact_all(compactor(CutOffStorage(local.lake(), 2), book, orders))
    outputs(local)[0].unlink()
    assert main(["query", "--config", local.config_file(tmp_path), "SELECT COUNT(*) FROM clean"]) == 6
    error = capsys.readouterr().err
    assert "compaction 0 of" in error
    assert "run `compact`" in error


def _count(tables):
    return query("SELECT COUNT(*) n, SUM(amount) s FROM clean", tables, {})
