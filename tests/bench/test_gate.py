"""A million rows through the gate, Spark's start and all. `pytest --long -m bench tests/bench/test_gate.py -s`.

CPU seconds are printed beside the seconds on the clock: on a machine that others use, too, they are what can be compared.
"""

from __future__ import annotations

import os
import sys

import pytest

from streaming_app.producer import write_samples
from tests.bench.measure import run
from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.bench, pytest.mark.timeout(900)]
ROWS = 1_000_000


@pytest.mark.parametrize("engine", ["spark", "gx"])
def test_a_million_rows(tmp_path, capsys, monkeypatch, engine):
    monkeypatch.chdir(REPOSITORY)
    header, *lines = write_samples(tmp_path).good_file.read_bytes().splitlines()
    file, log = tmp_path / "million.csv", tmp_path / "log"
    file.write_bytes(b"\n".join([header, *(lines * (ROWS // len(lines) + 1))[:ROWS]]))
    command = [sys.executable, "-m", "batch_app", "validate", str(file), "--engine", engine, "--docs", str(tmp_path)]
    load = os.getloadavg()[0]
    usage = run([*command, "--suite", "conf/expectations/orders.yaml"], log, timeout=900)
    assert usage.exit_code == 0, log.read_text()
    assert "1,000,000 rows" in log.read_text()
    with capsys.disabled():
        print(  # noqa: T201 - what it is for
            f"{engine}: {usage.wall_seconds:.1f} s, {usage.cpu_seconds:.0f} CPU s,"
            f" load before {load:.1f} on {os.cpu_count()} cores"
        )
