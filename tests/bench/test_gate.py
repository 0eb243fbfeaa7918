"""A million rows through the gate, Spark's start and all. `pytest --long -m bench tests/bench/test_gate.py -s`."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from streaming_app.producer import write_samples
from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.bench, pytest.mark.timeout(600)]
ROWS = 1_000_000


@pytest.mark.parametrize("engine", ["spark", "gx"])
def test_a_million_rows(tmp_path, capsys, engine):
    header, *lines = write_samples(tmp_path).good_file.read_bytes().splitlines()
    file = tmp_path / "million.csv"
    file.write_bytes(b"\n".join([header, *(lines * (ROWS // len(lines) + 1))[:ROWS]]))
    command = [sys.executable, "-m", "batch_app", "validate", str(file), "--engine", engine, "--docs", str(tmp_path)]
    begin, load = time.perf_counter(), os.getloadavg()[0]
    done = subprocess.run(
        [*command, "--suite", "conf/expectations/orders.yaml"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - begin
    assert done.returncode == 0, done.stderr
    assert "1,000,000 rows" in done.stdout
    with capsys.disabled():
        print(f"{engine}: {seconds:.1f} s, load before {load:.1f} on {os.cpu_count()} cores")  # noqa: T201 - what it is for
