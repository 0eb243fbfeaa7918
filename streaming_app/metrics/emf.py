"""CloudWatch's embedded metric format: the same data as log lines, out of which CloudWatch Logs makes metrics.

The rules are those of the specification ("Specification: Embedded metric format", CloudWatch user guide): a line is one JSON
object with nothing around it; `_aws` says which of its members are metrics and which are their dimensions; at most 100 metrics
an object, 100 values a metric, 30 dimensions. A series' dimensions stand beside its value, so series with the same dimensions
share an object.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from streaming_app.config.models import CloudWatchConfig
from streaming_app.errors import SinkError
from streaming_app.metrics.cloudwatch import Client, Datum

_METRICS: Final = 100  # an object may define
_VALUES: Final = 100  # a metric may have
_EVENTS: Final = 1000  # of the 10,000 that PutLogEvents takes; a line is far below 1 kB, and a call may have 1 MiB

_Point = tuple[str, str, Any]  # a metric's name, unit, and value or values


def documents(namespace: str, data: Iterable[Datum]) -> Iterator[str]:
    """The lines for these data, each a whole JSON object without a line break."""
    for dimensions, group in groupby(sorted(data, key=_dimensions), key=_dimensions):
        points: list[_Point] = []
        longer: list[_Point] = []
        for datum in group:
            first, *others = _points(datum)
            points.append(first)
            longer += others
            stamp = round(datum["Timestamp"].timestamp() * 1000)
        for begin in range(0, len(points), _METRICS):
            yield _document(namespace, stamp, dict(dimensions), points[begin : begin + _METRICS])
        for point in longer:  # more values than fit beside the others: a metric is named once in an object
            yield _document(namespace, stamp, dict(dimensions), [point])


def _dimensions(datum: Datum) -> tuple[tuple[str, str], ...]:
    return tuple((each["Name"], each["Value"]) for each in datum["Dimensions"])


def _points(datum: Datum) -> list[_Point]:
    """One, or several where there are too many values for one. Counts of values are no part of the format, so each is written out."""
    name, unit = datum["MetricName"], datum["Unit"]
    if "Value" in datum:
        return [(name, unit, datum["Value"])]
    counted = zip(datum["Values"], datum["Counts"], strict=True)
    values = [value for value, count in counted for _ in range(round(count))]
    return [(name, unit, values[begin : begin + _VALUES]) for begin in range(0, len(values), _VALUES)]


def _document(namespace: str, stamp: int, dimensions: Mapping[str, str], points: Sequence[_Point]) -> str:
    directive = {
        "Namespace": namespace,
        "Dimensions": [list(dimensions)],
        "Metrics": [{"Name": name, "Unit": unit} for name, unit, _ in points],
    }
    metadata = {"Timestamp": stamp, "CloudWatchMetrics": [directive]}
    values = {name: value for name, _, value in points}
    return json.dumps({"_aws": metadata, **dimensions, **values}, separators=(",", ":"))


class StandardOutput:
    """Prints the lines, where the platform takes standard output to CloudWatch Logs."""

    def __init__(self, config: CloudWatchConfig) -> None:
        self._namespace = config.namespace

    def put(self, data: Sequence[Datum]) -> None:
        """Print them at once: no other line comes between."""
        sys.stdout.write("".join(f"{line}\n" for line in documents(self._namespace, data)))
        sys.stdout.flush()


class LogGroup:
    """Puts the lines into a log stream of its own, in a log group that is there."""

    def __init__(self, config: CloudWatchConfig, clock: Callable[[], float] = time.time) -> None:
        self._config, self._clock, self._client = config, clock, Client("logs", config)
        self._stream = ""

    def put(self, data: Sequence[Datum]) -> None:
        """Raises SinkError when CloudWatch Logs takes the call and leaves lines out."""
        client, group = self._client.open(), self._config.log_group
        now = round(self._clock() * 1000)
        events = [{"timestamp": now, "message": line} for line in documents(self._config.namespace, data)]
        if not self._stream:
            name = f"qsr-ingest-metrics/{uuid.uuid4().hex}"
            client.create_log_stream(logGroupName=group, logStreamName=name)
            self._stream = name
        for first in range(0, len(events), _EVENTS):
            answer = client.put_log_events(
                logGroupName=group, logStreamName=self._stream, logEvents=events[first : first + _EVENTS]
            )
            if answer.get("rejectedLogEventsInfo"):
                raise SinkError(
                    f"log group {group} left lines out: {answer['rejectedLogEventsInfo']}; is the clock right?"
                )
