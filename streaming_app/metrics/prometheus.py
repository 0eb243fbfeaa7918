"""The HTTP endpoint: /metrics for Prometheus, /healthz (alive) and /readyz (recovered and going on), and further pages.

Read-only. `/metrics` holds counts, names of rules, shards and sources, never a row's content; the live page holds rejected
rows. It binds to this machine unless the configuration says otherwise; who may ask is decided by `access.py`.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qsl

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from streaming_app.metrics.access import Access
from streaming_app.metrics.answers import Answer, Request, text
from streaming_app.metrics.catalogue import Kind, Metric
from streaming_app.metrics.health import Readiness
from streaming_app.metrics.values import Observed, Series, Values

_LOG: Final = logging.getLogger(__name__)
_PATHS: Final = "there are /metrics, /healthz and /readyz"
_PATIENCE: Final = 10.0  # seconds that a client may take to say what it wants


class ValuesCollector(Collector):
    """Hands the values of one moment to prometheus-client."""

    def __init__(self, values: Values) -> None:
        self._values = values

    def collect(self) -> Iterable[Family]:
        return [_family(metric, series) for metric, series in self._values.snapshot()]


def _family(metric: Metric, series: Series) -> Family:
    if metric.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, observed in sorted(series.observed.items()):
            histogram.add_metric(labels, list(_buckets(metric, observed)), observed.sum)
        return histogram
    kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, number in sorted(series.numbers.items()):
        family.add_metric(labels, number)
    return family


def _buckets(metric: Metric, observed: Observed) -> Iterator[tuple[str, float]]:
    """Prometheus's buckets are cumulative."""
    total = 0
    bounds = [*(str(float(bound)) for bound in metric.buckets), "+Inf"]
    for bound, count in zip(bounds, observed.counts, strict=True):
        total += count
        yield bound, total


class Endpoint:
    """Serves until closed, each request in a thread of its own. `port` 0 takes a free one; `self.port` is the real one.

    `pages` answers what is not the endpoint's own, or gives None. With a `token` only /healthz and /readyz are open. Raises OSError when the address cannot be used.
    """

    def __init__(
        self,
        values: Values,
        readiness: Callable[[], Readiness],
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        before_scrape: Callable[[], None] = lambda: None,
        pages: Callable[[Request], Answer | None] = lambda _: None,
        token: str = "",
    ) -> None:
        self._readiness, self._before_scrape, self._pages = readiness, before_scrape, pages
        self._access = Access(token, host)
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(ValuesCollector(values))
        self._server = _Server((host, port), self._answer)
        self.host, self.port = host, int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics-http", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, request: Request) -> Answer:
        return self._access.refused(request) or self._own(request) or self._pages(request) or _nothing()

    def _own(self, request: Request) -> Answer | None:
        if request.path == "/metrics":
            self._before_scrape()
            encode, content_type = choose_encoder(request.accept)
            return Answer(HTTPStatus.OK, content_type, encode(self._registry))
        if request.path == "/healthz":
            return text(HTTPStatus.OK, "alive")
        if request.path == "/readyz":
            found = self._readiness()
            status = HTTPStatus.OK if found.ready else HTTPStatus.SERVICE_UNAVAILABLE
            body = json.dumps({"ready": found.ready, "sources": found.sources}).encode()
            return Answer(status, "application/json", body + b"\n")
        return None


def _nothing() -> Answer:
    return text(HTTPStatus.NOT_FOUND, _PATHS)


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # a client that keeps its connection open does not hold up the end

    def __init__(self, address: tuple[str, int], answer: Callable[[Request], Answer]) -> None:
        self.answer = answer
        self.address_family = _family_of(address[0])
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class calls it so
        _LOG.debug("a request for metrics from %s broke off", client_address, exc_info=True)


def _family_of(host: str) -> Any:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _PATIENCE
    server_version, sys_version = "qsr-ingest", ""

    def do_GET(self) -> None:
        """The answer of a path."""
        self._respond(with_body=True)

    def do_HEAD(self) -> None:
        """The same without its body."""
        self._respond(with_body=False)

    def _respond(self, *, with_body: bool) -> None:
        answer = self.server.answer(self._request())
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(answer.body)

    def _request(self) -> Request:
        path, _, query = self.path.partition("?")
        accept, authorization, host = (self.headers.get(name, "") for name in ("Accept", "Authorization", "Host"))
        return Request(path, dict(parse_qsl(query)), accept, authorization, host)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Every scrape in the log would bury the rest."""
