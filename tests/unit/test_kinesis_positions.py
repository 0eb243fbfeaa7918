"""Positions per shard: exported from one checkpoint, and given to another."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from streaming_app.cli import main
from streaming_app.config.models import parse_start
from streaming_app.config.positions import StartPositions
from streaming_app.errors import ConfigError, DataLossError, SinkError, SourceError
from streaming_app.journal.ledger import Counts, Entry, Ledger
from streaming_app.journal.losses import Loss, Losses
from streaming_app.sources.kinesis.clock import SystemClock
from streaming_app.sources.kinesis.standing import exported, standing_of
from streaming_app.storage.local import LocalStorage
from tests.conftest import REPOSITORY
from tests.kinesis_reading import STREAM, context, credentials
from tests.spark_files import LoggedQuery
from tests.strict_kinesis import number, strict_kinesis

FIRST, SECOND, THIRD = (f"shardId-{n:012d}" for n in range(3))


@pytest.fixture(autouse=True)
def _credentials(monkeypatch):
    credentials(monkeypatch)


class LaterClock(SystemClock):
    """The machine's clock, some hours on."""

    hours = 0.0

    def now(self) -> float:
        return super().now() + self.hours * 3600


@pytest.fixture
def clock():
    return LaterClock()


@pytest.fixture
def kinesis(clock):
    with strict_kinesis(clock.now, iterator_life=1e9) as server:
        yield server


@pytest.fixture
def query(kinesis, tmp_path, clock):
    def make(name: str, **changes) -> LoggedQuery:
        folder = tmp_path / "checkpoints" / name
        return LoggedQuery(lambda: context(kinesis.url, folder, clock, **changes), folder)

    return make


def events(first: int, last: int) -> list[bytes]:
    return [b"event %d" % n for n in range(first, last)]


def export(reader: LoggedQuery) -> str:
    return exported(STREAM, standing_of(LocalStorage(str(reader.folder)))).to_text()


def losses(reader: LoggedQuery) -> list[Loss]:
    return Losses(reader.make().read_log).all()


def entry(batch: int, epoch: int, stream: str = STREAM) -> Entry:
    return Entry(batch, epoch, f"kinesis:{stream}", "suite", "token", Counts(), (), None, 0.0)


def begins(query, document: dict) -> LoggedQuery:
    reader = query("given", starting_position=json.dumps(document))
    reader.start()
    return reader


def refused(query, document: dict) -> str:
    with pytest.raises(SourceError) as caught:
        begins(query, document)
    return str(caught.value)


@pytest.mark.parametrize("batches", [0, 1, 2, 3, 8])
def test_half_is_read_with_one_checkpoint_and_the_rest_with_another(kinesis, query, batches):
    kinesis.create(STREAM, shards=3)
    sent = kinesis.put(STREAM, events(0, 60))
    first = query("first", max_records_per_shard=5)
    first.run(batches)
    second = query("second", starting_position=export(first))
    sent += kinesis.put(STREAM, events(60, 90))
    rows = first.rows + second.run().rows
    assert sorted(rows) == sorted(sent)


@pytest.mark.parametrize("batches", range(1, 9))
def test_nothing_is_lost_or_repeated_when_the_stream_is_resharded_before_and_after_the_export(kinesis, query, batches):
    kinesis.create(STREAM, shards=2)
    sent = kinesis.put(STREAM, events(0, 30))
    first = query("first", max_records_per_shard=6)
    first.run(1)
    left, right = kinesis.split(STREAM, FIRST)
    sent += kinesis.put(STREAM, events(30, 60))
    kinesis.merge(STREAM, right, SECOND)
    sent += kinesis.put(STREAM, events(60, 90))
    first.run(batches)
    second = query("second", starting_position=export(first))
    kinesis.split(STREAM, left)
    sent += kinesis.put(STREAM, events(90, 120))
    rows = first.rows + second.run().rows
    assert sorted(rows) == sorted(sent)


def test_parents_that_expired_before_the_export_is_used_lose_nothing(kinesis, query):
    kinesis.create(STREAM)
    sent = kinesis.put(STREAM, events(0, 10))
    kinesis.split(STREAM, FIRST)
    first = query("first").run(1)
    first.run(1)
    given = export(first)
    sent += kinesis.put(STREAM, events(10, 30))
    kinesis.expire_shard(STREAM, FIRST)
    rows = first.rows + query("second", starting_position=given).run().rows
    assert sorted(rows) == sorted(sent)


def test_the_given_positions_are_decided_once(kinesis, query):
    kinesis.create(STREAM)
    sent = kinesis.put(STREAM, events(0, 10))
    given = {"shards": {FIRST: f"AFTER:{sent[3].partition(':')[2]}"}}
    reader = begins(query, given).run()
    again = query("given", starting_position="TRIM_HORIZON")
    assert again.epochs.initial() == reader.offsets[0]
    assert sorted(reader.rows) == sorted(sent[4:])


def test_a_batch_that_was_begun_and_not_finished_is_exported_from_its_beginning(kinesis, query):
    kinesis.create(STREAM)
    sent = kinesis.put(STREAM, events(0, 30))
    first = query("first", max_records_per_shard=10).run(1)
    first.plan()
    first.read(keep=False)
    standing = standing_of(LocalStorage(str(first.folder)))
    assert standing.again == 1
    rows = first.rows + query("second", starting_position=export(first)).run().rows
    assert sorted(rows) == sorted(sent)


def test_a_batch_that_the_ledger_has_counts_as_read_though_spark_does_not_know_it(kinesis, query):
    kinesis.create(STREAM)
    sent = kinesis.put(STREAM, events(0, 30))
    first = query("first", max_records_per_shard=10).run(1)
    first.plan()
    first.read()
    ledger = Ledger(LocalStorage(str(first.folder)))
    for batch in (0, 1):
        ledger.append_if_absent(entry(batch, batch + 1))
        ledger.mark_published(batch)
    assert standing_of(LocalStorage(str(first.folder))).again == -1
    rows = first.rows + query("second", starting_position=export(first)).run().rows
    assert sorted(rows) == sorted(sent)


def test_a_ledger_that_is_ahead_of_sparks_log_gives_no_positions(kinesis, query):
    kinesis.create(STREAM)
    kinesis.put(STREAM, events(0, 30))
    first = query("first", max_records_per_shard=10).run(1)
    Ledger(LocalStorage(str(first.folder))).append_if_absent(entry(7, 8))
    with pytest.raises(SinkError, match="batch 7"):
        export(first)


def test_a_checkpoint_that_has_not_begun_gives_no_positions(tmp_path):
    with pytest.raises(ConfigError, match="no query has begun"):
        standing_of(LocalStorage(str(tmp_path)))


def test_a_read_log_without_the_reads_of_sparks_last_batch_is_reported(kinesis, query):
    kinesis.create(STREAM)
    kinesis.put(STREAM, events(0, 30))
    first = query("first").run(1)
    for path in (first.folder / "read_log").rglob("*.json"):
        path.unlink()
    with pytest.raises(SourceError, match=FIRST):
        export(first)


def test_shards_that_nobody_named_are_listed_and_nothing_begins(kinesis, query):
    kinesis.create(STREAM, shards=3)
    text = refused(query, {"shards": {FIRST: "TRIM_HORIZON"}})
    assert SECOND in text
    assert THIRD in text
    assert FIRST not in text
    assert "default" in text


def test_the_default_takes_the_shards_that_nobody_named(kinesis, query):
    kinesis.create(STREAM, shards=3)
    sent = kinesis.put(STREAM, events(0, 30))
    own = [row for row in sent if row.startswith(FIRST)]
    given = {"shards": {FIRST: f"AT:{own[2].partition(':')[2]}"}, "default": "TRIM_HORIZON"}
    assert sorted(begins(query, given).run().rows) == sorted(set(sent) - set(own[:2]))


def test_the_default_begins_at_the_oldest_shards_and_their_children_follow(kinesis, query):
    kinesis.create(STREAM, shards=2)
    sent = kinesis.put(STREAM, events(0, 20))
    kinesis.split(STREAM, SECOND)
    sent += kinesis.put(STREAM, events(20, 40))
    given = {"shards": {FIRST: "TRIM_HORIZON"}, "default": "EARLIEST"}
    reader = begins(query, given)
    assert set(reader.offsets[0].shards) == {FIRST, SECOND}
    assert sorted(reader.run().rows) == sorted(sent)


def test_latest_as_a_position_or_default_means_the_moment_of_the_start(kinesis, query):
    kinesis.create(STREAM, shards=3)
    kinesis.put(STREAM, events(0, 20))
    kinesis.split(STREAM, SECOND)
    reader = begins(query, {"shards": {FIRST: "LATEST"}, "default": "LATEST"})
    assert "LATEST" not in str(reader.offsets)
    sent = kinesis.put(STREAM, events(20, 60))
    assert sorted(reader.run().rows) == sorted(sent)


def test_a_time_is_taken_in_either_spelling(kinesis, query):
    kinesis.create(STREAM)
    moment = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    sent = kinesis.put(STREAM, events(0, 20))
    for text in (f"AT_TIMESTAMP {moment}", f"AT_TIMESTAMP:{moment}"):
        parsed = StartPositions.from_json({"shards": {FIRST: text}})
        assert parsed.shards[FIRST].startswith("AT_TIMESTAMP:")
        assert parsed.shards[FIRST].endswith("Z")
    assert begins(query, {"shards": {FIRST: f"AT_TIMESTAMP:{moment}"}}).run().rows == sent


FUTURE = "2999-01-01T00:00:00Z"


@pytest.mark.parametrize(
    "start",
    [
        f"AT_TIMESTAMP {FUTURE}",
        {"shards": {FIRST: f"AT_TIMESTAMP:{FUTURE}"}},
        {"shards": {}, "default": f"AT_TIMESTAMP:{FUTURE}"},
    ],
)
def test_a_start_in_the_future_is_refused_and_begins_nothing(kinesis, query, start):
    """Kinesis refuses such a timestamp at each read, and a start counts once: the checkpoint would be lost."""
    kinesis.create(STREAM)
    sent = kinesis.put(STREAM, events(0, 5))
    with pytest.raises(ValueError, match="lies in the future"):
        parse_start(start)
    text = start if isinstance(start, str) else json.dumps(start)
    with pytest.raises((SourceError, ValueError), match="lies in the future"):
        query("given", starting_position=text).run()
    assert query("given").run().rows == sent


def test_descendants_of_named_and_finished_shards_need_no_position(kinesis, query):
    kinesis.create(STREAM, shards=2)
    kinesis.put(STREAM, events(0, 20))
    left, right = kinesis.split(STREAM, FIRST)
    sent = kinesis.put(STREAM, events(20, 60))
    rest = [row for row in sent if not row.startswith(SECOND)]
    last = kinesis.records(STREAM)[-1].partition(":")[2]
    given = {"shards": {SECOND: f"AFTER:{last}"}, "finished": {FIRST: "TRIM_HORIZON"}}
    reader = begins(query, given)
    assert set(reader.offsets[0].shards) == {SECOND, left, right}
    assert sorted(reader.run().rows) == sorted(rest)


def test_a_named_shard_that_does_not_exist_is_reported(kinesis, query):
    kinesis.create(STREAM)
    text = refused(query, {"shards": {FIRST: "TRIM_HORIZON", "shardId-000000000099": "TRIM_HORIZON"}})
    assert "shardId-000000000099" in text
    assert "default" in text


def test_positions_of_another_stream_are_refused_with_what_to_do(kinesis, query):
    kinesis.create(STREAM)
    text = refused(query, {"stream": "old-orders", "shards": {FIRST: "TRIM_HORIZON"}})
    assert "old-orders" in text
    assert "AT_TIMESTAMP" in text


def test_a_sequence_number_that_kinesis_refuses_begins_nothing(kinesis, query, tmp_path):
    kinesis.create(STREAM)
    text = refused(query, {"shards": {FIRST: f"AFTER:{number(12345)}"}})
    assert FIRST in text
    assert not list((tmp_path / "checkpoints" / "given").rglob("*plan*"))


@pytest.mark.parametrize(
    "case",
    [(1, 6, False, False), (30, 6, False, True), (30, 6, True, False), (30, 5, False, True), (30, 4, False, False)],
)
def test_positions_whose_records_expired_unread_stop_unless_that_is_accepted(kinesis, query, case):
    hours, trimmed, accepted, stops = case
    kinesis.create(STREAM)
    sent = kinesis.put(STREAM, events(0, 10))
    as_of = (datetime.now(UTC) - timedelta(hours=hours)).isoformat()
    given = {"shards": {FIRST: f"AFTER:{sent[4].partition(':')[2]}"}, "as_of": as_of}
    kinesis.trim(STREAM, FIRST, trimmed)
    reader = query("given", starting_position=json.dumps(given), fail_on_data_loss=not accepted)
    if stops:
        with pytest.raises(DataLossError, match="fail_on_data_loss"):
            reader.start()
    else:
        assert reader.run().rows == sent[max(5, trimmed) :]


def test_a_record_that_was_to_be_read_and_has_expired_is_a_loss_whatever_the_age(kinesis, query):
    kinesis.create(STREAM)
    sent = kinesis.put(STREAM, events(0, 10))
    kinesis.trim(STREAM, FIRST, 5)
    with pytest.raises(DataLossError, match=rf"{FIRST}.*keeps records since 20\d\d-"):
        begins(query, {"shards": {FIRST: f"AT:{sent[4].partition(':')[2]}"}})


def move_between_parent_and_children(kinesis, query, begun: bool) -> str:
    """The parent was read to its end; its children have not begun, or were planned and not read."""
    kinesis.create(STREAM)
    kinesis.put(STREAM, events(0, 10))
    kinesis.split(STREAM, FIRST)
    first = query("first").run(1)
    while not standing_of(LocalStorage(str(first.folder))).offset.finished:
        first.run(1)
    kinesis.put(STREAM, events(10, 50))
    if begun:
        assert first.plan()
    return export(first)


@pytest.mark.parametrize("begun", [False, True])
def test_children_of_a_finished_shard_that_expired_before_the_move_are_a_loss(kinesis, query, clock, begun):
    given = move_between_parent_and_children(kinesis, query, begun)
    for shard in kinesis.open_shards(STREAM):
        kinesis.trim(STREAM, shard, 5)
    clock.hours = 30
    with pytest.raises(DataLossError, match=r"was read up to .*6.0 hours has expired"):
        query("second", starting_position=given).start()
    accepting = query("second", starting_position=given, fail_on_data_loss=False).run()
    assert len(accepting.rows) == 30
    assert len(losses(accepting)) == 2


@pytest.mark.parametrize("batches", [1, 2])
def test_a_move_after_a_parent_was_read_late_does_not_take_its_children_as_read(kinesis, query, clock, batches):
    """The parent is drained 23 hours after it was split, its end seen or not; its children are begun 7 hours later."""
    kinesis.create(STREAM)
    kinesis.put(STREAM, events(0, 10))
    kinesis.split(STREAM, FIRST)
    kinesis.put(STREAM, events(10, 50))
    clock.hours = 23
    given = export(query("first").run(batches))
    for shard in kinesis.open_shards(STREAM):
        kinesis.trim(STREAM, shard, 5)
    kinesis.trim(STREAM, FIRST, 10)
    clock.hours = 30
    with pytest.raises(DataLossError, match=r"6\.0 hours has expired"):
        query("second", starting_position=given).run()


@pytest.mark.parametrize("begun", [False, True])
def test_children_of_a_finished_shard_that_are_still_kept_follow(kinesis, query, clock, begun):
    given = move_between_parent_and_children(kinesis, query, begun)
    clock.hours = 23
    assert len(query("second", starting_position=given).run().rows) == 40


@pytest.mark.parametrize("begun", [False, True])
def test_a_moved_checkpoint_that_waits_too_long_before_its_first_read_notices_the_loss(kinesis, query, clock, begun):
    given = move_between_parent_and_children(kinesis, query, begun)
    second = query("second", starting_position=given)
    second.start()
    if begun:
        second.plan()
    for shard in kinesis.open_shards(STREAM):
        kinesis.trim(STREAM, shard, 5)
    clock.hours = 30
    with pytest.raises(DataLossError, match="has expired"):
        second.crash().run()


def test_given_positions_that_are_not_read_in_time_are_a_loss(kinesis, query, clock):
    kinesis.create(STREAM)
    kinesis.put(STREAM, events(0, 10))
    second = query("second", starting_position=export(query("first").run()))
    second.start()
    kinesis.put(STREAM, events(10, 20))
    kinesis.trim(STREAM, FIRST, 12)
    clock.hours = 30
    with pytest.raises(DataLossError, match="has expired"):
        second.crash().run()


def test_a_checkpoint_that_only_ever_saw_an_idle_stream_moves_without_a_loss(kinesis, query, clock):
    kinesis.create(STREAM)
    first = query("first", starting_position="LATEST").run()
    for hours in range(0, 60, 5):
        clock.hours = hours
        assert not first.plan()
    sent = kinesis.put(STREAM, events(0, 10))
    assert query("second", starting_position=export(first)).run().rows == sent


def test_an_accepted_loss_at_given_positions_is_noted_once(kinesis, query, clock):
    kinesis.create(STREAM, shards=2)
    sent = kinesis.put(STREAM, events(0, 20))
    first, second = ([row for row in sent if row.startswith(shard)] for shard in (FIRST, SECOND))
    given = {
        "shards": {FIRST: f"AT:{first[2].partition(':')[2]}", SECOND: f"AFTER:{second[2].partition(':')[2]}"},
        "as_of": datetime.now(UTC).isoformat(),
    }
    clock.hours = 30
    kinesis.trim(STREAM, FIRST, 4)
    kinesis.trim(STREAM, SECOND, 4)
    reader = query("given", starting_position=json.dumps(given), fail_on_data_loss=False).run().crash().run()
    assert sorted(reader.rows) == sorted(first[4:] + second[4:])
    at, after = losses(reader)
    assert (at.detail["where"], after.detail["where"]) == (f"shard {FIRST}", f"shard {SECOND}")
    assert after.detail["until"] - after.detail["since"] == pytest.approx(6 * 3600, abs=60)


def test_finished_shards_without_a_moment_are_a_warning(kinesis, query, clock, caplog):
    document = json.loads(move_between_parent_and_children(kinesis, query, begun=False))
    del document["as_of"]
    clock.hours = 30
    assert len(begins(query, document).run().rows) == 40
    assert "as_of" in caplog.text


def test_without_a_moment_an_expired_record_is_a_warning(kinesis, query, caplog):
    kinesis.create(STREAM)
    sent = kinesis.put(STREAM, events(0, 10))
    kinesis.trim(STREAM, FIRST, 5)
    assert begins(query, {"shards": {FIRST: f"AFTER:{sent[4].partition(':')[2]}"}}).run().rows == sent[5:]
    assert "as_of" in caplog.text


def test_an_export_says_until_when_everything_was_read(kinesis, query):
    kinesis.create(STREAM)
    kinesis.put(STREAM, events(0, 10))
    before = datetime.now(UTC) - timedelta(seconds=1)
    as_of = json.loads(export(query("first").run()))["as_of"]
    assert before <= datetime.fromisoformat(as_of) <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("document", "what"),
    [
        ([], "object"),
        ({}, "names no shard"),
        ({"shard": {}}, "unknown key shard"),
        ({"shards": {FIRST: "AFTER:x"}}, FIRST),
        ({"shards": {FIRST: "AFTER"}}, FIRST),
        ({"shards": {FIRST: 12}}, FIRST),
        ({"shards": {FIRST: "AT_TIMESTAMP:soon"}}, "soon"),
        ({"shards": {"no shard!": "LATEST"}}, "no shard!"),
        ({"shards": [FIRST]}, "shards"),
        ({"shards": {FIRST: "LATEST"}, "finished": {FIRST: "AFTER:1"}}, "either"),
        ({"shards": {FIRST: "LATEST"}, "default": "AFTER:1"}, "default"),
        ({"shards": {FIRST: "LATEST"}, "stream": 7}, "stream"),
        ({"shards": {FIRST: "LATEST"}, "as_of": "then"}, "as_of"),
    ],
)
def test_what_is_wrong_in_the_document_is_said(document, what):
    with pytest.raises(ValueError, match=re.escape(what)):
        StartPositions.from_json(document)


class Files:
    """A configuration that reads the emulator's stream, and the commands on it."""

    def __init__(self, folder, url: str, capsys) -> None:
        self.folder, self.url, self.capsys = folder, url, capsys
        self.write()

    def write(self, **kinesis) -> None:
        settings = {"enabled": True, "stream": STREAM, "region": "us-east-1", "endpoint_url": self.url, **kinesis}
        document = {
            "dataset": str(REPOSITORY / "conf/datasets/orders.yaml"),
            "suite": str(REPOSITORY / "conf/expectations/orders.yaml"),
            "lake": {"root": str(self.folder / "lake"), "checkpoints": str(self.folder / "checkpoints")},
            "sources": {"kinesis": settings},
        }
        (self.folder / "conf.yaml").write_text(json.dumps(document))

    def run(self, *arguments: str) -> tuple[int, str, str]:
        code = main([arguments[0], "--config", str(self.folder / "conf.yaml"), *arguments[1:]])
        return code, *self.capsys.readouterr()


@pytest.fixture
def files(tmp_path, kinesis, capsys) -> Files:
    return Files(tmp_path, kinesis.url, capsys)


def test_the_command_prints_what_another_checkpoint_begins_with(files, kinesis, query, tmp_path):
    kinesis.create(STREAM, shards=2)
    sent = kinesis.put(STREAM, events(0, 40))
    first = query("kinesis", max_records_per_shard=4).run(2)
    code, out, err = files.run("positions")
    assert code == 0
    assert json.loads(out)["stream"] == STREAM
    assert "service seems to run" in err
    (tmp_path / "moved.json").write_text(out)
    files.write(start_positions="moved.json")
    from streaming_app.config import load

    loaded = load(str(tmp_path / "conf.yaml"))
    rows = first.rows + query("second", starting_position=loaded.start_positions).run().rows
    assert sorted(rows) == sorted(sent)


def test_the_command_says_when_a_batch_will_be_read_again(files, kinesis, query):
    kinesis.create(STREAM)
    kinesis.put(STREAM, events(0, 40))
    first = query("kinesis", max_records_per_shard=4).run(2)
    first.plan()
    _, _, err = files.run("positions")
    assert "batch 2 was begun and not finished" in err


def test_the_command_gives_no_positions_while_committed_files_are_not_visible(files, kinesis, query):
    kinesis.create(STREAM)
    kinesis.put(STREAM, events(0, 40))
    first = query("kinesis").run()
    Ledger(LocalStorage(str(first.folder))).append_if_absent(entry(0, 1))
    code, out, err = files.run("positions")
    assert (code, out) == (6, "")
    assert "doctor --repair" in err


def test_the_command_notices_another_streams_checkpoint(files, kinesis, query):
    kinesis.create(STREAM)
    kinesis.put(STREAM, events(0, 40))
    first = query("kinesis").run()
    ledger = Ledger(LocalStorage(str(first.folder)))
    ledger.append_if_absent(entry(0, 1, "old-orders"))
    ledger.mark_published(0)
    code, _, err = files.run("positions")
    assert code == 2
    assert "old-orders" in err


def test_the_positions_can_be_read_as_text(files, kinesis, query):
    kinesis.create(STREAM)
    kinesis.put(STREAM, events(0, 4))
    kinesis.split(STREAM, FIRST)
    query("kinesis").run(1)
    _, out, _ = files.run("positions", "--format", "text")
    assert FIRST in out


@pytest.mark.parametrize("content", [None, "[]", '{"shards": {"a b": "LATEST"}}', "{"])
def test_a_file_of_positions_that_cannot_be_used_is_a_problem_of_the_configuration(files, content):
    if content is not None:
        (files.folder / "moved.json").write_text(content)
    files.write(start_positions="moved.json")
    code, _, err = files.run("check-config")
    assert code == 2
    assert "moved.json" in err


def test_positions_may_stand_in_the_configuration_itself(files, kinesis, tmp_path):
    from streaming_app.config import load

    given = {"shards": {FIRST: "AFTER:49"}, "default": "LATEST"}
    for value in (given, json.dumps(given)):
        files.write(start=value)
        start = load(str(tmp_path / "conf.yaml")).config.sources.kinesis.start
        assert StartPositions.from_text(start) == StartPositions({FIRST: "AFTER:49"}, default="LATEST")
    code, out, _ = files.run("check-config", "--no-examples")
    assert code == 0
    (tmp_path / "conf.yaml").write_text(out)
    assert load(str(tmp_path / "conf.yaml")).config.sources.kinesis.start == start


def test_positions_with_a_fault_are_reported_with_their_key(files):
    files.write(start={"shards": {FIRST: "YESTERDAY"}})
    code, _, err = files.run("check-config")
    assert code == 2
    assert "sources.kinesis.start" in err
    assert "YESTERDAY" in err
