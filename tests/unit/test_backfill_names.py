"""A file is loaded once, however it is named: by links, `..`, file:// addresses, relative paths, S3 addresses."""

from __future__ import annotations

import pytest

from batch_app.backfill.engine import Outcome
from batch_app.backfill.inputs import Names, Wanted, find
from tests.backfill_lake import BATCH, STREAM, Rig, backfill_lake
from tests.dead_lake import HEADER, csv_row, event


@pytest.fixture
def rig(tmp_path, orders) -> Rig:
    return backfill_lake(tmp_path, orders)


def load(rig: Rig, *paths: str, source=BATCH) -> Outcome:
    outcome = Outcome(dry_run=False)
    files = find(Wanted(paths), rig.loaded()[0].config).files[source]
    rig.backfill(source).run(files, None, outcome)
    return outcome


def test_spellings_of_a_file_outside_of_the_lake_are_one_file(rig, tmp_path, monkeypatch):
    folder = tmp_path / "old years"
    folder.mkdir()
    (folder / "day.csv").write_text(f"{HEADER}\n{csv_row('c1')}\n")
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    plain = str(folder / "day.csv")
    spellings = [
        plain,
        f"{tmp_path}/link/day.csv",
        f"{tmp_path}/link/",
        f"{tmp_path}/lake/../old years/day.csv",
        f"file://{tmp_path}/old%20years/day.csv",
        f"file://{tmp_path}/old%20years",
        "old years/day.csv",
        "link",
    ]
    assert len(find(Wanted(spellings), rig.loaded()[0].config).files[BATCH]) == 1
    for first, spelling in enumerate(spellings):
        outcome = load(rig, spelling)
        assert (outcome.files, outcome.already) == ((0, 1) if first else (1, 0)), spelling
    assert rig.rows() == [f"{plain}#1"]
    rig.audit()


@pytest.mark.parametrize("root", ["{0}/x/../lake", "{0}/linked", "file://{0}/lake"])
def test_file_of_the_lake_is_the_same_by_every_spelling_of_the_root(rig, tmp_path, root):
    (tmp_path / "x").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "lake")
    rig.run("raw", source=BATCH)
    rig.builder.root = root.format(tmp_path)
    for path in (f"{tmp_path}/lake/raw/day.csv", f"{tmp_path}/linked/raw", f"{root.format(tmp_path)}/raw"):
        assert load(rig, path).already == 1
    assert load(rig, f"{tmp_path}/linked/raw_stream", source=STREAM).files == 2
    rig.builder.root = str(tmp_path / "lake")
    assert all(position.startswith(("raw/", "raw_stream/")) for position in rig.rows())
    rig.audit()


def test_folder_that_is_linked_into_the_lake_has_its_name_there(rig, tmp_path):
    elsewhere = tmp_path / "disk2"
    (rig.lake / "raw_stream").rename(elsewhere)
    (rig.lake / "raw_stream").symlink_to(elsewhere)
    assert load(rig, str(rig.lake / "raw_stream"), source=STREAM).files == 2
    assert rig.rows()[0].startswith("raw_stream/2026/03/01/")
    (elsewhere / "2026/03/03").mkdir()
    (elsewhere / "2026/03/03/more.json").write_text(event("o9"))
    found = find(Wanted((str(elsewhere),), source=STREAM), rig.loaded()[0].config).files[STREAM]
    assert [file.name for file in rig.backfill().new(found)] == [str(elsewhere / "2026/03/03/more.json")]


def test_names_that_earlier_versions_put_into_plans_are_recognised(rig, tmp_path):
    folder = tmp_path / "old years"
    folder.mkdir()
    (folder / "day.csv").write_text("x")
    (tmp_path / "link").symlink_to(folder)
    names = Names(f"{tmp_path}/lake/")
    truth = names.identity(names.name(f"{folder}/day.csv"))
    for earlier in (f"{tmp_path}/link/day.csv", "../old years/day.csv", f"{tmp_path}/old%20years/day.csv"):
        assert names.identity(earlier) == truth
    assert names.identity("raw/day.csv") == names.identity(f"{tmp_path}/lake/raw/day.csv")


def test_s3_addresses_differ_by_scheme_and_slashes_only():
    names = Names("s3a://bucket/lake/")
    assert names.name("s3://bucket/lake/raw/day.csv") == "raw/day.csv"
    same = {
        "raw/day.csv",
        "s3://bucket/lake/raw/day.csv",
        "s3a://bucket/lake/raw/day.csv",
        "s3://bucket//lake/raw/day.csv",
    }
    assert len({names.identity(name) for name in same}) == 1
    assert names.identity("s3://bucket/lake/raw/../raw/day.csv") != names.identity("raw/day.csv")  # S3 knows no folders
    assert names.name("s3://other/x%20y.csv") == "s3://other/x%20y.csv"
