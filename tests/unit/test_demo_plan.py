"""What the demo checks beforehand, the settings it makes, its children, and the answer at its end."""

import os
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from streaming_app.config import load
from streaming_app.demo.children import EmbeddedKinesis
from streaming_app.demo.feed import Expected
from streaming_app.demo.plan import STREAM, children_environment, make_plan, shell
from streaming_app.demo.proof import Comparison, Revenue, answer, compare
from streaming_app.demo.report import next_commands
from streaming_app.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("seconds", "rate", "lake", "words"),
    [
        (0, 20, None, "--seconds 0"),
        (float("nan"), 20, None, "--seconds nan"),
        (10, 0, None, "--rate 0"),
        (10, float("inf"), None, "--rate inf"),
        (10, 20, Path("s3://bucket/lake"), "not to S3"),
        (10, 20, Path("file/below"), "--lake"),
        (10, 20, Path("used"), "is not empty"),
    ],
)
def test_what_cannot_work_is_said_before_anything_starts(here, seconds, rate, lake, words):
    Path("file").touch()
    Path("used").mkdir()
    Path("used/orders.csv").touch()
    with pytest.raises(ConfigError, match=words):
        make_plan(seconds, rate, lake)


@pytest.mark.parametrize("folder", ["lake", "a folder: with 'quotes' # and ${HOME}", "1234", "true", "läke"])
def test_any_folder_becomes_the_lake_of_the_shipped_configuration(here, tmp_path, folder):
    plan = make_plan(10, 20, tmp_path / folder)
    environment = {"QSR_LAKE": "elsewhere", "QSR_CSV": "false", "KINESIS_ENDPOINT": "https://elsewhere"}
    config = load(str(plan.config), plan.settings("http://127.0.0.1:5000"), environment).config
    assert Path(config.lake.root).absolute() == tmp_path / folder
    assert (config.sources.kinesis.stream, config.sources.kinesis.endpoint_url) == (STREAM, "http://127.0.0.1:5000")
    assert config.sources.csv.enabled
    assert Path(config.csv_path()).absolute() == plan.uploads


def test_without_a_folder_a_fresh_one_is_made_below_build(here, tmp_path):
    assert make_plan(10, 20, None).lake.parent == tmp_path / "build" / "demo"


def test_children_know_nothing_of_the_real_account():
    mine = {"AWS_PROFILE": "prod", "AWS_SESSION_TOKEN": "secret", "AWS_ENDPOINT_URL": "https://x", "PATH": "/bin"}
    environment = children_environment(mine)
    assert not {"AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"} & set(environment)
    assert environment["PATH"] == "/bin"
    assert environment["AWS_ACCESS_KEY_ID"] == "demo"


def test_the_next_commands_can_be_pasted_into_a_shell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = make_plan(10, 20, tmp_path / "my lake")
    commands = [command for _, command in next_commands(plan)]
    assert len(commands) == 3
    monkeypatch.chdir(REPOSITORY)
    dead = plan.lake / "dead_letter" / "input_source=stream" / "dead_date=2026-03-02"
    dead.mkdir(parents=True)
    duckdb.sql("SELECT 'cast' stage, ['amount.cast'] reasons, '{}' raw").write_parquet(str(dead / "a.parquet"))
    done = subprocess.run(commands[0], shell=True, capture_output=True, text=True, check=False, cwd=tmp_path)  # noqa: S602
    assert "amount.cast" in done.stdout, done.stderr


def test_a_command_line_is_quoted_for_a_shell():
    assert shell(["/nowhere/python", "-c", "print('$HOME')"]) == """/nowhere/python -c 'print('"'"'$HOME'"'"')'"""


def write_lake(lake: Path) -> None:
    for source, amount, rows in (("stream", "10.50", 3), ("batch", "2.00", 1)):
        folder = lake / "clean" / f"input_source={source}" / "order_date=2026-03-02"
        folder.mkdir(parents=True)
        orders = f"SELECT 'o' order_id, {amount}::DECIMAL(10,2) amount FROM range({rows})"  # noqa: S608
        duckdb.sql(orders).write_parquet(str(folder / "part-a.parquet"))
    hidden = lake / "clean" / "input_source=stream" / "_staging"
    hidden.mkdir()
    (hidden / "part-b.parquet").write_bytes(b"half a file")


@pytest.mark.parametrize("folder", ["lake", "lake [1]*?"])
def test_the_question_for_athena_is_answered_over_visible_files_only(tmp_path, folder):
    write_lake(tmp_path / folder)
    assert answer(tmp_path / folder) == [
        Revenue("stream", 3, Decimal("31.50"), 10.5),
        Revenue("batch", 1, Decimal("2.00"), 2.0),
    ]


def test_a_row_that_is_missing_or_misjudged_is_no_agreement(tmp_path):
    write_lake(tmp_path)
    stream, batch = compare(tmp_path, {"kinesis": Expected(2, 1), "csv": Expected(1, 0)})
    assert stream == Comparison("kinesis", Expected(2, 1), Expected(3, 0))
    assert (stream.agrees, batch.agrees) == (False, True)


def test_an_empty_lake_answers_with_nothing(tmp_path):
    assert answer(tmp_path) == []
    assert compare(tmp_path, {"csv": Expected()})[0].agrees


def test_the_embedded_kinesis_takes_records_and_ends_with_the_demo(monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with EmbeddedKinesis() as kinesis:
        kinesis.create_stream()
        kinesis.client.put_record(StreamName=STREAM, Data=b"{}", PartitionKey="a")
        assert len(kinesis.client.list_shards(StreamName=STREAM)["Shards"]) == 2
        assert kinesis.is_running
    assert not kinesis.is_running


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # it ended just now
        return False


def test_a_leash_asks_its_command_to_stop_when_the_one_who_holds_it_is_killed():
    told = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    holder = (
        "import subprocess, sys; child = subprocess.Popen([sys.executable, '-m', 'streaming_app.demo.leash',"
        f" sys.executable, '-c', {told!r}], stdin=subprocess.PIPE); child.wait()"
    )
    with subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE, cwd=REPOSITORY) as killed:
        assert killed.stdout is not None
        pid = int(killed.stdout.readline())
        killed.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)


@pytest.mark.parametrize(
    ("code", "expected"), [("raise SystemExit(5)", 5), ("import os; os.kill(os.getpid(), 15)", 143)]
)
def test_a_leash_ends_with_its_commands_exit_code(code, expected):
    leash = [sys.executable, "-m", "streaming_app.demo.leash", sys.executable, "-c", code]
    with subprocess.Popen(leash, stdin=subprocess.PIPE, cwd=REPOSITORY) as held:
        assert held.wait(30) == expected
