"""`python -m streaming_app produce`: its arguments, its reports and its exit codes."""

import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streaming_app.cli import main
from streaming_app.demo.children import EmbeddedKinesis
from streaming_app.demo.plan import STREAM, children_environment
from streaming_app.producer import CSV_KINDS

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def kinesis():
    with EmbeddedKinesis() as running:
        running.create_stream()
        yield running


@pytest.fixture(autouse=True)
def signals():
    """The command takes over the signals of its process, which here is pytest's."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def credentials(monkeypatch):
    for name, value in children_environment({}).items():
        monkeypatch.setenv(name, value)


def to(kinesis) -> list[str]:
    return ["--stream", STREAM, "--endpoint-url", kinesis.endpoint_url, "--region", "us-east-1"]


def test_it_sends_the_count_and_reports_it_by_kind(kinesis, capsys):
    many = ["--rate", "0", "--count", "300", "--bad-ratio", "0.5", "--seed", "7"]
    assert main(["produce", *to(kinesis), *many]) == 0
    out = capsys.readouterr().out
    head, *kinds = out.splitlines()
    sent, good, bad = map(int, re.match(r"(\d+) events sent in .* s: (\d+) good, (\d+) bad \(seed 7,", head).groups())
    assert (sent, good + bad) == (300, 300)
    counted = {
        verdict: sum(int(line.split()[0]) for line in kinds if verdict in line.split()) for verdict in ("clean", "dead")
    }
    assert counted == {"clean": good, "dead": bad}
    assert bad > 100


def test_stream_and_endpoint_come_from_the_configuration(kinesis, monkeypatch, capsys):
    monkeypatch.setenv("KINESIS_ENDPOINT", kinesis.endpoint_url)
    monkeypatch.setenv("QSR_STREAM", STREAM)
    config = str(REPOSITORY / "conf" / "local.yaml")
    assert main(["produce", "--config", config, "--count", "3", "--rate", "0"]) == 0
    assert "3 events sent" in capsys.readouterr().out
    assert main(["produce", "--config", config, "--stream", "another", "--count", "3"]) == 2
    assert "'another'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "say where to send"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--stream", "s", "--rate", "-1"], "the rate is -1.0"),
        (["--stream", "s", "--bad-ratio", "2"], "the share of bad events is 2.0"),
        (["--stream", "s", "--count", "-5"], "the count is -5"),
        (["--stream", "s", "--region", "us-east-1", "--endpoint-url", "no address"], "no Kinesis client"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line_with_exit_code_2(arguments, words, capsys):
    assert main(["produce", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_ctrl_c_ends_it_with_the_report(kinesis):
    command = [sys.executable, "-m", "streaming_app", "produce", *to(kinesis), "--rate", "50"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY, start_new_session=True
    ) as child:
        assert child.stderr is not None
        assert "Ctrl-C stops" in child.stderr.readline()
        time.sleep(1)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=30)
    assert child.returncode == 0, err
    assert re.match(r"[1-9]\d* events sent", out)
    assert "plain" in out


def test_events_that_were_not_accepted_are_told_and_fail_the_command():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
    where = ["--stream", "s", "--region", "us-east-1", "--endpoint-url", nobody]
    command = [
        sys.executable,
        "-m",
        "streaming_app",
        "produce",
        *where,
        "--count",
        "1",
        "--seed",
        "1",
        "--bad-ratio",
        "0",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY, start_new_session=True
    ) as child:
        assert child.stderr is not None
        child.stderr.readline()
        time.sleep(0.5)
        child.send_signal(signal.SIGTERM)
        out, _ = child.communicate(timeout=30)
    assert child.returncode == 1
    assert out.startswith("0 events sent")
    assert "1 events were NOT accepted; the last error: Could not connect" in out


def test_samples_are_written_instead_the_same_for_the_same_seed(tmp_path, capsys):
    for folder, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert main(["produce", "--samples", str(tmp_path / folder), "--seed", seed]) == 0
    out = capsys.readouterr().out
    assert f"{tmp_path}/a/orders.csv: 300 good rows (seed 1)" in out
    assert all(kind in out for kind in CSV_KINDS)
    files = {folder: (tmp_path / folder / "bad_orders.csv").read_bytes() for folder in "abc"}
    assert files["a"] == files["b"] != files["c"]


def test_samples_that_cannot_be_written_are_an_error_with_exit_code_2(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["produce", "--samples", str(tmp_path / "file" / "below")]) == 2
    assert "cannot write sample files" in capsys.readouterr().err
