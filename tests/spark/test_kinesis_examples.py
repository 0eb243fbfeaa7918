"""The examples that docs/kinesis.md and README.md give of the source on its own, run as they stand there.

Only where the stream is and where the checkpoint goes are not what the text says.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.moto_server import CREDENTIALS
from tests.strict_kinesis import strict_kinesis

pytestmark = pytest.mark.spark
STREAM = "pos-orders"
TEXTS = [f"order {number}" for number in range(20)]


def example(document: str, heading: str) -> str:
    text = (REPOSITORY / document).read_text(encoding="utf-8").partition(heading)[2]
    return text.partition("```python\n")[2].partition("```")[0]


@pytest.fixture
def kinesis():
    with strict_kinesis() as server:
        server.create(STREAM, shards=2)
        server.put(STREAM, [text.encode() for text in TEXTS])
        yield server


def test_the_ten_lines_of_the_documentation_print_the_records(kinesis, tmp_path):
    code = example("docs/kinesis.md", "section: introduction").replace("/checkpoints", str(tmp_path / "checkpoints"))
    printed = run_until(code, tmp_path, kinesis.url, lambda text: all(f"{each}|" in text for each in TEXTS))
    assert sorted(re.findall(r"order \d+", printed)) == sorted(TEXTS)


def run_until(code: str, folder: Path, endpoint: str, done, seconds: int = 240) -> str:
    """What a new Python prints that runs this code as a file, until it has printed enough: the code never ends."""
    (folder / "example.py").write_text(code)
    environment = {**os.environ, **CREDENTIALS, "AWS_ENDPOINT_URL_KINESIS": endpoint, "PYSPARK_PYTHON": sys.executable}
    output = folder / "printed"
    with output.open("wb") as out:
        script = subprocess.Popen(
            [sys.executable, "example.py"], cwd=folder, env=environment, stdout=out, stderr=out, start_new_session=True
        )
    try:
        end = time.monotonic() + seconds
        while not done(text := output.read_text(errors="replace")):
            assert script.poll() is None, text
            assert time.monotonic() < end, text
            time.sleep(0.2)
    finally:
        os.killpg(script.pid, signal.SIGKILL)
        script.wait()
    return text


def test_the_lines_of_the_readme_give_the_records(kinesis, spark, tmp_path):
    code = example("README.md", "## The Kinesis source on its own").replace("/checkpoints", str(tmp_path))
    names = {"spark": spark}
    exec(code.replace(".load()", f'.option("endpoint_url", "{kinesis.url}").load()'), names)  # noqa: S102 - our own text
    found: list[str] = []
    keep = names["records"].writeStream.foreachBatch(
        lambda frame, _: found.extend(bytes(row.data).decode() for row in frame.collect())
    )
    query = keep.option("checkpointLocation", str(tmp_path / "my-query")).start()
    query.processAllAvailable()
    query.stop()
    assert sorted(found) == sorted(TEXTS)
