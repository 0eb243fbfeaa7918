"""`vacuum`: what is left over goes when it is old enough, and nothing that anybody owns."""

from __future__ import annotations

import json
import os
import time
import uuid
from pathlib import Path

import pytest

from batch_app.audit import audit
from batch_app.cli import main
from streaming_app.journal.switches import Switch, Switches
from streaming_app.places import compactions_of
from streaming_app.storage import StorageOptions, open_storage
from tests.audit_lake import LakeBuilder, healthy_lake
from tests.moto_server import CREDENTIALS, REGION, moto_server

STREAM = "clean/input_source=stream/order_date=2026-03-01"


@pytest.fixture(scope="module")
def aws():
    with pytest.MonkeyPatch.context() as environment, moto_server() as server:
        for name, value in CREDENTIALS.items():
            environment.setenv(name, value)
        yield server


@pytest.fixture
def lake(tmp_path, orders) -> LakeBuilder:
    return healthy_lake(str(tmp_path / "lake"), orders)


def s3_lake(aws, orders) -> LakeBuilder:
    bucket = f"lake-{uuid.uuid4().hex[:8]}"
    aws.client("s3").create_bucket(Bucket=bucket)
    return healthy_lake(f"s3://{bucket}/a/lake", orders, StorageOptions(aws.url, REGION, path_style=True))


def vacuum(lake: LakeBuilder, folder: Path, capsys, *arguments: str) -> dict:
    assert main(["vacuum", "--config", lake.config_file(folder), "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def files(lake: LakeBuilder) -> list[str]:
    return [info.key for info in lake.lake().list("")]


def orphan(lake: LakeBuilder, name: str = "") -> str:
    key = f"{STREAM}/{name or f'part-kinesis-{uuid.uuid4().hex}.parquet'}"
    lake.lake().put(key, b"rows of nobody")
    return key


def test_a_healthy_lake_loses_nothing(lake, tmp_path, capsys):
    before = files(lake)
    found = vacuum(lake, tmp_path, capsys, "--grace", "0s")
    assert (found["orphans"]["files"], found["staged"]["files"], found["replaced"]["files"]) == (0, 0, 0)
    assert files(lake) == before


def test_a_compacted_lake_loses_nothing_either(lake, tmp_path, capsys):
    assert main(["compact", "--config", lake.config_file(tmp_path), "--all", "--min-files", "2", "--json"]) == 0
    capsys.readouterr()
    before = files(lake)
    assert vacuum(lake, tmp_path, capsys, "--grace", "0s")["orphans"]["files"] == 0
    assert files(lake) == before
    assert audit(*lake.loaded(tmp_path), settled=True).ok


def test_files_of_nobody_go_when_they_are_old_enough(lake, tmp_path, capsys):
    key = orphan(lake)
    assert vacuum(lake, tmp_path, capsys)["orphans"]["files"] == 0  # of today
    assert vacuum(lake, tmp_path, capsys, "--grace", "0s", "--dry-run")["orphans"] == {"files": 1, "bytes": 14}
    assert key in files(lake)
    assert vacuum(lake, tmp_path, capsys, "--grace", "0s")["orphans"] == {"files": 1, "bytes": 14}
    assert key not in files(lake)
    assert audit(*lake.loaded(tmp_path), settled=True).ok


def test_a_file_that_the_sink_did_not_name_is_shown_and_left(lake, tmp_path, capsys):
    key = orphan(lake, "somebody.parquet")
    assert vacuum(lake, tmp_path, capsys, "--grace", "0s")["strangers"] == [key]
    assert key in files(lake)


def test_wrong_checkpoints_do_not_empty_a_lake(lake, tmp_path, capsys):
    before = files(lake)
    for number in range(3):
        orphan(lake, f"part-kinesis-{number:032x}.parquet")
    config = lake.config_file(tmp_path)
    elsewhere = f"lake.checkpoints={tmp_path / 'elsewhere'}"
    assert main(["vacuum", "--config", config, "--set", elsewhere, "--grace", "0s"]) == 6
    assert "--many-orphans" in capsys.readouterr().err
    assert set(before) <= set(files(lake))
    assert main(["vacuum", "--config", config, "--set", elsewhere, "--grace", "0s", "--many-orphans"]) == 0
    assert not [key for key in files(lake) if key.startswith(("clean", "dead_letter"))]


def test_staged_files_of_killed_runs_go_and_those_of_an_open_entry_stay(lake, tmp_path, capsys):
    storage = lake.lake()
    with_entry = lake.stage("csv", [["x#1"]])[0].files[0].staged
    ledger = Path(lake.root, "checkpoints/csv/ledger")
    entry = json.loads(next((ledger / "entries/open").glob("*1.json")).read_text())
    entry["batch"], entry["files"] = 2, [{"table": "clean", "partition": "p", "rows": 1, **with_entry.to_json()}]
    (ledger / f"entries/open/{2:020d}.json").write_text(json.dumps(entry))
    killed = storage.stage(f"{STREAM}/part-compact-{uuid.uuid4().hex}.parquet", "compact")
    killed.write(b"half")
    killed.finish()
    old = time.time() - 3600
    for file in Path(lake.root, "_staging").rglob("*.staged"):
        os.utime(file, (old, old))
    assert vacuum(lake, tmp_path, capsys)["staged"]["files"] == 0
    assert vacuum(lake, tmp_path, capsys, "--grace", "30m")["staged"] == {"files": 1, "bytes": 4}
    assert Path(lake.root, with_entry.handle["path"]).exists()


def test_uncompleted_uploads_go_on_s3(aws, orders, tmp_path, capsys):
    lake = s3_lake(aws, orders)
    staged = lake.lake().stage(f"{STREAM}/part-kinesis-{uuid.uuid4().hex}.parquet", "kinesis")
    staged.write(b"half")
    staged.finish()
    before = files(lake)
    assert vacuum(lake, tmp_path, capsys, "--grace", "36500d")["staged"]["files"] == 0  # moto's uploads began in 2010
    assert vacuum(lake, tmp_path, capsys, "--grace", "0s", "--dry-run")["staged"]["files"] == 1
    assert vacuum(lake, tmp_path, capsys, "--grace", "0s")["staged"]["files"] == 1
    assert vacuum(lake, tmp_path, capsys, "--grace", "0s")["staged"]["files"] == 0
    assert files(lake) == before


def test_uncompleted_uploads_into_the_checkpoints_go_and_those_of_others_stay(aws, orders, tmp_path, capsys):
    lake = s3_lake(aws, orders)
    bucket = lake.root.split("/")[2]
    s3 = aws.client("s3")
    ours = [
        "checkpoints/kinesis/offsets/7",
        "checkpoints/compaction/entries/folded/1.jsonl.gz",
        "checkpoints/csv/commits/3",
    ]
    others = ["checkpoints/of_somebody/else", "raw/upload.csv"]
    for key in (*ours, *others):
        s3.create_multipart_upload(Bucket=bucket, Key=f"a/lake/{key}")
    assert vacuum(lake, tmp_path, capsys, "--grace", "0s", "--dry-run")["staged"]["files"] == len(ours)
    assert vacuum(lake, tmp_path, capsys, "--grace", "0s")["staged"]["files"] == len(ours)
    left = [upload["Key"] for upload in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]]
    assert sorted(left) == sorted(f"a/lake/{key}" for key in others)


def glue_config(lake: LakeBuilder, folder: Path, aws) -> str:
    config = json.loads(Path(lake.config_file(folder)).read_text())
    file = folder / "glue.json"
    name = f"qsr_{uuid.uuid4().hex[:8]}"
    config["catalog"] = {"type": "glue", "database": name, "region": REGION, "endpoint_url": aws.url}
    file.write_text(json.dumps(config))
    assert main(["catalog", "sync", "--config", str(file)]) == 0
    return str(file)


def locations(aws, config: str) -> list[str]:
    name = json.loads(Path(config).read_text())["catalog"]["database"]
    found = aws.client("glue").get_partitions(DatabaseName=name, TableName="clean")["Partitions"]
    return sorted(partition["StorageDescriptor"]["Location"].rstrip("/") for partition in found)


def test_with_glue_readers_are_sent_to_the_new_files_and_back_and_the_copies_go(aws, orders, tmp_path, capsys):
    lake = s3_lake(aws, orders)
    config = glue_config(lake, tmp_path, aws)
    home = locations(aws, config)

    def run(*arguments: str) -> dict:
        capsys.readouterr()
        assert main([*arguments, "--config", config, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    first = run("compact", "--all", "--min-files", "2")
    assert (first["switched"], first["waiting"], first["settled"]) == (6, 6, 0)
    away = locations(aws, config)
    assert all(f"{lake.root}/compacted/" in place for place in away)
    assert len(away) == len(home)
    assert audit(*lake.loaded(tmp_path), settled=True).ok
    assert run("compact", "--all", "--min-files", "2")["waiting"] == 6  # within the grace period
    assert locations(aws, config) == away
    second = run("compact", "--all", "--min-files", "2", "--grace", "0s")
    assert (second["settled"], second["waiting"], second["replaced_files"]) == (6, 0, 0)
    assert locations(aws, config) == home
    assert audit(*lake.loaded(tmp_path), settled=True).ok
    assert len([key for key in files(lake) if key.startswith(("clean", "dead_letter"))]) == 6
    assert run("vacuum")["replaced"]["files"] == 0
    assert run("vacuum", "--grace", "0s")["replaced"]["files"] == 6
    assert not [key for key in files(lake) if key.startswith("compacted")]
    moves = open_storage(compactions_of(lake.loaded(tmp_path)[0].config), lake.storage)
    assert not list(moves.list("moves"))


def test_moves_that_were_written_down_and_never_begun_are_forgotten(lake, tmp_path, capsys):
    book = open_storage(f"{lake.root}/checkpoints/compaction")
    old, young, under_way, retired = (f"moves/{name}.json" for name in ("old", "young", "open", "retired"))
    for key in (old, young, under_way, retired):
        book.put(key, b"{}")
    Switches(book).begin(Switch("open", STREAM, "compacted/x/y", time.time(), switched=True))
    book.put("retired/retired.json", json.dumps({"target": "compacted/z"}).encode())
    hours_ago = time.time() - 2 * 3600
    for key in (old, under_way, retired):
        os.utime(Path(book.uri, key), (hours_ago, hours_ago))
    assert vacuum(lake, tmp_path, capsys, "--grace", "1h", "--dry-run")["moves"] == 1
    assert vacuum(lake, tmp_path, capsys, "--grace", "1h")["moves"] == 1
    assert [info.key for info in book.list("moves")] == [under_way, retired, young]
    assert vacuum(lake, tmp_path, capsys, "--grace", "0s")["moves"] == 0  # a young one may be about to begin


def test_an_interrupted_settlement_is_ended_by_vacuum(lake, tmp_path, capsys):
    del capsys
    assert main(["compact", "--config", lake.config_file(tmp_path), "--table", "clean", "--min-files", "2"]) == 0
    Path(lake.root, "checkpoints/compaction/published.json").unlink()
    assert main(["vacuum", "--config", lake.config_file(tmp_path)]) == 0
    assert Path(lake.root, "checkpoints/compaction/published.json").exists()
