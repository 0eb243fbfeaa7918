"""The circuit breaker in the commit: a stopped batch leaves nothing behind, and goes on once something is mended."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from streaming_app.errors import QualityStop
from streaming_app.journal.ledger import Ledger
from streaming_app.journal.read_log import ReadLog, UnitRead
from streaming_app.sink.commit import Committer
from streaming_app.sink.datasource import TaskWriter
from streaming_app.sink.options import SinkOptions
from streaming_app.thresholds import Limits, RuleLimit
from tests.property.test_commit_crashes import EXPECTED, batch, positions, prepare

STRICT = Limits(max_dead_ratio=0.19, stop=True)  # the batches hold one dead letter in five rows


def write(options: SinkOptions, orders) -> list:
    """Two tasks of ten rows each, without keys: these batches hold the same rows, and a repetition is no breach."""
    results = []
    for task in range(2):
        writer = TaskWriter(options)
        writer.add(batch(orders, task * 10, 10).drop_columns(["__key_hash", "__key_check"]))
        results.append(writer.finish())
    return results


def limited(options: SinkOptions, limits: Limits, suite: str = "f") -> SinkOptions:
    return replace(options, limits=limits.to_json(), suite_fingerprint=suite)


def next_batch(options: SinkOptions, batch_id: int) -> None:
    """Spark plans one more batch of 20 rows."""
    checkpoint = options.open_checkpoint()
    checkpoint.put(f"offsets/{batch_id}", b'v1\n{}\n{"epoch": %d}' % (batch_id + 1))
    ReadLog(checkpoint).put_if_absent(batch_id + 1, UnitRead("s", 20, 0))


def test_nothing_of_a_stopped_batch_is_published_and_it_runs_again_once_mended(tmp_path, orders):
    options = prepare(tmp_path, orders)
    strict = limited(options, STRICT)
    results = write(strict, orders)
    with pytest.raises(QualityStop, match=r"batch 0: 4 of 20 rows \(20%\).*max_dead_ratio 19%.*reasons: r 4.*goes on"):
        Committer(strict).commit(results, 0)
    Committer(strict).abort(results, 0)  # Spark does so
    assert positions(options) == []
    assert Ledger(options.open_checkpoint()).get(0) is None
    assert not [path for path in Path(options.lake).rglob("*") if path.is_file()]
    mended = limited(options, Limits(max_dead_ratio=0.2, stop=True))
    Committer(mended).recover()
    Committer(mended).commit(write(mended, orders), 0)
    assert positions(options) == EXPECTED


def test_breach_that_only_alerts_is_published_and_stands_in_the_ledger(tmp_path, orders):
    options = limited(prepare(tmp_path, orders), replace(STRICT, stop=False))
    entry = Committer(options).commit(write(options, orders), 0)
    assert positions(options) == EXPECTED
    assert entry.breaches == {"max_dead_ratio": "4 of 20 rows (20%) were rejected, more than max_dead_ratio 19%"}
    assert Ledger(options.open_checkpoint()).get(0) == entry


def test_batch_that_was_committed_is_never_stopped_afterwards(tmp_path, orders):
    options = prepare(tmp_path, orders)
    Committer(options).commit(write(options, orders), 0)
    strict = limited(options, STRICT)
    Committer(strict).commit(write(strict, orders), 0)
    assert positions(options) == EXPECTED


def test_window_goes_on_from_the_ledger_and_begins_anew_with_other_rules(tmp_path, orders):
    windowed = replace(STRICT, min_rows=30, window_rows=1000)
    options = limited(prepare(tmp_path, orders), windowed)
    Committer(options).commit(write(options, orders), 0)  # 20 rows: too few to judge
    next_batch(options, 1)
    with pytest.raises(QualityStop, match="8 of last 40 rows"):
        Committer(options).commit(write(options, orders), 1)
    mended = limited(options, windowed, suite="g")
    Committer(mended).commit(write(mended, orders), 1)
    assert Ledger(options.open_checkpoint()).get(1).window[0][:2] == [20, 4]


def test_rule_with_a_share_that_has_to_pass_stops_too(tmp_path, orders):
    rule = RuleLimit("r", 0.9, ("quantity",))
    options = limited(prepare(tmp_path, orders), Limits(rules=(rule,), stop=True))
    with pytest.raises(QualityStop, match=r"rule r: 4 of 20 rows failed, 80% passed, less than mostly 90%"):
        Committer(options).commit(write(options, orders), 0)


def test_rule_with_a_condition_is_judged_by_the_rows_that_its_condition_let_in(tmp_path, orders):
    rule = RuleLimit("r", 0.9, ("quantity", "city"), conditional=True)
    options = limited(prepare(tmp_path, orders), Limits(rules=(rule,), stop=True))
    rows = batch(orders, 0, 20)
    task = TaskWriter(options)
    looked_at = pa.array([["r"] if at % 2 == 0 else [] for at in range(rows.num_rows)], pa.list_(pa.string()))
    task.add(rows.append_column("quality_looked_at", looked_at))
    result = task.finish()
    assert result.looked_at == {"r": 10}
    with pytest.raises(QualityStop, match=r"rule r: 4 of 10 rows failed, 60% passed"):
        Committer(options).commit([result], 0)
