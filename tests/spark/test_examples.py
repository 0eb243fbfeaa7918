"""A suite's examples fail exactly what they name, run through the stream's own pipeline."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from streaming_app.config.documents import read_document
from streaming_app.examples import example_problems
from streaming_app.quality import Suite

pytestmark = pytest.mark.spark
CONF = Path(__file__).resolve().parents[2] / "conf"
RULES = [
    {
        "type": "expect_column_values_to_be_between",
        "kwargs": {"column": "amount", "min_value": 0},
        "meta": {"id": "amount"},
    },
    {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "item"}, "severity": "warning"},
    {
        "type": "expect_column_pair_values_to_be_equal",
        "kwargs": {"column_A": "city", "column_B": "item"},
        "severity": "info",
    },
]


def problems(spark, orders, *examples: dict) -> list[str]:
    suite = Suite.parse({"name": "s", "expectations": RULES, "examples": list(examples)}, "f", orders)
    return [f"{problem.key}: {problem.message}" for problem in example_problems(spark, suite, orders, "f")]


@pytest.mark.parametrize("file", sorted((CONF / "expectations").iterdir()), ids=lambda file: file.name)
def test_examples_of_the_shipped_suites_hold(spark, orders, file):
    suite = Suite.parse(read_document(file), str(file), orders)
    assert example_problems(spark, suite, orders, str(file)) == []
    tried = {rule for example in suite.examples for rule in example.fails}
    assert {rule.id for rule in suite.rules} <= tried


def test_example_that_passes_or_fails_something_else_is_reported_with_its_place(spark, orders):
    good = {"row": {"amount": -1, "item": "x", "city": "x"}, "fails": ["amount"]}
    assert problems(
        spark,
        orders,
        good,
        {"row": {"amount": 1}, "fails": ["amount"]},
        {"row": {"amount": "x"}},
        {"row": {"item": None}, "fails": []},
        {"row": {"city": "a", "item": "b"}},
    ) == [
        "examples[1]: should fail amount, and passes",
        "examples[2]: fails amount.cast, and should not",
        "examples[3]: fails item.not_null, and should not",
        "examples[4]: fails city.item.pair_equal, and should not",
    ]


def test_rules_that_spark_cannot_run_are_a_problem_also_without_examples(spark, orders, monkeypatch):
    monkeypatch.setattr("streaming_app.quality.regex.faults", lambda _: [])  # a fault that our own check would not know
    rule = {"type": "expect_column_values_to_match_regex", "kwargs": {"column": "city", "regex": "(?P<a>x)"}}
    suite = Suite.parse({"name": "s", "expectations": [rule]}, "f", orders)
    (problem,) = example_problems(spark, suite, orders, "f")
    assert (problem.key, "Spark cannot run the rules" in problem.message) == ("expectations", True)


def test_column_that_is_left_out_is_not_looked_at(spark, orders):
    assert problems(spark, orders, {"row": {"amount": 1}}, {"row": {}}) == []


@pytest.mark.parametrize(("amount", "code"), [("-1", 0), ("1", 2)])
def test_check_config_says_whether_the_examples_hold_also_where_spark_cannot_reach_the_lake(tmp_path, amount, code):
    suite = {"name": "s", "expectations": RULES, "examples": [{"row": {"amount": amount}, "fails": ["amount"]}]}
    file = tmp_path / "suite.json"
    file.write_text(json.dumps(suite))
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "streaming_app",
            "check-config",
            "--config",
            "conf/local.yaml",
            "--set",
            f"suite={file}",
        ],
        cwd=CONF.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    if code:
        assert f"{file}: examples[0]: should fail amount, and passes" in done.stderr
        assert done.stdout == ""
    else:
        assert "1 example, as they should be" in done.stdout
