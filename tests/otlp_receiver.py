"""An OpenTelemetry receiver on this machine: takes OTLP over HTTP, as a collector does, and keeps what arrives."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as service


class Receiver(ThreadingHTTPServer):
    """`requests` are the messages taken, `headers` those of the last one; the next `failures` are answered with 503.

    `refuse`: so many points are said to be refused, once.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[Any] = []
        self.headers: dict[str, str] = {}
        self.failures = 0
        self.refuse = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1/metrics"

    def wait(self, count: int, timeout: float = 10) -> list[Any]:
        deadline = time.monotonic() + timeout
        while len(self.requests) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        return list(self.requests)


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        known = (
            self.path == "/v1/metrics"
            and self.headers["Content-Type"] == "application/x-protobuf"
            and self.headers["Content-Encoding"] == "gzip"
        )
        if not known or self.server.failures:
            self.server.failures = max(0, self.server.failures - 1)
            self.send_error(503 if known else 415)
            return
        self.server.requests.append(service.ExportMetricsServiceRequest.FromString(gzip.decompress(body)))
        self.server.headers = dict(self.headers)
        answer = service.ExportMetricsServiceResponse()
        if self.server.refuse:
            answer.partial_success.rejected_data_points = self.server.refuse
            answer.partial_success.error_message = "too many"
            self.server.refuse = 0
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.end_headers()
        self.wfile.write(answer.SerializeToString())

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextmanager
def otlp_receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
