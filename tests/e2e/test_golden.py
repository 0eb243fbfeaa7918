"""Golden folders: known input through the whole service, on threads and on executors in other processes.

Expected rows stand in `golden/<case>/expected/*.json`; `python -m tests.e2e.test_golden` prints what a run gives.
"""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.fault.rig import STREAM, Rig
from tests.strict_kinesis import strict_kinesis

pytestmark = [pytest.mark.spark, pytest.mark.timeout(900)]
GOLDEN = Path(__file__).parent / "golden"
LEFT_OUT = {"ingested_at", "dead_letter_id", "arrived_at", "suite_fingerprint"}  # differ from run to run


def lake_of(folder: Path, case: str, master: str) -> Rig:
    """The case's input, read to its end."""
    source = GOLDEN / case / "input"
    with strict_kinesis() as kinesis:
        kinesis.create(STREAM, shards=1)
        rig = Rig(folder, kinesis, settings={"spark.master": master})
        kinesis.put(STREAM, (source / "events.ndjson").read_bytes().splitlines())
        for file in sorted(source.glob("*.csv")):
            rig.storage.put(f"raw/{file.name}", file.read_bytes())
        rig.run_to_the_end()
    return rig


def rows(rig: Rig, table: str) -> list[dict]:
    """A table's rows in order of position, with their partition values, as JSON values."""
    found = []
    for file in sorted(Path(rig.lake, table).rglob("*.parquet")):
        partitions = dict(part.split("=", 1) for part in file.relative_to(rig.lake).parts if "=" in part)
        partitions.pop("dead_date", None)
        content = pq.ParquetFile(file).read().to_pylist()
        found += [
            {name: value for name, value in (row | partitions).items() if name not in LEFT_OUT} for row in content
        ]
    found.sort(key=lambda row: row["source_position"])
    return json.loads(json.dumps(found, default=str))


@pytest.mark.parametrize("case", [path.name for path in sorted(GOLDEN.iterdir())])
@pytest.mark.parametrize("master", ["local[2,4]", "local-cluster[2,1,1024]"])
def test_lake_is_as_expected(tmp_path, case, master):
    rig = lake_of(tmp_path, case, master)
    for table in ("clean", "dead_letter"):
        expected = json.loads((GOLDEN / case / "expected" / f"{table}.json").read_text())
        assert rows(rig, table) == expected


if __name__ == "__main__":
    import sys
    import tempfile

    made = lake_of(Path(tempfile.mkdtemp()), sys.argv[1], "local[2,4]")
    for name in ("clean", "dead_letter"):
        target = GOLDEN / sys.argv[1] / "expected" / f"{name}.json"
        target.write_text(json.dumps(rows(made, name), indent=1, ensure_ascii=False) + "\n")
