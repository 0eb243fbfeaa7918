"""A million dead letters: how long looking at them takes. `pytest --long -m bench tests/bench/test_dead_letters.py -s`."""

from __future__ import annotations

import json
import time
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_app.cli import main
from batch_app.dead_letters.table import SCHEMA
from tests.dead_lake import TIME, DeadLake, event

pytestmark = [pytest.mark.slow, pytest.mark.bench, pytest.mark.timeout(600)]
ROWS, FILES, DAYS = 1_000_000, 300, 30  # as many files as a trigger of 30 s with a few rejected rows now and then


def write(lake: DeadLake) -> None:
    per_file = ROWS // FILES
    cities = ("Bogor", "Bekasi", "Depok")
    for file in range(FILES):
        numbers = range(file * per_file, (file + 1) * per_file)
        day = date(2026, 3, 1) + timedelta(days=file % DAYS)
        reasons = [["city.in_set"] if number % 3 else ["amount.cast"] for number in numbers]
        rows = {
            "dead_letter_id": [f"{number * 2654435761 % 2**64:016x}{number:016x}" for number in numbers],
            "stage": ["rule" if number % 3 else "cast" for number in numbers],
            "reasons": reasons,
            "raw": [event(f"o{number}", city=cities[number % 3], store=f"S{number % 500}") for number in numbers],
            "raw_encoding": ["utf-8"] * per_file,
            "source": ["kinesis:orders"] * per_file,
            "source_position": [f"shardId-000000000000:{49590338271490256608559692538361571095 + number}" for number in numbers],
            "suite_fingerprint": ["f"] * per_file,
        }  # fmt: skip
        times = pa.array([time.time_ns() // 1000] * per_file, pa.int64()).cast(TIME)
        table = pa.table({**rows, "arrived_at": times, "ingested_at": times}).select(SCHEMA.names).cast(SCHEMA)
        folder = Path(lake.root, f"dead_letter/input_source=stream/dead_date={day}")
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, folder / f"part-kinesis-{file:032x}.parquet", compression="zstd", compression_level=1)


def test_a_million_dead_letters(tmp_path, orders, capsys):
    lake = DeadLake(str(tmp_path / "lake"), orders)
    write(lake)
    config = lake.config_file(tmp_path)

    def timed(command: str, *arguments: str) -> tuple[float, str]:
        begin = time.perf_counter()
        assert main(["dead-letters", command, "--config", config, *arguments]) == 0
        return round(time.perf_counter() - begin, 2), capsys.readouterr().out

    figures = {}
    figures["summary"], text = timed("summary", "--format", "json")
    assert json.loads(text)["open"] == ROWS // FILES * FILES
    figures["summary of a day"], _ = timed("summary", "--date", "2026-03-05", "--format", "json")
    figures["list"], text = timed("list", "--format", "json")
    found = json.loads(text)
    figures["list, a reason and a day"], _ = timed("list", "--date", "2026-03-05", "--reason", "amount.cast")
    figures["list, a text anywhere"], text = timed("list", "--text", "o777777", "--format", "json")
    assert len(json.loads(text)) == 1
    figures["show"], _ = timed("show", found[0]["dead_letter_id"])
    figures["discard 666,000"], _ = timed("discard", "--reason", "city.in_set", "--because", "bench")
    figures["summary afterwards"], text = timed("summary", "--format", "json")
    assert json.loads(text)["discarded"] > ROWS // 2
    with capsys.disabled():
        print(json.dumps(figures))  # noqa: T201 - what it is for
