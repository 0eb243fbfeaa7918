"""Two backfills at once: whichever takes the next batch, each file is loaded, once."""

from __future__ import annotations

import threading

import pytest

from batch_app.backfill import engine
from batch_app.backfill.engine import Backfill, Outcome
from streaming_app.errors import IngestError
from tests.backfill_lake import STREAM, PlainLoader, Rig, backfill_lake
from tests.dead_lake import event

FIRST, SECOND = "raw_stream/2026/03/01", "raw_stream/2026/03/02"


@pytest.fixture
def rig(tmp_path, orders) -> Rig:
    return backfill_lake(tmp_path, orders)


class Faster:
    """A read log before whose next plan another run does something."""

    def __init__(self, log, meanwhile) -> None:
        self._log, self._meanwhile = log, meanwhile

    def __getattr__(self, name):
        return getattr(self._log, name)

    def put_plan_if_absent(self, epoch, plan):
        if self._meanwhile:
            meanwhile, self._meanwhile = self._meanwhile, None
            meanwhile(epoch)
        return self._log.put_plan_if_absent(epoch, plan)


def slower(rig: Rig, meanwhile) -> Backfill:
    run = rig.backfill()
    run._log = Faster(run._log, meanwhile)
    return run


def test_run_whose_batch_another_one_takes_loads_its_own_files_after_it(rig):
    others = {"files": [file.to_json() for file in rig.find(FIRST)], "key": None}
    outcome = Outcome(dry_run=False)
    run = slower(rig, lambda epoch: rig.backfill()._log.put_plan_if_absent(epoch, others))
    run.run(rig.find(SECOND), None, outcome)
    assert len(rig.rows()) == 5
    assert (outcome.finished, outcome.batches) == (1, ["backfill_stream/0", "backfill_stream/1"])
    assert rig.run(SECOND).already == 1
    rig.audit()


@pytest.mark.parametrize("paths", [[FIRST], [FIRST, SECOND]])
def test_files_that_another_run_loads_meanwhile_are_not_loaded_again(rig, paths, monkeypatch):
    monkeypatch.setattr(engine, "MAX_FILES", 1)
    outcome = Outcome(dry_run=False)
    run = slower(rig, lambda _: rig.run(*paths))
    run.run(rig.find(FIRST, SECOND), None, outcome)
    assert len(rig.rows()) == 5
    assert outcome.files + outcome.already == 2
    rig.audit()


def test_runs_in_parallel_load_each_file_once(rig, monkeypatch):
    monkeypatch.setattr(engine, "MAX_FILES", 2)
    for number in range(8):
        rig.write(f"raw_stream/2026/03/05/{number}", event(f"p{number}").encode())
    files = rig.find("raw_stream")
    gate = threading.Barrier(3)

    def load() -> None:
        gate.wait()
        for _ in range(20):
            try:
                Backfill(*rig.loaded(), STREAM, lambda: PlainLoader(rig.builder.dataset)).run(
                    files, None, Outcome(dry_run=False)
                )
            except IngestError:  # as documented: it may have to be run again
                continue
            return

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rig.rows()) == 13
    rig.audit()
