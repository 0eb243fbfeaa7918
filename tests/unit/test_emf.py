"""CloudWatch's embedded metric format: every line keeps the rules of AWS's specification, and the figures are those of the calls."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import jsonschema
import pytest

from streaming_app.config.models import CloudWatchConfig
from streaming_app.metrics import catalogue as m
from streaming_app.metrics.cloudwatch import CloudWatch, Differences
from streaming_app.metrics.emf import StandardOutput, documents
from streaming_app.metrics.values import Values
from tests.metrics_lake import NOW, everything, new_recorder, run

REPOSITORY = Path(__file__).resolve().parents[2]
LARGEST = 256 * 1024  # bytes of a log event; newer ones may be larger
# "Specification: Embedded metric format" in the CloudWatch user guide, and PutMetricData's reference for what a metric may be called.
SCHEMA = {
    "type": "object",
    "required": ["_aws"],
    "properties": {
        "_aws": {
            "type": "object",
            "required": ["Timestamp", "CloudWatchMetrics"],
            "additionalProperties": False,
            "properties": {
                "Timestamp": {"type": "integer", "minimum": 1},
                "CloudWatchMetrics": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "required": ["Namespace", "Dimensions", "Metrics"],
                        "additionalProperties": False,
                        "properties": {
                            "Namespace": {"type": "string", "minLength": 1, "maxLength": 255},
                            "Dimensions": {
                                "type": "array",
                                "minItems": 1,
                                "items": {
                                    "type": "array",
                                    "maxItems": 30,
                                    "items": {"type": "string", "minLength": 1, "maxLength": 250},
                                },
                            },
                            "Metrics": {
                                "type": "array",
                                "minItems": 1,
                                "maxItems": 100,
                                "items": {
                                    "type": "object",
                                    "required": ["Name"],
                                    "additionalProperties": False,
                                    "properties": {
                                        "Name": {"type": "string", "minLength": 1, "maxLength": 255},
                                        "Unit": {"enum": ["Seconds", "Bytes", "Count"]},
                                        "StorageResolution": {"enum": [1, 60]},
                                    },
                                },
                            },
                        },
                    },
                },
            },
        }
    },
}


def checked(line: str) -> dict:
    """A line as an object, once it was seen to keep every rule."""
    assert "\n" not in line
    assert len(line.encode()) <= LARGEST
    document = json.loads(line)
    jsonschema.validate(document, SCHEMA)
    for directive in document["_aws"]["CloudWatchMetrics"]:
        names = [metric["Name"] for metric in directive["Metrics"]]
        assert len(set(names)) == len(names)
        for name in names:  # each target member is there, as a number or up to 100 of them
            values = document[name] if isinstance(document[name], list) else [document[name]]
            assert 1 <= len(values) <= 100
            assert all(type(value) in {int, float} and abs(value) < 2**360 for value in values)
        for dimensions in directive["Dimensions"]:
            assert all(isinstance(document[name], str) and document[name] for name in dimensions)
            assert not set(dimensions) & set(names)
    return document


def sums(lines: list[dict]) -> dict[tuple[str, ...], Counter[float]]:
    """How often each value of a series was said, by metric and dimensions."""
    found: dict[tuple[str, ...], Counter[float]] = defaultdict(Counter)
    for document in lines:
        for directive in document["_aws"]["CloudWatchMetrics"]:
            (names,) = directive["Dimensions"]
            for metric in directive["Metrics"]:
                said = document[metric["Name"]]
                key = (metric["Name"], metric["Unit"], *(f"{name}={document[name]}" for name in sorted(names)))
                found[key].update(said if isinstance(said, list) else [said])
    return dict(found)


def of_calls(data: list[dict]) -> dict[tuple[str, ...], Counter[float]]:
    """The same of what PutMetricData gets."""
    found: dict[tuple[str, ...], Counter[float]] = defaultdict(Counter)
    for datum in data:
        dimensions = sorted(f"{each['Name']}={each['Value']}" for each in datum["Dimensions"])
        values = [datum["Value"]] if "Value" in datum else datum["Values"]
        counts = datum.get("Counts", [1])
        for value, count in zip(values, counts, strict=True):
            found[(datum["MetricName"], datum["Unit"], *dimensions)][value] += round(count)
    return dict(found)


@pytest.fixture
def recorder():
    return new_recorder()


def test_lines_say_what_the_calls_say(recorder):
    differences = Differences(recorder._values)
    run(recorder, 0, 1, 2)
    data, _ = differences.take(NOW + 60)
    lines = [checked(line) for line in documents("qsr", data)]
    assert sums(lines) == of_calls(data)
    assert {document["_aws"]["Timestamp"] for document in lines} == {round((NOW + 60) * 1000)}
    assert len(lines) == len({str(datum["Dimensions"]) for datum in data})  # not one for each metric


def test_a_histogram_of_more_values_than_a_metric_may_have_goes_over_several_lines(recorder):
    for _ in range(250):
        recorder._values.observe(m.BATCH_DURATION, 1.5, "kinesis")
    data, _ = Differences(recorder._values).take(NOW)
    lines = [checked(line) for line in documents("qsr", data)]
    assert sums(lines)["qsr_batch_duration_seconds", "Seconds", "source=kinesis"] == {2: 250}
    assert sum("qsr_batch_duration_seconds" in document for document in lines) == 3


def test_more_metrics_than_an_object_may_have_go_over_several_lines():
    stamp = Differences(Values()).take(NOW)
    assert stamp[0] == []
    values = Values()
    values.set(m.READY, 1)
    (datum,), _ = Differences(values).take(NOW)
    many = [{**datum, "MetricName": f"metric-{number}"} for number in range(250)]
    lines = [checked(line) for line in documents("qsr", many)]
    assert [len(line["_aws"]["CloudWatchMetrics"][0]["Metrics"]) for line in lines] == [100, 100, 50]


def test_every_metric_that_is_sent_keeps_the_rules_whatever_its_labels_say():
    values = Values()
    everything(values, 'a"b\\c\nd{}<script> \u202e', "x" * 500)
    data, _ = Differences(values).take(NOW)
    lines = [checked(line) for line in documents("qsr", data)]
    assert sums(lines) == of_calls(data)


def test_standard_output_gets_whole_lines_and_nothing_else(recorder, capfd):
    cloudwatch = CloudWatch(recorder._values, StandardOutput(CloudWatchConfig(format="emf")).put, lambda: NOW)
    run(recorder, 0)
    cloudwatch.send()
    run(recorder, 1)
    cloudwatch.send()
    found = sums([checked(line) for line in capfd.readouterr().out.splitlines()])
    assert found["qsr_rows_read_total", "Count", "source=kinesis"] == {10: 2}


PRINTS = """
import time
from streaming_app.config.models import CloudWatchConfig
from streaming_app.metrics.cloudwatch import CloudWatch
from streaming_app.metrics.emf import StandardOutput
from streaming_app.metrics.pushing import Pusher
from streaming_app.metrics.values import Values
from tests.metrics_lake import everything

values = Values()
everything(values, *(f"rule-{number}" for number in range(50)))
pusher = Pusher("CloudWatch", 0.001, CloudWatch(values, StandardOutput(CloudWatchConfig(format="emf")).put).send)
time.sleep(1)
begun = time.monotonic()
everything(values, "x")
pusher.close(timeout=0.2)
assert time.monotonic() - begun < 2
"""


def test_a_reader_that_does_not_read_holds_up_neither_the_stream_nor_the_end():
    with subprocess.Popen([sys.executable, "-c", PRINTS], stdout=subprocess.PIPE, cwd=REPOSITORY) as child:
        try:
            assert child.wait(60) == 0
            assert 1 << 15 < len(child.stdout.read()) <= 1 << 16  # what a pipe takes, by pages: it was full
        finally:
            child.kill()
