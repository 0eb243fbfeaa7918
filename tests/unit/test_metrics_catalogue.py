"""The catalogue of metrics: well formed, complete, documented, and bounded."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from streaming_app.metrics import catalogue as m
from streaming_app.metrics import documentation
from streaming_app.metrics.catalogue import CATALOGUE, MOST_VALUES, Kind, Since
from streaming_app.metrics.values import Values

REPOSITORY = Path(__file__).resolve().parents[2]
CODE = [path for path in (REPOSITORY / "streaming_app" / "metrics").glob("*.py") if path.name != "catalogue.py"]


def test_the_page_is_what_the_catalogue_says():
    written = (REPOSITORY / "docs" / "metrics.md").read_text()
    assert written == documentation.document(), "python -m streaming_app.metrics.documentation > docs/metrics.md"


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda metric: metric.name)
def test_a_metric_is_well_formed(metric):
    assert re.fullmatch(r"qsr_[a-z_]+[a-z]", metric.name)
    assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    assert metric.help.endswith(".")
    assert not metric.open_label or metric.open_label in metric.labels
    assert (metric.kind is Kind.HISTOGRAM) == bool(metric.buckets)
    assert list(metric.buckets) == sorted(metric.buckets)
    assert (metric.since is Since.NOW) == (metric.kind is Kind.GAUGE)


def test_every_name_is_there_once_and_every_metric_is_used():
    assert len({metric.name for metric in CATALOGUE}) == len(CATALOGUE)
    text = "\n".join(path.read_text() for path in CODE)
    names = [name for name, value in vars(m).items() if value in CATALOGUE]
    assert [name for name in names if f"m.{name}" not in text] == []


def test_values_of_an_open_label_beyond_the_limit_share_one_series():
    values = Values()
    rules = {f"rule-{number}": 1.0 for number in range(MOST_VALUES + 50)}
    values.replace(m.WARNINGS, "csv", rules)
    values.replace(m.WARNINGS, "csv", rules)
    ((_, series),) = values.snapshot()
    assert len(series.numbers) == MOST_VALUES + 1
    assert series.numbers["csv", "other"] == 50
    assert sum(series.numbers.values()) == MOST_VALUES + 50


def test_one_source_does_not_take_the_series_of_the_other():
    values = Values()
    for source in ("csv", "kinesis"):
        for number in range(MOST_VALUES + 5):
            values.add(m.FAILURES, 1, source, f"Error{number}")
    assert values.get(m.FAILURES, "kinesis", f"Error{MOST_VALUES - 1}") == 1
    assert values.get(m.FAILURES, "kinesis", "other") == 5


def test_other_shards_have_the_lag_of_the_furthest():
    values = Values()
    values.replace(m.SHARD_LAG, "kinesis", {f"shard-{number:04}": float(number) for number in range(MOST_VALUES + 9)})
    assert values.get(m.SHARD_LAG, "kinesis", "other") == MOST_VALUES + 8


def test_shards_that_are_read_no_more_are_gone():
    values = Values()
    values.replace(m.SHARD_LAG, "kinesis", {"shard-0": 5.0})
    values.replace(m.SHARD_LAG, "kinesis", {"shard-1": 0.0, "shard-2": 0.0})
    assert values.get(m.SHARD_LAG, "kinesis", "shard-0") is None


def test_an_endless_label_is_cut():
    values = Values()
    values.add(m.FAILURES, 1, "csv", "x" * 10_000)
    assert values.get(m.FAILURES, "csv", "x" * 200) == 1
