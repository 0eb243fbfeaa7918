"""Lakes written by the product's own classes, damaged in every way there is: each damage is found and named."""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_app.audit import AuditReport, Finding, Kind, audit
from batch_app.cli import main
from streaming_app.journal.audited import LastAudit
from streaming_app.journal.ledger import LEDGER, Entry, Ledger
from streaming_app.journal.read_log import READ_LOG
from streaming_app.sink.commit import Committer
from streaming_app.storage import StorageOptions, open_storage
from tests.audit_lake import LakeBuilder, file_positions, file_read, healthy_lake, numbers, shard_read
from tests.moto_server import CREDENTIALS, moto_server


@pytest.fixture(scope="module")
def template(tmp_path_factory, orders) -> LakeBuilder:
    return healthy_lake(str(tmp_path_factory.mktemp("template") / "lake"), orders)


@pytest.fixture
def lake(template, tmp_path) -> LakeBuilder:
    """A healthy lake of this test's own."""
    shutil.copytree(template.root, tmp_path / "lake")
    return LakeBuilder(str(tmp_path / "lake"), template.dataset, template.storage, dict(template.batches))


def audited(lake: LakeBuilder, tmp_path: Path, *, settled: bool = False) -> AuditReport:
    return audit(*lake.loaded(tmp_path), settled=settled)


def kinds(report: AuditReport) -> set[tuple[str, Kind]]:
    return {(found.source, found.kind) for found in report.differences}


def only(report: AuditReport) -> Finding:
    assert len(report.differences) == 1, report.differences
    return report.differences[0]


def entry_of(lake: LakeBuilder, source: str, batch: int) -> Entry:
    entry = Ledger(lake.checkpoint(source)).get(batch)
    assert entry is not None
    return entry


def some_file(lake: LakeBuilder, source: str = "kinesis", batch: int = 0, table: str = "clean") -> tuple[str, Path]:
    key = next(file.staged.key for file in entry_of(lake, source, batch).files if file.table == table)
    return key, Path(lake.root, key)


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Replace a file by a changed one, of the same size in bytes if that can be had."""
    pq.write_table(change(pq.read_table(path, partitioning=None)), path)


def with_positions(table: pa.Table, change: Callable[[list[str]], list[str]]) -> pa.Table:
    place = table.schema.get_field_index("source_position")
    return table.set_column(place, "source_position", pa.array(change(table["source_position"].to_pylist())))


def change_entry(lake: LakeBuilder, source: str, batch: int, change: Callable[[dict], None]) -> None:
    checkpoint, key = lake.checkpoint(source), f"{LEDGER}/entries/open/{batch:020d}.json"
    document = json.loads(checkpoint.get(key) or b"")
    change(document)
    checkpoint.put(key, json.dumps(document).encode())


def change_epoch(lake: LakeBuilder, source: str, epoch: int, change: Callable[[dict], None]) -> None:
    checkpoint, key = lake.checkpoint(source), f"{READ_LOG}/epochs/open/{epoch:020d}.json"
    document = json.loads(checkpoint.get(key) or b"")
    change(document)
    checkpoint.put(key, json.dumps(document).encode())


# Healthy


@pytest.mark.parametrize("settled", [False, True])
def test_healthy_lake_has_no_difference(lake, tmp_path, settled):
    report = audited(lake, tmp_path, settled=settled)
    assert report.ok, report.differences
    stream, files = report.sources
    assert (stream.batches, stream.rows_read, stream.units, stream.rows_checked) == (3, 57, 4, 57)
    assert (files.batches, files.rows_read, files.units, files.rows_checked) == (2, 43, 5, 43)
    assert (files.clean + files.dead, stream.clean + stream.dead) == (43, 57)


def test_lake_that_was_never_written_is_said_to_be_so(orders, tmp_path):
    report = audited(LakeBuilder(str(tmp_path / "none"), orders), tmp_path)
    assert report.ok
    assert [(note.source, note.kind) for note in report.notices] == [
        ("kinesis", Kind.NEVER_RAN),
        ("csv", Kind.NEVER_RAN),
    ]
    assert not (tmp_path / "none").exists()


def test_audit_changes_nothing(lake, tmp_path):
    def state() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in Path(lake.root).rglob("*") if path.is_file()}

    before = state()
    audited(lake, tmp_path)
    assert state() == before


def test_a_service_that_found_nothing_at_its_start_has_no_difference(tmp_path, orders):
    lake = LakeBuilder(str(tmp_path / "lake"), orders)
    lake.begin_stream(["shard-0"])
    lake.commit("kinesis", [], [], epoch=0)
    first = numbers(0, 20)
    lake.commit_shards([(shard_read("shard-0", "TRIM_HORIZON", first), first)], epoch=1)
    report = audited(lake, tmp_path)
    assert report.ok, report.differences
    assert report.sources[0].rows_checked == 20


def test_the_command_keeps_its_result_for_the_metrics(lake, tmp_path):
    last = LastAudit(open_storage(f"{lake.root}/checkpoints"))
    arguments = ["audit", "--settled", "--config", lake.config_file(tmp_path)]
    assert main(arguments) == 0
    found = last.get()
    assert (found.differences, found.settled) == (0, True)
    assert abs(found.ended_at - time.time()) < 60
    some_file(lake, "csv")[1].unlink()
    assert main(arguments) == 1
    assert last.get().differences == 1


def test_where_the_result_cannot_be_kept_the_audit_says_so_and_its_verdict_stands(lake, tmp_path, capsys):
    Path(lake.root, "checkpoints", "audit").write_text("a file where the folder should be")
    assert main(["audit", "--config", lake.config_file(tmp_path)]) == 0
    assert "the result is not kept for the metrics" in capsys.readouterr().err


def test_source_that_was_switched_off_is_still_audited(lake, tmp_path):
    some_file(lake, "csv")[1].unlink()
    loaded, suite = lake.loaded(tmp_path, "sources.csv.enabled=false")
    assert kinds(audit(loaded, suite)) == {("csv", Kind.MISSING_FILE)}


def test_folded_logs_are_read_like_open_ones(orders, tmp_path):
    lake = LakeBuilder(str(tmp_path / "lake"), orders)
    for batch in range(120):
        lake.commit_files([file_read(f"{batch}.csv", 2)])
    lake.read_log("csv").seal(120)
    assert list(lake.checkpoint("csv").list(f"{LEDGER}/entries/folded"))
    assert list(lake.checkpoint("csv").list(f"{READ_LOG}/epochs/folded"))
    report = audited(lake, tmp_path, settled=True)
    assert report.ok, report.differences
    assert (report.sources[1].batches, report.sources[1].units) == (120, 120)
    some_file(lake, "csv", 7)[1].unlink()
    assert only(audited(lake, tmp_path)).batch == 7


# Files


@pytest.mark.parametrize("source", ["kinesis", "csv"])
@pytest.mark.parametrize("table", ["clean", "dead_letter"])
def test_deleted_file(lake, tmp_path, source, table):
    key, path = some_file(lake, source, table=table)
    path.unlink()
    found = only(audited(lake, tmp_path))
    assert (found.source, found.kind, found.batch, found.file) == (source, Kind.MISSING_FILE, 0, key)
    assert key in found.message


def test_copied_file_is_an_orphan_with_its_rows(lake, tmp_path):
    _, path = some_file(lake)
    copy = path.with_name(f"part-kinesis-{uuid.uuid4().hex}.parquet")
    shutil.copy(path, copy)
    found = only(audited(lake, tmp_path))
    assert (found.source, found.kind, Path(found.file or "").name) == ("kinesis", Kind.ORPHAN_FILE, copy.name)
    assert f"{pq.read_metadata(path).num_rows} rows" in found.message


@pytest.mark.parametrize("name", ["clean/stray.parquet", "dead_letter/input_source=batch/notes.txt"])
def test_foreign_file_in_a_table(lake, tmp_path, name):
    Path(lake.root, name).write_bytes(b"hello")
    found = only(audited(lake, tmp_path))
    assert (found.source, found.kind, found.file) == ("lake", Kind.ORPHAN_FILE, name)


def test_hidden_files_are_not_seen_by_readers_nor_by_the_audit(lake, tmp_path):
    Path(lake.root, "clean/_SUCCESS").touch()
    Path(lake.root, "clean/.part.crc").touch()
    assert audited(lake, tmp_path).ok


def test_truncated_file(lake, tmp_path):
    key, path = some_file(lake)
    path.write_bytes(path.read_bytes()[:-5])
    report = audited(lake, tmp_path)
    assert {found.kind for found in report.differences} == {Kind.FILE_SIZE, Kind.UNREADABLE_FILE}
    assert {found.file for found in report.differences} == {key}


def test_file_damaged_inside_with_its_size_kept(lake, tmp_path):
    key, path = some_file(lake)
    data = bytearray(path.read_bytes())
    chunk = next(
        column
        for column in (
            pq.read_metadata(path).row_group(0).column(place) for place in range(pq.read_metadata(path).num_columns)
        )
        if column.path_in_schema == "source_position"
    )
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    data[start : start + chunk.total_compressed_size] = bytes(chunk.total_compressed_size)
    path.write_bytes(bytes(data))
    found = only(audited(lake, tmp_path))
    assert (found.kind, found.file) == (Kind.UNREADABLE_FILE, key)


def test_file_without_positions(lake, tmp_path):
    key, path = some_file(lake)
    rewrite(path, lambda table: table.drop_columns(["source_position"]))
    assert (key, Kind.UNREADABLE_FILE) in {(found.file, found.kind) for found in audited(lake, tmp_path).differences}


# Rows


def test_removed_row(lake, tmp_path):
    key, path = some_file(lake, "csv")
    gone = pq.read_table(path)["source_position"][0].as_py()
    rewrite(path, lambda table: table.slice(1))
    report = audited(lake, tmp_path)
    assert kinds(report) == {("csv", kind) for kind in (Kind.FILE_SIZE, Kind.FILE_ROWS, Kind.MISSING_ROWS)}
    missing = next(found for found in report.differences if found.kind is Kind.MISSING_ROWS)
    assert missing.unit == gone.split("#")[0]
    assert f"rows {gone.split('#')[1]}" in missing.message
    assert key in str(report.differences)


@pytest.mark.parametrize("source", ["kinesis", "csv"])
def test_row_twice_in_place_of_another(lake, tmp_path, source):
    _, path = some_file(lake, source)
    rewrite(path, lambda table: with_positions(table, lambda texts: [texts[1], *texts[1:]]))
    found = kinds(audited(lake, tmp_path))
    assert {(source, Kind.DUPLICATE_ROWS), (source, Kind.MISSING_ROWS)} <= found
    assert (source, Kind.UNKNOWN_ROWS) not in found


@pytest.mark.parametrize("source", ["kinesis", "csv"])
def test_dead_letter_of_a_row_that_is_clean_too(lake, tmp_path, source):
    twice = pq.read_table(some_file(lake, source)[1])["source_position"][0].as_py()
    _, dead = some_file(lake, source, table="dead_letter")
    rewrite(dead, lambda table: with_positions(table, lambda texts: [twice, *texts[1:]]))
    found = [item for item in audited(lake, tmp_path).differences if item.kind is Kind.DUPLICATE_ROWS]
    assert twice in found[0].message


@pytest.mark.parametrize(
    ("source", "position"), [("kinesis", "shard-9:12"), ("csv", "never.csv#1"), ("csv", "a.csv#99")]
)
def test_row_that_was_never_read(lake, tmp_path, source, position):
    _, path = some_file(lake, source)
    rewrite(path, lambda table: with_positions(table, lambda texts: [position, *texts[1:]]))
    report = audited(lake, tmp_path)
    unknown = [found for found in report.differences if found.kind is Kind.UNKNOWN_ROWS]
    assert position in unknown[0].message
    assert (source, Kind.MISSING_ROWS) in kinds(report)


def test_row_of_another_batch(lake, tmp_path):
    """Positions of another batch are the only way in which a row could be twice across batches."""
    stranger = pq.read_table(some_file(lake, batch=1)[1])["source_position"][0].as_py()
    _, path = some_file(lake, batch=0)
    rewrite(path, lambda table: with_positions(table, lambda texts: [*texts[:-1], stranger]))
    found = [item for item in audited(lake, tmp_path).differences if item.kind is Kind.UNKNOWN_ROWS]
    assert (found[0].batch, stranger in found[0].message) == (0, True)


def test_file_of_another_batch_in_place_of_ones_own(lake, tmp_path):
    _, path = some_file(lake, "csv", 0)
    shutil.copy(some_file(lake, "csv", 1)[1], path)
    assert {("csv", Kind.UNKNOWN_ROWS), ("csv", Kind.MISSING_ROWS)} <= kinds(audited(lake, tmp_path))


# Ledger and read log


@pytest.mark.parametrize("batch", [0, 1, 2])
def test_entry_removed_from_the_ledger(lake, tmp_path, batch):
    orphans = {file.staged.key for file in entry_of(lake, "kinesis", batch).files}
    Ledger(lake.checkpoint("kinesis")).void(batch)
    report = audited(lake, tmp_path)
    assert kinds(report) == {("kinesis", Kind.MISSING_BATCH), ("kinesis", Kind.ORPHAN_FILE)}
    assert {found.file for found in report.differences if found.file} == orphans
    assert len([found for found in report.differences if found.kind is Kind.MISSING_BATCH]) == 1


def test_ledger_that_is_gone_whole(lake, tmp_path):
    shutil.rmtree(Path(lake.root, "checkpoints/csv", LEDGER))
    report = audited(lake, tmp_path)
    assert kinds(report) == {("csv", Kind.MISSING_BATCH), ("csv", Kind.ORPHAN_FILE)}


def test_checkpoint_that_is_gone_whole_leaves_orphans(lake, tmp_path):
    shutil.rmtree(Path(lake.root, "checkpoints/csv"))
    assert kinds(audited(lake, tmp_path)) == {("csv", Kind.ORPHAN_FILE)}


def test_entry_twice_under_another_batch(lake, tmp_path):
    checkpoint = lake.checkpoint("csv")
    document = checkpoint.get(f"{LEDGER}/entries/open/{1:020d}.json")
    checkpoint.put(f"{LEDGER}/entries/open/{2:020d}.json", json.dumps({**json.loads(document), "batch": 2}).encode())
    assert (only(audited(lake, tmp_path)).kind, only(audited(lake, tmp_path)).batch) == (Kind.DOUBLE_BATCH, 2)


@pytest.mark.parametrize("name", ["read", "clean", "dead", "duplicates"])
def test_changed_count(lake, tmp_path, name):
    change_entry(lake, "kinesis", 1, lambda entry: entry.update({name: entry[name] + 1}))
    report = audited(lake, tmp_path)
    assert ("kinesis", Kind.COUNTS) in kinds(report)
    assert {found.batch for found in report.differences} == {1}
    assert (("kinesis", Kind.READ_LOG) in kinds(report)) is (name == "read")


def test_file_dropped_from_an_entry(lake, tmp_path):
    key = some_file(lake)[0]
    change_entry(
        lake, "kinesis", 0, lambda entry: entry["files"].pop([file["key"] for file in entry["files"]].index(key))
    )
    assert kinds(audited(lake, tmp_path)) == {
        ("kinesis", kind) for kind in (Kind.COUNTS, Kind.MISSING_ROWS, Kind.ORPHAN_FILE)
    }


def test_damaged_entry_is_reported_and_ends_that_source_only(lake, tmp_path):
    change_entry(lake, "kinesis", 1, lambda entry: entry.pop("epoch"))
    some_file(lake, "csv")[1].unlink()
    some_file(lake, "kinesis", 0)[1].unlink()
    assert {("kinesis", Kind.READ_LOG), ("kinesis", Kind.MISSING_FILE), ("csv", Kind.MISSING_FILE)} <= kinds(
        audited(lake, tmp_path)
    )


def test_hole_in_a_shard(lake, tmp_path):
    change_epoch(
        lake, "kinesis", 2, lambda epoch: epoch["units"][0]["detail"].update(start=f"AFTER:{numbers(19, 1)[0] + 1}")
    )
    found = only(audited(lake, tmp_path))
    assert (found.kind, found.unit) == (Kind.GAP, "shard-0")
    assert "epoch 2" in found.message


def test_read_that_is_gone_from_the_read_log(lake, tmp_path):
    change_epoch(lake, "kinesis", 1, lambda epoch: epoch["units"].pop(1))
    assert {("kinesis", kind) for kind in (Kind.READ_LOG, Kind.GAP, Kind.UNKNOWN_ROWS)} <= kinds(
        audited(lake, tmp_path)
    )


def test_planned_file_that_nobody_read(lake, tmp_path):
    change_epoch(lake, "csv", 1, lambda epoch: epoch["plan"]["files"].append({"key": "lost.csv"}))
    found = only(audited(lake, tmp_path))
    assert (found.kind, found.unit) == (Kind.GAP, "lost.csv")


def test_epoch_that_is_gone_from_the_read_log(lake, tmp_path):
    lake.checkpoint("csv").delete([f"{READ_LOG}/epochs/open/{1:020d}.json"])
    found = [item for item in audited(lake, tmp_path).differences if item.kind is Kind.READ_LOG]
    assert found[0].batch == 0


def test_same_file_read_in_two_epochs(lake, tmp_path):
    lake.commit_files([file_read("a.csv", 25)])
    found = only(audited(lake, tmp_path))
    assert (found.kind, found.unit) == (Kind.OVERLAP, "a.csv")


# What a service has still to finish


def test_epoch_under_way_is_a_notice_unless_settled(lake, tmp_path):
    lake.read("csv", [file_read("next.csv", 9)])
    report = audited(lake, tmp_path)
    assert report.ok
    assert {note.kind for note in report.notices if note.source == "csv"} == {Kind.SUITE, Kind.UNFINISHED}
    assert only(audited(lake, tmp_path, settled=True)).kind is Kind.UNFINISHED


def test_committed_batch_that_is_not_published_yet(lake, tmp_path):
    read = file_read("next.csv", 9)
    epoch = lake.read("csv", [read])
    lake.checkpoint("csv").put("offsets/2", b'v1\n{}\n{"epoch": %d}' % epoch)
    committer = Committer(lake.options("csv"))
    entry = committer._entry(lake.stage("csv", [file_positions(read)]), 2)
    assert Ledger(lake.checkpoint("csv")).append_if_absent(entry)  # and here the process died
    report = audited(lake, tmp_path)
    assert report.ok
    assert {note.kind for note in report.notices if note.source == "csv"} == {Kind.SUITE, Kind.UNFINISHED}
    assert only(audited(lake, tmp_path, settled=True)).batch == 2
    committer.recover()
    assert audited(lake, tmp_path, settled=True).ok


def test_staged_leftovers_are_never_a_difference(lake, tmp_path):
    lake.stage("csv", [["x.csv#1"]])
    report = audited(lake, tmp_path, settled=True)
    assert report.ok
    assert Kind.STAGED in {note.kind for note in report.notices}


def test_batches_written_while_the_audit_runs_are_no_difference(lake, tmp_path, monkeypatch):
    """The next batch is committed and sealed right after the ledger was listed: the worst moment there is."""
    entries = Ledger.entries
    calls = []

    def slow(ledger: Ledger, first: int = 0) -> Iterator[Entry]:
        found = entries(ledger, first)
        listed = next(found, None)
        if not calls:
            calls.append(1)
            lake.commit_files([file_read("c.csv", 7)])
            lake.commit_files([file_read("d.csv", 7)])
        if listed is not None:
            yield listed
        yield from found

    monkeypatch.setattr(Ledger, "entries", slow)
    loaded, suite = lake.loaded(tmp_path, "sources.kinesis.enabled=false")
    shutil.rmtree(Path(lake.root, "checkpoints/kinesis"))
    for table in ("clean", "dead_letter"):
        shutil.rmtree(Path(lake.root, table, "input_source=stream"))
    report = audit(loaded, suite)
    assert report.ok, report.differences
    assert calls


# The command


def test_command_prints_a_table_and_exits_0(lake, tmp_path, capsys):
    assert main(["audit", "--config", lake.config_file(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "rows checked" in printed
    assert "no difference" in printed


def test_command_names_each_difference_and_exits_1(lake, tmp_path, capsys):
    key, path = some_file(lake)
    path.unlink()
    assert main(["audit", "--config", lake.config_file(tmp_path)]) == 1
    printed = capsys.readouterr()
    line = next(line for line in printed.out.splitlines() if line.startswith("DIFFERENCE"))
    assert key in line
    assert "batch 0" in line
    assert "found 1 difference" in printed.err


def test_command_prints_one_json_object(lake, tmp_path, capsys):
    some_file(lake)[1].unlink()
    assert main(["audit", "--config", lake.config_file(tmp_path), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    assert report["differences"][0]["kind"] == "missing_file"
    assert [source["source"] for source in report["sources"]] == ["kinesis", "csv"]


def test_command_with_an_unusable_configuration_exits_2(tmp_path, capsys):
    assert main(["audit", "--config", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml" in capsys.readouterr().err


def test_log_that_is_no_json_ends_the_command_with_a_message(lake, tmp_path, capsys):
    Path(lake.root, "checkpoints/csv", LEDGER, "entries/open", f"{1:020d}.json").write_bytes(b"{")
    assert main(["audit", "--config", lake.config_file(tmp_path)]) == 6
    assert f"{1:020d}.json" in capsys.readouterr().err


def test_too_many_differences_of_one_kind_are_counted(lake, tmp_path):
    for number in range(130):
        Path(lake.root, f"clean/stray-{number}.parquet").touch()
    report = audited(lake, tmp_path)
    assert (len(report.differences), report.unlisted) == (100, 30)


# S3


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch, moto_server() as server:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        import boto3

        boto3.client("s3", endpoint_url=server.url, region_name="us-east-1").create_bucket(Bucket="lake")
        yield StorageOptions(endpoint_url=server.url, region="us-east-1", path_style=True)


def test_lake_on_s3(s3, orders, tmp_path):
    lake = healthy_lake(f"s3://lake/{uuid.uuid4().hex}", orders, s3)
    lake.stage("csv", [["x.csv#1"]])
    report = audited(lake, tmp_path, settled=True)
    assert report.ok, report.differences
    assert [source.rows_checked for source in report.sources] == [57, 43]
    assert Kind.STAGED in {note.kind for note in report.notices}
    key = entry_of(lake, "csv", 0).files[0].staged.key
    open_storage(lake.root, s3).delete([key])
    assert (only(audited(lake, tmp_path)).kind, only(audited(lake, tmp_path)).file) == (Kind.MISSING_FILE, key)
