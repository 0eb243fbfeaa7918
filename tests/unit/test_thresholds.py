"""The circuit breaker: what breaks a limit, in one batch and over the window, and what never does."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from streaming_app.quality import Suite
from streaming_app.sink.datasource import looked_at
from streaming_app.thresholds import (
    Limits,
    RuleLimit,
    Skips,
    Tally,
    from_window,
    judge,
    to_window,
)

RATIO = Limits(max_dead_ratio=0.1, min_rows=10, stop=True)
RULE = RuleLimit("amount.positive", 0.9, ("amount",))


def test_batch_with_too_many_dead_letters_stops_and_says_by_how_much():
    judgement = judge(RATIO, Tally(100, 11))
    assert judgement.stops
    assert judgement.breaches[0].text == "11 of 100 rows (11%) were rejected, more than max_dead_ratio 10%"


@pytest.mark.parametrize("batch", [Tally(100, 10), Tally(9, 9), Tally(0, 0)])
def test_as_many_as_allowed_or_too_few_to_judge_is_no_breach(batch):
    assert not judge(RATIO, batch).breaches


def test_a_breach_that_only_alerts_does_not_stop():
    judgement = judge(Limits(max_dead_ratio=0.0), Tally(1, 1))
    assert [breach.key for breach in judgement.breaches] == ["max_dead_ratio"]
    assert not judgement.stops


def test_a_rule_is_judged_on_the_rows_it_looks_at():
    limits = Limits(rules=(RULE,), min_rows=10, stop=True)
    few = Tally(1000, 2, {RULE.id: 19}, {RULE.id: 2})
    assert [breach.key for breach in judge(limits, few).breaches] == [RULE.id]
    assert "2 of 19 rows failed" in judge(limits, few).breaches[0].text
    assert not judge(limits, Tally(1000, 2, {RULE.id: 20}, {RULE.id: 2})).breaches
    assert not judge(limits, Tally(1000, 2, {RULE.id: 9}, {RULE.id: 9})).breaches


def test_a_rule_below_critical_alerts_also_where_others_stop():
    limits = Limits(rules=(RuleLimit("w", 1.0, ("a",), stops=False),), stop=True)
    judgement = judge(limits, Tally(5, 0, {"w": 5}, {"w": 1}))
    assert judgement.breaches
    assert not judgement.stops


def test_small_batches_are_judged_together():
    limits = Limits(max_dead_ratio=0.1, min_rows=50, window_rows=100, stop=True)
    window: tuple[Tally, ...] = ()
    for number in range(1, 20):
        judgement = judge(limits, Tally(4, 1), window)
        window = judgement.window
        assert judgement.stops == (number * 4 >= 50), number


def test_window_forgets_what_is_older_and_stays_small():
    limits = Limits(max_dead_ratio=0.5, window_rows=1000)
    window: tuple[Tally, ...] = judge(limits, Tally(400, 400)).window
    for _ in range(3000):
        window = judge(limits, Tally(1, 0), window).window
    assert sum(bucket.dead for bucket in window) == 0
    assert 1000 <= sum(bucket.rows for bucket in window) <= 1100
    assert len(window) <= 50


def test_window_survives_json():
    tallies = [Tally(3, 1, {"r": 2}, {"r": 1})]
    assert from_window(json.loads(json.dumps(to_window(tallies)))) == tallies
    limits = Limits(rules=(RULE,), max_dead_ratio=0.5, window_rows=7, stop=True)
    assert Limits.from_json(json.loads(json.dumps(limits.to_json()))) == limits


BATCH = pa.RecordBatch.from_pydict(
    {
        "stage": [None, None, None, "cast", "decode"],
        "a": pa.array([1, None, 3, None, None]),
        "b": pa.array([1, 2, None, None, None]),
    }
)


@pytest.mark.parametrize(
    ("columns", "skips", "expected"),
    [(("a",), Skips.ANY, 2), (("a",), Skips.NONE, 4), (("a", "b"), Skips.ANY, 1), (("a", "b"), Skips.ALL, 3)],
)
def test_rows_a_rule_looks_at(columns, skips, expected):
    assert looked_at(BATCH, RuleLimit("r", 1.0, columns, skips)) == expected


def rule(type_: str, **kwargs):
    return {"type": type_, "kwargs": kwargs}


@pytest.mark.parametrize(
    ("expectation", "skips"),
    [
        (rule("expect_column_values_to_not_be_null", column="city", mostly=0.9), Skips.NONE),
        (rule("expect_column_values_to_be_in_set", column="city", value_set=["a"], mostly=0.9), Skips.ANY),
        (rule("expect_column_pair_values_to_be_equal", column_A="city", column_B="item", mostly=0.9), Skips.ALL),
        (
            rule(
                "expect_column_pair_values_to_be_equal",
                column_A="city",
                column_B="item",
                mostly=0.9,
                ignore_row_if="either_value_is_missing",
            ),
            Skips.ANY,
        ),
        (
            rule(
                "expect_multicolumn_values_to_be_equal", column_list=["city", "item"], mostly=0.9, ignore_row_if="never"
            ),
            Skips.NONE,
        ),
        (rule("expect_column_values_to_not_be_null", column="city"), None),
    ],
)
def test_the_limit_of_a_rule_is_its_written_mostly(orders, expectation, skips):
    (parsed,) = Suite.parse({"name": "s", "expectations": [expectation]}, "f", orders).rules
    limit = parsed.limit
    assert (limit and limit.skips) == skips
    assert limit is None or limit.mostly == 0.9
