"""All figures by OpenTelemetry's protocol (OTLP over HTTP, binary) to a collector, or to whatever else takes it.

The messages are OpenTelemetry's own (opentelemetry-proto); its SDK would only measure a second time what `values` has already.
Totals are sent, not differences, so nothing is lost by a request that fails. A counter since ever has no start time, as the
protocol wants it where that is not known: after a restart it goes on, and nobody takes its sum for what was added.
"""

from __future__ import annotations

import gzip
import os
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from streaming_app import __version__
from streaming_app.config.models import OtlpConfig
from streaming_app.errors import ConfigError, SinkError
from streaming_app.metrics.catalogue import Kind, Metric, Since
from streaming_app.metrics.values import Labels, Series, Values

if TYPE_CHECKING:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

_PATIENCE: Final = 10.0  # seconds
# A gauge of unit 1 would be a ratio to Prometheus's translation, so plain counts have none.
_UNITS: Final = {"seconds": "s", "bytes": "By", "1": ""}


class Otlp:
    """Sends everything that `values` has. Raises ConfigError where opentelemetry-proto is not installed."""

    def __init__(self, values: Values, config: OtlpConfig, clock: Callable[[], float] = time.time) -> None:
        try:
            from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2  # noqa: PLC0415 - an extra
            from opentelemetry.proto.metrics.v1 import metrics_pb2  # noqa: PLC0415 - see above
        except ImportError:
            raise ConfigError("metrics.otlp needs opentelemetry-proto: pip install 'qsr-ingest[otlp]'") from None
        self._values, self._config, self._clock = values, config, clock
        self._service, self._messages = metrics_service_pb2, metrics_pb2
        self._started = _nanoseconds(clock())
        self._resource = {
            "service.name": config.service_name,
            "service.version": __version__,
            "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
        }

    def send(self) -> None:
        """Raises OSError or SinkError when the receiver does not take all of it."""
        body = gzip.compress(self.request().SerializeToString(), compresslevel=1)
        headers = {
            **self._config.headers,
            "Content-Type": "application/x-protobuf",
            "Content-Encoding": "gzip",
            "User-Agent": f"qsr-ingest/{__version__}",
        }
        request = urllib.request.Request(self._config.endpoint, body, headers)  # noqa: S310 - the model takes http and https
        with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:  # noqa: S310 - see above
            said = self._service.ExportMetricsServiceResponse.FromString(answer.read()).partial_success
        if said.rejected_data_points:
            raise SinkError(f"{said.rejected_data_points} points were refused: {said.error_message}")

    def request(self) -> ExportMetricsServiceRequest:
        """Everything of now as one message."""
        request = self._service.ExportMetricsServiceRequest()
        resource = request.resource_metrics.add()
        for name, text in self._resource.items():
            resource.resource.attributes.add(key=name).value.string_value = text
        scope = resource.scope_metrics.add()
        scope.scope.name, scope.scope.version = "qsr-ingest", __version__
        now = _nanoseconds(self._clock())
        scope.metrics.extend(self._metrics(now))
        return request

    def _metrics(self, now: int) -> Iterator[Any]:
        for metric, series in self._values.snapshot():
            message = self._messages.Metric(name=metric.name, description=metric.help, unit=_UNITS[metric.unit])
            if metric.kind is Kind.HISTOGRAM:
                self._histogram(message.histogram, metric, series, now)
            else:
                self._numbers(message, metric, series, now)
            yield message

    def _numbers(self, message: Any, metric: Metric, series: Series, now: int) -> None:
        counter = metric.kind is Kind.COUNTER
        points = message.sum if counter else message.gauge
        if counter:
            points.is_monotonic = True
            points.aggregation_temporality = self._messages.AGGREGATION_TEMPORALITY_CUMULATIVE
        for labels, number in series.numbers.items():
            point = points.data_points.add(time_unix_nano=now, as_double=number)
            if metric.since is Since.PROCESS:
                point.start_time_unix_nano = self._started
            _label(point, metric, labels)

    def _histogram(self, histogram: Any, metric: Metric, series: Series, now: int) -> None:
        histogram.aggregation_temporality = self._messages.AGGREGATION_TEMPORALITY_CUMULATIVE
        for labels, observed in series.observed.items():
            point = histogram.data_points.add(
                start_time_unix_nano=self._started,
                time_unix_nano=now,
                count=sum(observed.counts),
                sum=observed.sum,
                bucket_counts=observed.counts,
                explicit_bounds=metric.buckets,
            )
            _label(point, metric, labels)


def _label(point: Any, metric: Metric, labels: Labels) -> None:
    for name, text in zip(metric.labels, labels, strict=True):
        point.attributes.add(key=name).value.string_value = text


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
