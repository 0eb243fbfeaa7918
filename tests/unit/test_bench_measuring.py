"""The bench measures what it says: whole process trees, lakes row by row, ages of rows from arrival to visibility."""

import json
import signal
import sys
import time
from datetime import UTC, datetime

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.bench import freshness, generate, metered_service, verify
from tests.bench.measure import Measured, run
from tests.bench.run import Batches, Result, printed_batches, summary
from tests.bench.shard_logs import sequence_number

SLACK = 5  # seconds: the machine may be busy
BURN = """
import subprocess, sys, time
block = b"x" * (150 << 20)
if len(sys.argv) < 2:
    subprocess.run([sys.executable, __file__, "child"])
end = time.process_time() + 0.4
while time.process_time() < end: pass
time.sleep(0.5)
sys.exit(0 if len(sys.argv) > 1 else 3)
"""


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_process_tree_is_measured_with_its_children(tmp_path):
    (tmp_path / "burn.py").write_text(BURN)
    usage = run([sys.executable, str(tmp_path / "burn.py")], tmp_path / "log", timeout=60)
    assert usage.exit_code == 3
    assert 0.8 <= usage.cpu_seconds < 5 + SLACK
    assert 300 << 20 < usage.peak_rss < 700 << 20
    assert 150 << 20 < usage.peak_pss <= usage.peak_rss
    assert usage.wall_seconds > 1.3
    told = usage.cpu_by_program.values()  # each is rounded to a tenth
    assert sum(told) <= usage.cpu_seconds + 0.05 * len(told)


def test_nothing_of_a_command_outlives_its_time(tmp_path):
    code = "import subprocess, sys, time; print(subprocess.Popen(['sleep', '300'], process_group=0).pid, flush=True); time.sleep(300)"
    measured = Measured([sys.executable, "-c", code], tmp_path / "log")
    wait_for(lambda: (tmp_path / "log").read_text().strip())
    usage = measured.wait(0.2)
    assert usage.exit_code == -signal.SIGKILL
    child = int((tmp_path / "log").read_text())
    wait_for(lambda: not alive(child))


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 - a line of proc
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_command_can_be_asked_to_stop(tmp_path):
    code = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(7)); print('ready', flush=True); time.sleep(60)"
    measured = Measured([sys.executable, "-c", code], tmp_path / "log")
    wait_for(lambda: "ready" in (tmp_path / "log").read_text())
    measured.stop()
    assert measured.wait(20).exit_code == 7


@pytest.fixture
def lake(tmp_path):
    """A lake as it should be, made from the generator's CSV by DuckDB, with the shipped suite's reasons."""
    manifest = generate.generate(tmp_path / "data", 2000, 2)
    cities = ", ".join(f"'{city}'" for city in generate.CITIES)
    with duckdb.connect() as connection:
        connection.sql(f"""
            CREATE VIEW judged AS SELECT order_id, TRY_CAST(amount AS DECIMAL(10, 2)) AS amount,
                CAST(TRY_CAST(order_ts AS TIMESTAMPTZ) AT TIME ZONE 'UTC' AS DATE) AS order_date,
                CASE WHEN order_id IS NULL THEN ['order_id.not_null'] WHEN TRY_CAST(amount AS DECIMAL(10, 2)) IS NULL THEN ['amount.cast']
                WHEN TRY_CAST(amount AS DECIMAL(10, 2)) <= 0 THEN ['amount.positive'] WHEN city NOT IN ({cities}) THEN ['city.in_set']
                WHEN order_ts IS NULL THEN ['order_ts.not_null', 'order_ts.missing']
                WHEN TRY_CAST(order_ts AS TIMESTAMPTZ) IS NULL THEN ['order_ts.cast'] ELSE [] END AS reasons
            FROM read_csv('{tmp_path}/data/csv/*.csv', all_varchar = true)""")  # noqa: S608
        (tmp_path / "lake").mkdir()
        for table, condition, partition in (("clean", "= 0", "order_date"), ("dead_letter", "> 0", "dead_date")):
            rows = f"SELECT *, DATE '2026-03-09' AS dead_date FROM judged WHERE len(reasons) {condition}"  # noqa: S608
            connection.sql(f"COPY ({rows}) TO '{tmp_path}/lake/{table}' (FORMAT parquet, PARTITION_BY ({partition}))")
    return tmp_path / "lake", manifest


def test_a_lake_as_it_should_be_has_no_differences(lake):
    folder, manifest = lake
    assert verify.differences(folder, manifest) == []
    assert verify.count_files(folder) >= 8


def change(folder, table, statement):
    """Replace one file of a table by what a query makes of it."""
    path = next((folder / table).rglob("*.parquet"))
    changed = duckdb.sql(statement.format(file=f"read_parquet('{path}', hive_partitioning = false)")).to_arrow_table()
    pq.write_table(changed, path)


@pytest.mark.parametrize(
    ("table", "statement", "says"),
    [
        ("clean", "SELECT * FROM {file} OFFSET 1", "clean rows: expected"),
        (
            "clean",
            "(SELECT * FROM {file} OFFSET 1) UNION ALL (SELECT * FROM {file} OFFSET 5 LIMIT 1)",
            "clean order ids",
        ),
        ("clean", "SELECT * REPLACE (CAST(amount + 0.01 AS DECIMAL(10, 2)) AS amount) FROM {file}", "sum of amounts"),
        ("dead_letter", "SELECT * FROM {file} OFFSET 1", "dead letters: expected"),
        ("dead_letter", "SELECT * REPLACE (['city.in_set'] AS reasons) FROM {file}", "dead letters by reason"),
        ("dead_letter", "SELECT * REPLACE (['no.such_rule'] AS reasons) FROM {file}", "no.such_rule"),
    ],
)
def test_any_difference_in_a_lake_is_told(lake, table, statement, says):
    folder, manifest = lake
    change(folder, table, statement)
    assert says in "\n".join(verify.differences(folder, manifest))


def test_rows_in_the_wrong_day_are_told(lake):
    folder, manifest = lake
    (folder / "clean" / "order_date=2026-03-01").rename(folder / "clean" / "order_date=2026-04-01")
    assert [problem.partition(":")[0] for problem in verify.differences(folder, manifest)] == ["clean rows per day"]


def test_a_lake_that_is_not_there_is_told(tmp_path):
    assert "cannot be read" in verify.differences(tmp_path, {})[0]


def write_positions(path, positions):
    pq.write_table(pa.table({"source_position": positions}), path)


def test_the_age_of_a_row_is_counted_from_its_own_arrival(tmp_path):
    arrivals = [np.array([10_000, 11_000, 12_000]), np.array([20_000, 21_000])]
    write_positions(tmp_path / "a", [f"shardId-000000000000:{sequence_number(0, index)}" for index in (0, 1, 2)])
    write_positions(tmp_path / "b", [f"shardId-000000000001:{sequence_number(1, index)}" for index in (1, 0)])
    found = freshness.ages({tmp_path / "a": 13.0, tmp_path / "b": 24.0}, arrivals, since=0)
    assert (found.rows, found.mean, found.max) == (5, 2.6, 4.0)  # 3, 2, 1 and 3, 4 seconds
    warm = freshness.ages({tmp_path / "a": 13.0, tmp_path / "b": 24.0}, arrivals, since=11.5)
    assert (warm.rows, warm.max) == (3, 4.0)


def test_a_file_is_seen_when_it_gets_its_final_name(tmp_path):
    watcher = freshness.LakeWatcher(tmp_path)
    watcher.start()
    folder = tmp_path / "clean" / "input_source=stream" / "order_date=2026-03-01"
    folder.mkdir(parents=True)
    hidden, final = folder / ".staged-1", folder / "part-1.parquet"
    hidden.write_bytes(b"x")
    time.sleep(0.2)
    assert watcher.seen == {}
    renamed = datetime.now(UTC).timestamp()
    hidden.rename(final)
    wait_for(lambda: final in watcher.seen)
    (folder / "part-2.parquet").write_bytes(b"x")
    watcher.stop()
    assert set(watcher.seen) == {final, folder / "part-2.parquet"}
    assert renamed <= watcher.seen[final] < renamed + 0.4 + SLACK


def test_steady_speed_leaves_the_first_micro_batch_out(tmp_path):
    lines = [json.dumps({"batch": number, "at": 100.0 + 2 * number}) for number in range(5)]
    (tmp_path / "log").write_text("\n".join(["a warning", *lines]))
    assert printed_batches(tmp_path / "log", 1000) == Batches(800, 8.0)
    assert printed_batches(tmp_path / "log", 1000).per_second == 100
    assert Batches().per_second is None


def test_a_wrong_output_counts_for_nothing(tmp_path):
    usage = run([sys.executable, "-c", ""], tmp_path / "log", timeout=20)
    results = [
        Result("csv-ours-1", 1000, usage, Batches(900, 1.0), 3, ["clean rows: expected 1, found 2"], 0.0),
        Result("csv-usual-1", 1000, usage, Batches(900, 9.0), 3, [], 0.0),
    ]
    assert summary(results) == ["csv-ours-1: clean rows: expected 1, found 2"]
    results[0].wrong = []
    assert "9.0x steady" in summary(results)[0]


def test_the_sampler_survives_processes_that_come_and_go(tmp_path):
    code = "import subprocess\nfor _ in range(30): subprocess.run(['true'])"
    assert run([sys.executable, "-c", code], tmp_path / "log", timeout=60).exit_code == 0


def burn(seconds: float) -> None:
    """CPU time of this thread."""
    begun = time.thread_time()
    while time.thread_time() - begun < seconds:
        pass


def test_cpu_of_a_part_is_counted_once_and_waiting_not_at_all():
    metered_service.SPENT.clear()
    inner = metered_service.counted("inner", burn)

    def work() -> None:
        inner(0.05)
        time.sleep(0.2)
        burn(0.05)

    metered_service.counted("outer", work)()
    inner(0.02)
    assert metered_service.SPENT["outer"] == pytest.approx(0.1, abs=0.03)
    assert metered_service.SPENT["inner"] == pytest.approx(0.02, abs=0.01)


def test_a_failing_part_is_counted_and_fails():
    metered_service.SPENT.clear()

    def fail() -> None:
        burn(0.02)
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        metered_service.counted("part", fail)()
    assert metered_service.SPENT["part"] >= 0.02
    metered_service.counted("part", burn)(0.02)
    assert metered_service.SPENT["part"] >= 0.04
