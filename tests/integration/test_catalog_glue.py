"""`catalog sync | show`, and registration at commit, against moto's Glue and S3."""

from __future__ import annotations

import json
import time
import uuid
from datetime import date, timedelta

import pytest
import yaml
from botocore.exceptions import ClientError

from batch_app.catalog.following import register_batches, register_files
from batch_app.cli import main
from streaming_app.arguments import load_all
from streaming_app.catalog import Partition, Registrar, open_catalog
from streaming_app.errors import ConfigError
from streaming_app.journal.ledger import Ledger
from streaming_app.storage import StorageOptions
from tests.audit_lake import REPOSITORY, LakeBuilder, file_read
from tests.moto_server import CREDENTIALS, REGION, moto_server

DAYS = ("2026-03-01", "2026-03-02")


@pytest.fixture(scope="module")
def aws():
    with moto_server() as server:
        yield server


class World:
    """A lake in a bucket and a database of its own."""

    def __init__(self, aws, folder, orders, name):
        self.aws, self.folder, self.database = aws, folder, name.replace("-", "_")
        self.root = f"s3://{name}/lake"
        self.glue, self.s3 = aws.client("glue"), aws.client("s3")
        self.s3.create_bucket(Bucket=name)
        self.changes = {
            "type": "glue", "database": self.database, "endpoint_url": aws.url, "region": REGION, "partitions": "registered",
        }  # fmt: skip
        options = StorageOptions(endpoint_url=aws.url, region=REGION, path_style=True)
        self.file = LakeBuilder(self.root, orders, options).config_file(folder)
        self.books = LakeBuilder(str(folder / "books"), orders)  # ledgers; a local folder is faster
        for source in ("stream", "batch"):
            for day in DAYS:
                self.upload(f"clean/input_source={source}/order_date={day}/part-1.parquet")
            self.upload(f"dead_letter/input_source={source}/dead_date={DAYS[0]}/part-1.parquet")
        self.upload("clean/_temporary/x.parquet")

    def upload(self, key):
        self.s3.put_object(Bucket=self.root.split("/")[2], Key=f"lake/{key}", Body=b"x")

    def arguments(self, *more):
        changes = [part for key, value in self.changes.items() for part in ("--set", f"catalog.{key}={value}")]
        return ["--config", self.file, *changes, *more]

    def overrides(self):
        return [f"catalog.{key}={value}" for key, value in self.changes.items()]

    def run(self, capsys, command, *more, code=0):
        assert main(["catalog", command, *self.arguments("--json", *more)]) == code
        captured = capsys.readouterr()
        return json.loads(captured.out) if code == 0 else captured.err

    def catalog(self, calls=None):
        loaded, _ = load_all(self.file, self.overrides())
        client = self.aws.client("glue")
        if calls is not None:
            client.meta.events.register("before-call.glue", lambda model, **_: calls.append(model.name))
        return open_catalog(loaded.config, loaded.dataset, client)

    def registered(self, table="clean"):
        found = self.glue.get_partitions(DatabaseName=self.database, TableName=table)["Partitions"]
        return {"/".join(item["Values"]): item["StorageDescriptor"]["Location"] for item in found}

    def empty(self, capsys):
        """Tables without partitions."""
        self.run(capsys, "sync")
        for table in ("clean", "dead_letter"):
            values = [{"Values": name.split("/")} for name in self.registered(table)]
            self.glue.batch_delete_partition(DatabaseName=self.database, TableName=table, PartitionsToDelete=values)

    def columns(self, table="clean"):
        found = self.glue.get_table(DatabaseName=self.database, Name=table)["Table"]["StorageDescriptor"]["Columns"]
        return {column["Name"]: column["Type"] for column in found}

    def dataset(self, change):
        """Write a changed dataset and use it from now on."""
        document = yaml.safe_load((REPOSITORY / "conf/datasets/orders.yaml").read_text())
        change(document)
        (self.folder / "orders.yaml").write_text(yaml.safe_dump(document))
        config = json.loads((self.folder / "config.yaml").read_text())
        (self.folder / "config.yaml").write_text(json.dumps({**config, "dataset": str(self.folder / "orders.yaml")}))


@pytest.fixture
def world(aws, tmp_path, orders, monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    yield World(aws, tmp_path, orders, f"cat-{uuid.uuid4().hex[:12]}")
    aws.heal()


def test_sync_makes_tables_and_registers_what_the_lake_has(world, capsys):
    planned = world.run(capsys, "sync", "--dry-run")
    assert planned["exists"] is False
    with pytest.raises(ClientError, match="EntityNotFound"):
        world.glue.get_database(Name=world.database)
    world.run(capsys, "sync")
    root = world.root
    wanted = {
        f"{source}/{day}": f"{root}/clean/input_source={source}/order_date={day}/"
        for source in ("stream", "batch")
        for day in DAYS
    }
    assert world.registered() == wanted
    assert set(world.registered("dead_letter")) == {f"{source}/{DAYS[0]}" for source in ("stream", "batch")}
    assert world.columns()["amount"] == "decimal(10,2)"
    again = world.run(capsys, "sync")
    assert again["in_step"] is True
    shown = world.run(capsys, "show")
    assert shown["tables"][0]["registered"] == 4


def test_tables_of_glue_are_those_of_ddl(world, capsys):
    world.run(capsys, "sync")
    assert main(["catalog", "ddl", *world.arguments("--json")]) == 0
    statements = json.loads(capsys.readouterr().out)
    for name, kind in world.columns().items():
        assert f"`{name}` {kind}" in statements[1]
    assert "dead_letter" in statements[3]
    for name, kind in world.columns("dead_letter").items():
        assert f"`{name}` {kind}" in statements[3]


def test_partitions_are_registered_a_hundred_a_call_and_only_once(world, capsys):
    world.run(capsys, "sync")
    calls: list[str] = []
    catalog = world.catalog(calls)
    days = [Partition("clean", "stream", date(2020, 1, 1) + timedelta(days=number)) for number in range(250)]
    assert sorted(catalog.register(days)) == days
    assert calls.count("BatchCreatePartition") == 3
    catalog.switch(days[0], "s3://elsewhere/x")
    assert catalog.register(days) == []
    assert catalog.location(days[0]) == "s3://elsewhere/x"
    assert len(world.registered()) == 254


def test_location_moves_in_one_call_and_sync_leaves_it_there(world, capsys):
    world.run(capsys, "sync")
    calls: list[str] = []
    partition = Partition("clean", "stream", date(2026, 3, 1))
    world.catalog(calls).switch(partition, f"{world.root}/compacted/a/")
    assert [name for name in calls if not name.startswith("Get")] == ["UpdatePartition"]
    world.run(capsys, "sync")
    shown = world.run(capsys, "show")
    assert shown["in_step"] is True
    assert shown["tables"][0]["moved"] == {"stream/2026-03-01": f"{world.root}/compacted/a"}
    assert world.registered()["stream/2026-03-01"] == f"{world.root}/compacted/a/"


def test_unregistered_partition_can_be_switched_to_a_place(world, capsys):
    world.run(capsys, "sync")
    partition = Partition("clean", "stream", date(2019, 1, 1))
    world.catalog().switch(partition, "s3://elsewhere/y")
    assert world.catalog().location(partition) == "s3://elsewhere/y"


def test_added_column_goes_to_the_end_and_other_drift_is_refused(world, capsys):
    world.run(capsys, "sync")
    before = list(world.columns())
    world.dataset(lambda document: document["columns"].insert(1, {"name": "tip", "type": "decimal(6,2)"}))
    assert [column["name"] for column in world.run(capsys, "show")["tables"][0]["added_columns"]] == ["tip"]
    world.run(capsys, "sync")
    assert list(world.columns()) == [*before, "tip"]
    assert world.columns()["tip"] == "decimal(6,2)"

    def narrower(document):
        next(column for column in document["columns"] if column["name"] == "amount")["type"] = "double"
        document["columns"].append({"name": "voucher", "type": "string"})

    world.dataset(narrower)
    error = world.run(capsys, "sync", code=2)
    assert "clean.amount is decimal(10,2) in the catalog and double in the dataset" in error
    assert "clean.tip is in the catalog and not in the dataset" in error
    assert "voucher" not in world.columns()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table["PartitionKeys"].pop(), "is partitioned by"),
        (
            lambda table: table["StorageDescriptor"].update(Location="s3://other/lake/clean/"),
            "is at s3://other/lake/clean",
        ),
        (lambda table: table["Parameters"].update({"projection.enabled": "true"}), "by projection in the catalog"),
        (
            lambda table: table["StorageDescriptor"].update(SerdeInfo={"SerializationLibrary": "org.OpenCSVSerde"}),
            "not as Parquet",
        ),
    ],
)
def test_what_somebody_else_made_of_a_table_is_refused_with_what_to_do(world, capsys, change, message):
    world.run(capsys, "sync")
    table = world.glue.get_table(DatabaseName=world.database, Name="clean")["Table"]
    table = {key: table[key] for key in ("Name", "TableType", "Parameters", "PartitionKeys", "StorageDescriptor")}
    change(table)
    world.glue.update_table(DatabaseName=world.database, TableInput=table)
    assert message in world.run(capsys, "sync", code=2)
    assert any(message in text for text in world.run(capsys, "show")["tables"][0]["refused"])


def test_projection_registers_nothing_and_follows_the_first_day(world, capsys):
    world.changes["partitions"] = "projection"
    world.run(capsys, "sync")
    assert world.registered() == {}
    parameters = world.glue.get_table(DatabaseName=world.database, Name="clean")["Table"]["Parameters"]
    assert parameters["projection.order_date.range"] == "2020-01-01,NOW+1DAYS"
    world.changes["since"] = "2025-01-01"
    world.run(capsys, "sync")
    parameters = world.glue.get_table(DatabaseName=world.database, Name="clean")["Table"]["Parameters"]
    assert parameters["projection.order_date.range"] == "2025-01-01,NOW+1DAYS"
    with pytest.raises(ConfigError, match="projection computes"):
        world.catalog().switch(Partition("clean", "stream", date(2026, 3, 1)), "s3://a/b")


def test_people_see_steps_and_differences(world, capsys):
    assert main(["catalog", "sync", *world.arguments("--dry-run")]) == 0
    out = capsys.readouterr().out
    assert f"would make database {world.database}" in out
    assert "would register 4 partitions of clean" in out
    assert main(["catalog", "show", *world.arguments()]) == 0
    assert "not there" in capsys.readouterr().out


def test_without_a_catalog_the_commands_say_what_to_configure(world, capsys):
    world.changes["type"] = "none"
    assert "catalog.type: glue" in world.run(capsys, "sync", code=2)


def test_refusal_of_glue_names_the_permissions(world, capsys):
    world.aws.fail("POST", "GetDatabase", status=400, code="AccessDeniedException", times=-1)
    assert "glue:GetDatabase" in world.run(capsys, "show", code=6)


class Told:
    def __init__(self):
        self.alerts = []

    def __call__(self, alert):
        self.alerts.append(alert)


def entries(world):
    return list(Ledger(world.books.checkpoint("csv")).entries())


def registrar(world, told=None, calls=None):
    return Registrar(world.catalog(calls), {"csv": Ledger(world.books.checkpoint("csv"))}, told or Told(), retry=0.05)


def eventually(condition):
    """Wait for another thread; far longer than it takes."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_partitions_of_a_batch_are_registered_when_it_ends(world, capsys):
    world.empty(capsys)
    calls: list[str] = []
    running = registrar(world, calls=calls)
    running.start()
    world.books.commit_files([file_read("new.csv", 10)])
    running.on_batch("csv", entries(world)[0])
    eventually(lambda: len(world.registered("dead_letter")) == 1)  # the second table of two
    assert set(world.registered()) == {f"batch/{day}" for day in DAYS}
    made = calls.count("BatchCreatePartition")
    world.books.commit_files([file_read("more.csv", 10)])
    running.on_batch("csv", entries(world)[1])
    running.close()
    assert calls.count("BatchCreatePartition") == made  # the driver remembers what is registered
    assert Ledger(world.books.checkpoint("csv")).registered_through() == 1


def test_start_makes_up_for_batches_that_were_never_registered(world, capsys):
    world.empty(capsys)
    world.books.commit_files([file_read("a.csv", 10)])
    world.books.commit_files([file_read("b.csv", 10)])
    running = registrar(world)
    running.start()
    eventually(lambda: len(world.registered()) == 2)
    running.close()
    assert Ledger(world.books.checkpoint("csv")).registered_through() == 1


def test_batch_that_was_not_reported_is_registered_with_the_next(world, capsys):
    world.empty(capsys)
    running = registrar(world)
    running.start()
    world.books.commit_files([file_read("a.csv", 10)])
    world.books.commit_files([file_read("b.csv", 1)])  # a dead letter alone: no partition of clean
    running.on_batch("csv", entries(world)[1])
    running.close()
    assert len(world.registered()) == 2


def test_catalog_that_fails_alerts_and_is_asked_again(world, capsys):
    world.empty(capsys)
    world.books.commit_files([file_read("a.csv", 10)])
    world.aws.fail("POST", "BatchCreatePartition", status=400, code="InternalServiceException", times=-1)
    told = Told()
    running = registrar(world, told=told)
    running.start()
    eventually(lambda: told.alerts)
    assert "readers do not see them yet" in told.alerts[0].title
    assert Ledger(world.books.checkpoint("csv")).registered_through() == -1
    world.aws.heal()
    eventually(lambda: Ledger(world.books.checkpoint("csv")).registered_through() == 0)
    assert len(world.registered()) == 2
    running.close()


def test_missing_table_is_an_alert_that_names_the_command(world):
    told = Told()
    world.books.commit_files([file_read("a.csv", 10)])
    running = registrar(world, told=told)
    running.start()
    eventually(lambda: told.alerts)
    assert "catalog sync" in told.alerts[0].text
    running.close()


def test_command_that_wrote_registers_before_it_ends_and_a_failure_is_only_a_note(world, capsys):
    world.empty(capsys)
    world.books.commit_files([file_read("a.csv", 10)])
    loaded, _ = load_all(world.file, world.overrides())
    ledgers = {"csv": Ledger(world.books.checkpoint("csv"))}
    world.aws.fail("POST", "BatchCreatePartition", status=400, code="InternalServiceException", times=-1)
    register_batches(loaded, ledgers)
    assert "`python -m batch_app catalog sync` makes up for it" in capsys.readouterr().err
    world.aws.heal()
    register_batches(loaded, ledgers)
    assert len(world.registered()) == 2
    register_files(loaded, ["clean/input_source=stream/order_date=2021-01-01/part-2.parquet", "checkpoints/x/y/z"])
    assert len(world.registered()) == 3
    assert "note:" not in capsys.readouterr().err


def test_lakes_without_s3_or_database_cannot_have_a_catalog(tmp_path, orders):
    file = LakeBuilder(str(tmp_path / "lake"), orders).config_file(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load_all(file, ["catalog.type=glue"])
    assert {problem.key for problem in caught.value.problems} >= {"catalog.type", "catalog.database"}
