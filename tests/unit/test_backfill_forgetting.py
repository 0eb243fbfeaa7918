"""`backfill --forget-plan`: one bad file does not block what comes after it, and nothing that is in the lake is given up."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from batch_app.backfill.engine import Backfill, Outcome
from batch_app.cli import main
from streaming_app.errors import ConfigError, DataLossError, QualityStop
from streaming_app.journal.ledger import Ledger
from streaming_app.sink.commit import Committer
from tests.backfill_lake import STREAM, Crash, PlainLoader, Rig, backfill_lake, die_at
from tests.dead_lake import event

BAD, GOOD = "raw_stream/2026/03/01/09/pos-1", "raw_stream/2026/03/02/10/pos-2"
appended = Ledger.append_if_absent
STRICT = ("quality.on_breach=stop", "quality.max_dead_ratio=0.1", "quality.min_rows=1")


@pytest.fixture
def rig(tmp_path, orders) -> Rig:
    return backfill_lake(tmp_path, orders)


def strict(rig: Rig) -> Backfill:
    loaded, suite = rig.builder.loaded(rig.folder, *STRICT)
    return Backfill(loaded, suite, STREAM, lambda: PlainLoader(rig.builder.dataset))


def forget(rig: Rig, capsys, *more: str, code: int = 0):
    arguments = ["backfill", "--config", rig.builder.config_file(rig.folder), "--forget-plan", "--json", *more]
    assert main(arguments) == code
    captured = capsys.readouterr()
    return json.loads(captured.out)["forgotten"] if code == 0 else captured.err


def stopped(rig: Rig) -> None:
    with pytest.raises(QualityStop, match=r"cannot be exchanged.*--forget-plan"):
        strict(rig).run(rig.find(BAD, GOOD), None, Outcome(dry_run=False))


def test_files_of_a_batch_that_was_stopped_are_given_up_and_good_ones_loaded(rig, capsys):
    stopped(rig)
    with pytest.raises(QualityStop):  # the way it was: good files are not reached
        strict(rig).run(rig.find(GOOD), None, Outcome(dry_run=False))
    before = {path: path.read_bytes() for path in rig.lake.rglob("*") if path.is_file()}
    assert forget(rig, capsys, "--dry-run") == {"backfill_stream": [BAD, GOOD], "backfill_batch": []}
    assert {path: path.read_bytes() for path in rig.lake.rglob("*") if path.is_file()} == before
    assert forget(rig, capsys)["backfill_stream"] == [BAD, GOOD]
    assert forget(rig, capsys) == {"backfill_stream": [], "backfill_batch": []}
    outcome = Outcome(dry_run=False)
    strict(rig).run(rig.find(GOOD), None, outcome)
    assert (outcome.finished, outcome.clean) == (0, 2)
    rig.audit()
    rig.write(BAD, event("mended").encode())
    assert rig.run(BAD).clean == 1
    rig.audit()


def test_what_was_given_up_stays_written_in_the_read_log(rig, capsys):
    stopped(rig)
    forget(rig, capsys)
    (epoch,) = rig.backfill()._log.history()
    assert [file["name"] for file in epoch.plan["forgotten"]["files"]] == [BAD, GOOD]
    assert (epoch.plan["files"], epoch.units) == ([], {})


@pytest.mark.parametrize("gone", [True, False])
def test_file_that_went_or_changed_after_it_was_read_no_longer_blocks(rig, capsys, monkeypatch, gone):
    dying = rig.backfill()
    die_at(dying, 6, monkeypatch)  # read, and not in the ledger
    with pytest.raises(Crash):
        dying.run(rig.find(BAD), None, Outcome(dry_run=False))
    monkeypatch.undo()
    (rig.lake / BAD).unlink()
    if not gone:
        rig.write(BAD, event("other").encode())
    with pytest.raises(DataLossError, match="--forget-plan"):
        rig.run(GOOD)
    forget(rig, capsys)
    assert rig.run(GOOD).clean == 2
    if not gone:
        assert rig.run(BAD).clean == 1
    rig.audit()


def test_batch_that_is_committed_is_not_given_up(rig, capsys, monkeypatch):
    def dies(*_):
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(Committer, "_publish_all", dies)
        with pytest.raises(Crash):
            rig.run(BAD)
    assert "is committed, its rows are in the lake" in forget(rig, capsys, code=2)
    assert rig.run(BAD).finished == 1
    assert len(rig.rows()) == 3
    rig.audit()


@pytest.mark.parametrize("after", [False, True])
def test_giving_up_that_is_killed_at_any_change_is_finished_by_the_next_run(rig, monkeypatch, after):
    for at in range(1, 40):
        fresh = replace(rig, builder=replace(rig.builder, root=f"{rig.folder}/lake{at}"))
        fresh.lake.mkdir()
        (fresh.lake / "raw_stream").symlink_to(rig.lake / "raw_stream")
        stopped(fresh)
        dying = fresh.backfill()
        left = die_at(dying, at + 0.5 * after, monkeypatch)
        try:
            dying.forget()
        except Crash:
            crashed = True
        else:
            crashed = False
        monkeypatch.undo()
        assert crashed == (left[0] == 0)
        fresh.backfill().forget()
        outcome = fresh.run(GOOD)
        assert (outcome.clean, fresh.rows("dead_letter")) == (2, []), at
        fresh.audit()
        if not crashed:
            assert at > 5
            return
    pytest.fail("never got through")


def test_run_that_commits_the_files_while_they_are_given_up_has_its_way(rig, monkeypatch):
    entries = []

    def held(_ledger, entry):  # the other run has counted its rows, and is about to write its entry
        entries.append(entry)
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "append_if_absent", held)
        patch.setattr(Committer, "abort", lambda *_: None)
        with pytest.raises(Crash):
            rig.run(BAD, GOOD)
        patch.setattr(Committer, "_discard_orphans", lambda _: 0)
        patch.setattr(Ledger, "append_if_absent", lambda ledger, _: not appended(ledger, *entries))
        with pytest.raises(ConfigError, match="is committed"):
            rig.backfill().forget()
    assert len(rig.rows()) == 5
    assert rig.run(BAD, GOOD).already == 2
    rig.audit()


@pytest.mark.parametrize("more", [["x.csv"], ["--since", "2026-03-01"], ["--skip-existing"]])
def test_giving_up_loads_nothing(rig, capsys, more):
    assert "loads nothing" in forget(rig, capsys, *more, code=2)
