"""The same figures to Amazon CloudWatch, where nothing scrapes (Glue, EMR Serverless): by PutMetricData, or as log lines (emf.py).

CloudWatch sums by itself, so counters go as what was added since the last time that succeeded, histograms as counts of their
buckets' upper bounds (so percentiles are exact to a bucket), and points in time as ages. Labels are dimensions. Series by rule,
reason, shard and phase stay out: CloudWatch bills each series by itself.

Guarantee: a call that fails is made up for by the next one; one whose answer was lost may count twice, and what a killed process
had not sent is missing, as CloudWatch is no book: the ledger is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from streaming_app.config.models import CloudWatchConfig
from streaming_app.metrics.catalogue import CATALOGUE, Kind, Metric, Since
from streaming_app.metrics.values import Labels, Series, Values

_MOST: Final = 1000  # metrics a call takes (API reference, PutMetricData)
_UNITS: Final = {"seconds": "Seconds", "bytes": "Bytes", "1": "Count"}
_MOMENT: Final = "_timestamp_seconds"
SENT: Final = tuple(metric for metric in CATALOGUE if not metric.open_label and not metric.name.endswith("_info"))

Key = tuple[Metric, Labels]
Datum = dict[str, Any]


class Differences:
    """What has to be sent, given what was sent: pure but for its memory, which `sent` moves on."""

    def __init__(self, values: Values) -> None:
        self._values = values
        self._sent: dict[Key, list[float]] = {}
        self.begin()

    def begin(self) -> None:
        """Sums since ever that are new here are those of earlier runs, which were sent then."""
        for metric, series in self._values.snapshot():
            if metric.since is Since.EVER:
                found = {(metric, labels): [number] for labels, number in series.numbers.items()}
                self._sent = found | self._sent

    def take(self, now: float) -> tuple[list[Datum], dict[Key, list[float]]]:
        """The data of now, and what to tell `sent` once they have arrived."""
        data: list[Datum] = []
        reached: dict[Key, list[float]] = {}
        for metric, series in self._values.snapshot():
            if metric in SENT:
                data += self._of(metric, series, now, reached)
        stamp = datetime.fromtimestamp(now, UTC)
        return [{**datum, "Timestamp": stamp} for datum in data], reached

    def sent(self, reached: dict[Key, list[float]]) -> None:
        """These have arrived."""
        self._sent |= reached

    def _of(self, metric: Metric, series: Series, now: float, reached: dict[Key, list[float]]) -> Iterator[Datum]:
        for labels, number in series.numbers.items():
            if metric.kind is Kind.COUNTER:
                (more,) = self._more((metric, labels), [number], reached)
                yield _datum(metric, labels, Value=more)
            elif not metric.name.endswith(_MOMENT):
                yield _datum(metric, labels, Value=number)
            elif number:
                yield _datum(metric, labels, Value=max(0.0, now - number))
        for labels, observed in series.observed.items():
            counts = self._more((metric, labels), [float(count) for count in observed.counts], reached)
            bounds = [*metric.buckets, metric.buckets[-1]]  # nothing is known above the last one
            found = [(bound, count) for bound, count in zip(bounds, counts, strict=True) if count]
            if found:
                yield _datum(metric, labels, Values=[each[0] for each in found], Counts=[each[1] for each in found])

    def _more(self, key: Key, numbers: list[float], reached: dict[Key, list[float]]) -> list[float]:
        before = self._sent.get(key, [0.0] * len(numbers))
        reached[key] = numbers
        return [max(0.0, number - old) for number, old in zip(numbers, before, strict=True)]


def _datum(metric: Metric, labels: Labels, **value: Any) -> Datum:
    name = metric.name.replace(_MOMENT, "_age_seconds")
    dimensions = [{"Name": label, "Value": text} for label, text in zip(metric.labels, labels, strict=True)]
    return {"MetricName": name, "Dimensions": dimensions, "Unit": _UNITS[metric.unit], **value}


class CloudWatch:
    """What has changed since it was sent last, handed to `put` by each `send`."""

    def __init__(
        self, values: Values, put: Callable[[Sequence[Datum]], None], clock: Callable[[], float] = time.time
    ) -> None:
        self._differences, self._put, self._clock = Differences(values), put, clock

    def begin(self) -> None:
        """A source's totals have just appeared: they are no news."""
        self._differences.begin()

    def send(self) -> None:
        """Raises whatever `put` raises; then the next call sends the same again, and what has come to it."""
        data, reached = self._differences.take(self._clock())
        self._put(data)
        self._differences.sent(reached)


class Calls:
    """Puts data by PutMetricData."""

    def __init__(self, config: CloudWatchConfig) -> None:
        self._config, self._client = config, Client("cloudwatch", config)

    def put(self, data: Sequence[Datum]) -> None:
        """A call for each thousand of them."""
        for first in range(0, len(data), _MOST):
            batch = data[first : first + _MOST]
            self._client.open().put_metric_data(Namespace=self._config.namespace, MetricData=batch)


class Client:
    """A boto3 client that gives up after ten seconds and two attempts; made when it is needed, as that takes 0.2 s."""

    def __init__(self, service: str, config: CloudWatchConfig) -> None:
        self._service, self._config = service, config
        self._client: Any = None

    def open(self) -> Any:
        """The client, the same one each time."""
        if self._client is None:
            import boto3  # noqa: PLC0415 - not in the thread that starts the service
            from botocore.config import Config  # noqa: PLC0415

            make: Any = boto3.session.Session().client  # typed by the service's name, which is not known here
            self._client = make(
                self._service,
                region_name=self._config.region or None,
                endpoint_url=self._config.endpoint_url or None,
                config=Config(connect_timeout=5, read_timeout=5, retries={"total_max_attempts": 2, "mode": "standard"}),
            )
        return self._client
