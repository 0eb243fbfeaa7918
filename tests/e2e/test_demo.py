"""The demo as a stranger runs it: a child process without a terminal, Spark and all."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.spark, pytest.mark.timeout(600)]


def start(lake: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "streaming_app", "demo", "--lake", str(lake), *arguments]
    return subprocess.Popen(
        command,
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "120", "AWS_PROFILE": "no-such-profile"},
        start_new_session=True,
    )


def service_pids(lake: Path) -> list[int]:
    """Processes whose command line names this lake."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if str(lake).encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:  # it has just ended
            continue
    return found


def rows(lake: Path, table: str) -> int:
    return duckdb.sql(f"SELECT COUNT(*) FROM '{lake}/{table}/*/*=*/*.parquet'").fetchall()[0][0]  # noqa: S608


def wait_for(child: subprocess.Popen[str], words: str) -> str:
    """What was printed up to the line with these words."""
    printed = []
    for line in child.stdout or ():
        printed.append(line)
        if words in line:
            return "".join(printed)
    pytest.fail(f"{words!r} never came in:\n{''.join(printed)}")


def test_all_that_was_sent_arrives_and_the_demo_proves_it(tmp_path):
    lake = tmp_path / "a lake"
    child = start(lake, "--seconds", "15", "--rate", "20")
    out, _ = child.communicate(timeout=500)
    assert child.returncode == 0, out
    total = int(re.search(r"All ([\d,]+) rows arrived, each once", out)[1].replace(",", ""))
    assert total >= 420 + 15 * 20 * 0.9
    assert rows(lake, "clean") + rows(lake, "dead_letter") == total
    assert out.count("✓ agree") == 2
    assert "avg_ticket_size" in out
    assert out.count("\n# ") == 3
    assert "\x1b" not in out
    assert not service_pids(lake)


def test_ctrl_c_ends_everything_in_order_and_still_proves_it(tmp_path):
    child = start(tmp_path / "lake", "--seconds", "600")
    wait_for(child, "orders are arriving")
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=300)
    assert child.returncode == 0, out
    assert "rows arrived, each once" in out
    assert not service_pids(tmp_path / "lake")


def test_a_service_that_dies_is_reported_with_the_end_of_its_log(tmp_path):
    lake = tmp_path / "lake"
    child = start(lake, "--seconds", "600")
    wait_for(child, "Spark and the service")
    log = lake / "service.log"
    deadline = time.monotonic() + 120
    while b"incubator" not in log.read_bytes() and time.monotonic() < deadline:  # the first words of its Java
        time.sleep(0.1)
    service = [pid for pid in service_pids(lake) if b"leash" not in Path(f"/proc/{pid}/cmdline").read_bytes()]
    victims = [pid for pid in service if b"\0run\0" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(victims[0], signal.SIGKILL)
    out, _ = child.communicate(timeout=120)
    assert child.returncode == 128 + signal.SIGKILL, out
    assert "The service ended by itself, with exit code 137" in out
    assert "service.log" in out
    assert not service_pids(lake)
