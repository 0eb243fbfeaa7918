"""`--skip-existing` without Spark: whose keys the lake has, in hashed columns, beside compactions, before publication."""

from __future__ import annotations

from dataclasses import replace

import pyarrow.parquet as pq
import pytest
import yaml

from batch_app.backfill import present
from batch_app.backfill.engine import Backfill, Outcome
from batch_app.cli import main
from batch_app.compaction.plan import Wanted
from batch_app.compaction.run import compact
from streaming_app.errors import SinkError
from streaming_app.schema import PII_KEY, Dataset
from streaming_app.sink.commit import Committer
from streaming_app.storage.local import LocalStorage
from tests.audit_lake import REPOSITORY, file_read
from tests.backfill_lake import BATCH, STREAM, Crash, PlainLoader, Rig, backfill_lake
from tests.dead_lake import event

LATE = "raw_stream/2026/03/03/11/late"


@pytest.fixture
def rig(tmp_path, orders) -> Rig:
    made = backfill_lake(tmp_path, orders)
    made.write(LATE, "".join(map(event, ("o1", "o3", "o7", "o7"))).encode())
    return made


def run_command(rig: Rig, capsys, *arguments: str) -> tuple[int, str]:
    code = main([arguments[0], "--config", rig.builder.config_file(rig.folder), *arguments[1:]])
    return code, capsys.readouterr().err


def with_pii(rig: Rig, treatment: str) -> list[str]:
    """The lake's dataset with order_id hashed or masked; returns the setting that says so."""
    value = yaml.safe_load((REPOSITORY / "conf/datasets/orders.yaml").read_text())
    next(column for column in value["columns"] if column["name"] == "order_id")["pii"] = treatment
    file = rig.folder / "orders.yaml"
    file.write_text(yaml.safe_dump(value))
    rig.builder.dataset = Dataset.model_validate(value)
    return ["--set", f"dataset={file}"]


def run_under(rig: Rig, settings: list[str], *paths: str, key: str | None) -> Outcome:
    outcome = Outcome(dry_run=False)
    loaded, suite = rig.builder.loaded(rig.folder, *settings[1::2])
    Backfill(loaded, suite, STREAM, lambda: PlainLoader(rig.builder.dataset)).run(rig.find(*paths), key, outcome)
    return outcome


def test_hashed_keys_are_compared_as_the_lake_has_them(rig, monkeypatch):
    monkeypatch.setenv(PII_KEY, "a secret of sixteen characters")
    rig.run("raw_stream/2026/03/02")  # plain, from before the column was hashed
    settings = with_pii(rig, "hash")
    run_under(rig, settings, "raw_stream/2026/03/01", key=None)
    rig.write(LATE, "".join(map(event, ("o1", "o3", "o5", "o7", "o7"))).encode())
    outcome = run_under(rig, settings, LATE, key="order_id")
    assert (outcome.read, outcome.clean, outcome.duplicates) == (5, 1, 4)
    rig.audit()


def test_masked_key_is_refused_before_anything_is_done(rig, capsys):
    settings = with_pii(rig, "mask")
    code, error = run_command(rig, capsys, "backfill", "--skip-existing", str(rig.lake / LATE), *settings, "--dry-run")
    assert (code, "order_id is masked" in error, "--key" in error) == (2, True, True)
    code, error = run_command(
        rig, capsys, "backfill", "--skip-existing", "--key", "store_id", str(rig.lake / LATE), *settings, "--dry-run"
    )
    assert code == 0, error


def dead_service(rig: Rig, monkeypatch) -> None:
    """A batch of CSV rows of a service that died between its commit and the publication."""

    def dies(*_):
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(Committer, "_publish_all", dies)
        with pytest.raises(Crash):
            rig.builder.commit_files([file_read("a.csv", 5)])


def test_rows_that_a_dead_service_has_committed_are_waited_for_and_then_refused(rig, monkeypatch):
    dead_service(rig, monkeypatch)
    hurried = Backfill(*rig.loaded(), STREAM, lambda: PlainLoader(rig.builder.dataset), patience=0)
    with pytest.raises(SinkError, match=r"csv batch 0: committed, but not visible yet\. Start the service"):
        hurried.run(rig.find(LATE), "order_id", Outcome(dry_run=False))
    assert rig.rows() == []

    def published(_seconds):  # meanwhile the service has started
        Committer(rig.builder.options("csv")).recover()

    monkeypatch.setattr(present.time, "sleep", published)
    outcome = rig.run(LATE, key="order_id")
    assert (outcome.clean, outcome.finished) == (3, 1)
    assert len(rig.rows()) == 7


def test_rows_without_keys_to_compare_do_not_wait_for_anybody(rig, monkeypatch):
    dead_service(rig, monkeypatch)
    hurried = Backfill(*rig.loaded(), STREAM, lambda: PlainLoader(rig.builder.dataset), patience=0)
    hurried.run(rig.find(LATE), None, Outcome(dry_run=False))
    assert len(rig.rows()) == 4


def test_what_a_backfill_of_the_other_kind_has_committed_is_made_visible_first(rig, monkeypatch):
    def dies(*_):
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(Committer, "_publish_all", dies)
        with pytest.raises(Crash):
            rig.run("raw", source=BATCH)
    assert rig.rows() == []
    rig.backfill(BATCH).publish()
    assert rig.rows() == ["raw/day.csv#1"]


class Overtaken(LocalStorage):
    """A lake whose listing of a partition is overtaken, as one of several pages on S3 may be.

    The new files' names stood in the page that was read before, the old ones' stand in the page that is read after.
    """

    def __init__(self, root: str, meanwhile) -> None:
        super().__init__(root)
        self._meanwhile = meanwhile

    def list(self, prefix: str):
        listed = list(super().list(prefix))
        if self._meanwhile and len(listed) > 1:
            meanwhile, self._meanwhile = self._meanwhile, None
            meanwhile()
            after = {info.key for info in super().list(prefix)}
            listed = [info for info in listed if info.key in after]
        yield from listed


class Opened(LocalStorage):
    """A lake in which `meanwhile` happens between the listing and the first file that is opened."""

    def __init__(self, root: str, meanwhile) -> None:
        super().__init__(root)
        self._meanwhile = meanwhile

    def open(self, key: str):
        if self._meanwhile:
            meanwhile, self._meanwhile = self._meanwhile, None
            meanwhile()
        return super().open(key)


@pytest.mark.parametrize("kind", [Overtaken, Opened])
def test_keys_are_found_though_a_compaction_overtakes_the_listing(rig, monkeypatch, kind):
    for number in range(8):
        rig.write(f"raw_stream/2026/03/02/1{number}/e", event(f"k{number}").encode())
        rig.run(f"raw_stream/2026/03/02/1{number}")

    def meanwhile():
        outcome = compact(*rig.loaded(), Wanted(min_files=2))
        assert outcome.replaced_files == 8

    rig.write(LATE, "".join(event(f"k{n}") for n in range(9)).encode())
    lake = kind(rig.builder.root, meanwhile)
    made = present.Present.of

    def of(skip, sink, dataset):
        return replace(made(skip, sink, dataset), lake=lake)

    monkeypatch.setattr(present.Present, "of", of)
    outcome = rig.run(LATE, key="order_id")
    assert lake._meanwhile is None
    assert (outcome.clean, outcome.duplicates) == (1, 8)


def test_file_from_before_the_key_was_a_column_has_none_of_its_values(rig):
    rig.run("raw_stream/2026/03/01")
    (file,) = rig.lake.glob("clean/*/*/*.parquet")
    pq.write_table(pq.read_table(file, partitioning=None).drop_columns(["order_id"]), file)
    outcome = rig.run(LATE, key="order_id")
    assert (outcome.clean, outcome.duplicates) == (3, 1)
