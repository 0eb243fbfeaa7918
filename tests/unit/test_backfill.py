"""Backfill without Spark: which files are loaded, and that each is loaded once, whatever is cut off and wherever."""

from __future__ import annotations

import gzip
import json
import time
from dataclasses import replace
from datetime import date

import pytest

from batch_app.backfill import engine
from batch_app.backfill.engine import Backfill, Outcome
from batch_app.backfill.inputs import Wanted, find
from batch_app.cli import main
from batch_app.dead_letters.opened import open_letters
from batch_app.dead_letters.selection import Selection
from streaming_app.errors import ConfigError, DataLossError, QualityStop
from streaming_app.journal.ledger import Ledger
from streaming_app.storage import open_storage
from tests.backfill_lake import BATCH, STREAM, Crash, PlainLoader, Rig, backfill_lake, die_at
from tests.dead_lake import event


@pytest.fixture
def rig(tmp_path, orders) -> Rig:
    return backfill_lake(tmp_path, orders)


def test_copy_of_the_stream_and_csv_land_under_positions_of_file_and_row(rig):
    outcome = rig.run("raw_stream")
    assert (outcome.files, outcome.read, outcome.clean, outcome.dead) == (2, 6, 5, 1)
    rig.run("raw", source=BATCH)
    first, second = "raw_stream/2026/03/01/09/pos-1", "raw_stream/2026/03/02/10/pos-2"
    assert rig.rows() == ["raw/day.csv#1", f"{first}#1", f"{first}#2", f"{first}#3", f"{second}#1", f"{second}#2"]
    assert rig.rows("dead_letter") == ["raw/day.csv#2", f"{first}#4"]
    assert {path.name for path in (rig.lake / "clean").iterdir()} == {"input_source=stream", "input_source=batch"}
    audited = rig.audit()
    assert (audited["backfill_stream"].rows_checked, audited["backfill_batch"].rows_checked) == (6, 2)


def test_files_named_again_or_in_another_way_are_loaded_once(rig):
    rig.run("raw_stream/2026/03/01/09/pos-1")
    before = rig.rows()
    again = rig.run("raw_stream/2026/03/01")
    assert (again.files, again.already) == (0, 1)
    assert rig.rows() == before
    rest = rig.run("raw_stream", "raw_stream/2026")
    assert (rest.files, rest.already) == (1, 1)
    assert len(rig.rows()) == 5
    rig.audit()


@pytest.mark.parametrize("after", [False, True])
def test_run_that_is_killed_at_any_change_leaves_the_same_lake_after_the_next(rig, monkeypatch, after):
    files = rig.find("raw_stream")
    expected = None
    for at in range(1, 40):
        fresh = replace(rig, builder=replace(rig.builder, root=f"{rig.folder}/lake{at}"))
        fresh.lake.mkdir()
        (fresh.lake / "raw_stream").symlink_to(rig.lake / "raw_stream")
        dying = fresh.backfill()
        left = die_at(dying, at + 0.5 * after, monkeypatch)
        try:
            dying.run(files, None, Outcome(dry_run=False))
        except Crash:
            crashed = True
        else:
            crashed = False
        monkeypatch.undo()
        assert crashed == (left[0] == 0)
        fresh.backfill().run(files, None, Outcome(dry_run=False))
        fresh.backfill().run(files, None, Outcome(dry_run=False))
        expected = expected or (rig.run("raw_stream") and (rig.rows(), rig.rows("dead_letter")))
        assert (fresh.rows(), fresh.rows("dead_letter")) == expected
        fresh.audit()
        if not crashed:
            assert at > 8
            return
    pytest.fail("never got through")


def test_run_that_was_cut_off_is_finished_first_with_its_own_files(rig, monkeypatch):
    dying = rig.backfill()
    die_at(dying, 5, monkeypatch)
    with pytest.raises(Crash):
        dying.run(rig.find("raw_stream/2026/03/01"), None, Outcome(dry_run=False))
    monkeypatch.undo()
    assert rig.backfill().unfinished()
    assert len(rig.backfill().new(rig.find("raw_stream"))) == 2  # what a dry run says
    outcome = rig.run("raw_stream")
    assert (outcome.finished, outcome.files, outcome.already) == (1, 2, 0)
    assert len(rig.rows()) == 5
    assert not rig.backfill().unfinished()
    rig.audit()


def test_orders_that_the_stream_has_landed_are_skipped_and_counted(rig):
    rig.run("raw_stream/2026/03/01")
    rig.write("raw_stream/2026/03/03/11/pos-3", "".join(map(event, ("o1", "o3", "o7", "o7", "o8"))).encode())
    outcome = rig.run("raw_stream/2026/03/03", key="order_id")
    assert (outcome.read, outcome.clean, outcome.duplicates) == (5, 2, 3)
    assert rig.rows()[-2:] == ["raw_stream/2026/03/03/11/pos-3#3", "raw_stream/2026/03/03/11/pos-3#5"]
    assert rig.audit()["backfill_stream"].duplicates == 3
    rig.write("raw_stream/2026/03/04/pos-4", event("o1").encode())
    assert rig.run("raw_stream/2026/03/04").clean == 1  # without --skip-existing a row is a row


def test_file_that_changed_after_it_was_loaded_is_refused(rig):
    name = "raw_stream/2026/03/02/10/pos-2"
    rig.run(name)
    data = (rig.lake / name).read_bytes()
    rig.write(name, data)  # touched only
    assert rig.run(name).already == 1
    rig.write(name, event("o9").encode())
    with pytest.raises(ConfigError, match="changed since"):
        rig.run(name)


def test_file_that_changes_or_goes_before_the_run_is_finished_is_a_loss(rig, monkeypatch):
    name = "raw_stream/2026/03/02/10/pos-2"
    dying = rig.backfill()
    files = rig.find(name)
    die_at(dying, 6, monkeypatch)  # before the entry in the ledger
    with pytest.raises(Crash):
        dying.run(files, None, Outcome(dry_run=False))
    monkeypatch.undo()
    assert rig.rows() == []
    data = (rig.lake / name).read_bytes()
    (rig.lake / name).unlink()
    with pytest.raises(DataLossError, match="put it back"):
        rig.backfill().run(files, None, Outcome(dry_run=False))
    rig.write(name, data + event("o9").encode())
    with pytest.raises(DataLossError, match="it had 2 rows, now 3"):
        rig.backfill().run(files, None, Outcome(dry_run=False))
    rig.write(name, data)
    rig.backfill().run(files, None, Outcome(dry_run=False))
    assert len(rig.rows()) == 2
    rig.audit()


def test_damaged_gzip_gives_its_rows_and_one_dead_letter(rig):
    lines = "".join(event(f"g{n}") + "\n" for n in range(2000)).encode()
    rig.write("raw_stream/2026/03/05/cut", gzip.compress(lines)[:-2000])
    outcome = rig.run("raw_stream/2026/03/05")
    assert outcome.dead == 2  # the event that was cut, and the file
    assert outcome.clean + outcome.dead == outcome.read
    rig.audit()


def test_days_are_those_of_the_files_names(rig):
    assert [file.name for file in rig.find("raw_stream", since=date(2026, 3, 2))] == ["raw_stream/2026/03/02/10/pos-2"]
    assert [file.name for file in rig.find("raw_stream", until=date(2026, 3, 1))] == ["raw_stream/2026/03/01/09/pos-1"]
    found = find(Wanted(since=date(2026, 3, 1)), rig.loaded()[0].config)  # the lake's own prefixes
    assert {source: len(files) for source, files in found.files.items()} == {STREAM: 2, BATCH: 1}


def test_what_is_neither_csv_nor_json_is_counted_in_a_folder_and_refused_by_name(rig):
    rig.write("raw/notes.txt", b"x")
    rig.write("raw/_hidden.csv", b"x")
    found = find(Wanted((str(rig.lake / "raw"),)), rig.loaded()[0].config)
    assert (found.ignored, [file.name for file in found.files[BATCH]]) == (1, ["raw/day.csv"])
    with pytest.raises(ConfigError, match="--input-source"):
        rig.find("raw/notes.txt")
    assert rig.find("raw/notes.txt", source=STREAM)[0].name == "raw/notes.txt"


def test_dead_letter_of_a_backfilled_file_is_read_again_under_its_own_header(rig):
    rig.run("raw", source=BATCH)
    opened = open_letters(*rig.loaded(), Selection())
    (_, letters), *_ = opened.letters.scan(Selection(), ("raw", "raw_encoding", "source_position", "arrived_at"))
    (row,) = opened.decoders.decode(letters, BATCH).to_pylist()
    assert (row["order_id"], row["city"], row["amount"]) == ("c2", "Atlantis", "12.50")
    assert not opened.decoders.unknown


def command(rig, capsys, *arguments: str, code: int = 0) -> dict | str:
    assert main([*arguments[:1], "--config", rig.builder.config_file(rig.folder), "--json", *arguments[1:]]) == code
    captured = capsys.readouterr()
    return json.loads(captured.out) if code == 0 else captured.err


def test_dry_run_says_what_would_be_loaded_and_changes_nothing(rig, capsys):
    rig.run("raw_stream/2026/03/01")
    before = sorted(rig.lake.rglob("*"))
    report = command(rig, capsys, "backfill", "--dry-run", str(rig.lake / "raw_stream"), str(rig.lake / "raw"))
    assert (report["files"], report["already"], report["dry_run"], report["read"]) == (2, 1, True, 0)
    assert sorted(rig.lake.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name what to load"),
        (["/nowhere/at/all"], "there is no file"),
        (["x.csv", "--key", "order_id"], "--skip-existing, which is missing"),
        (["x.csv", "--skip-existing", "--key", "nonsense"], "no such column"),
    ],
)
def test_what_cannot_be_loaded_is_a_clear_error(rig, capsys, arguments, message):
    assert message in command(rig, capsys, "backfill", *arguments, code=2)


def test_checkpoints_of_backfill_are_where_the_audit_looks(rig):
    rig.run("raw_stream")
    assert Ledger(open_storage(f"{rig.builder.root}/checkpoints/backfill_stream")).published_through() == 0


def test_circuit_breaker_stops_a_batch_and_the_next_run_goes_on_with_it(rig):
    strict = ("quality.on_breach=stop", "quality.max_dead_ratio=0.1", "quality.min_rows=1")
    loaded, suite = rig.builder.loaded(rig.folder, *strict)
    stopped = Backfill(loaded, suite, STREAM, lambda: PlainLoader(rig.builder.dataset))
    with pytest.raises(QualityStop, match="Nothing of this batch was published"):
        stopped.run(rig.find("raw_stream"), None, Outcome(dry_run=False))
    assert (rig.rows(), rig.rows("dead_letter")) == ([], [])
    outcome = rig.run("raw_stream")
    assert (outcome.finished, outcome.clean, outcome.dead) == (1, 5, 1)
    rig.audit()


def test_progress_is_told_file_by_file_while_a_batch_is_under_way(rig, monkeypatch):
    monkeypatch.setattr(engine, "_TOLD_EVERY", 0.01)
    told = []

    class Slow(PlainLoader):
        """Goes on with the next file when the one before was told of."""

        def load(self, reader, work, sink, suite):
            results = []
            for number, file in enumerate(work.files, 1):
                results += super().load(reader, replace(work, files=[file]), sink, suite)
                deadline = time.monotonic() + 60
                while told[-1:] != [number] and time.monotonic() < deadline:
                    time.sleep(0.01)
            return results

    run = Backfill(*rig.loaded(), STREAM, lambda: Slow(rig.builder.dataset))
    run.run(rig.find("raw_stream"), None, Outcome(dry_run=False), told.append)
    assert sorted(set(told)) in ([1, 2], [0, 1, 2])
    assert told == sorted(told)
    rig.audit()
