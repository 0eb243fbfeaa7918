"""All figures to a Prometheus Pushgateway, for runs that end before anybody could scrape them (`run --available-now`).

Each push replaces the last one of the same job and instance. The gateway keeps it after the run has ended, as is its purpose:
`push_time_seconds` there says how old it is.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import basic_auth_handler, default_handler, push_to_gateway

from streaming_app.config.models import PushgatewayConfig
from streaming_app.metrics.prometheus import ValuesCollector
from streaming_app.metrics.values import Values

_PATIENCE: Final = 10.0  # seconds


class Pushgateway:
    """Pushes everything that `values` has, by prometheus-client."""

    def __init__(self, values: Values, config: PushgatewayConfig) -> None:
        self._config = config
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(ValuesCollector(values))
        self._key = {"instance": config.instance or socket.gethostname()}

    def send(self) -> None:
        """Raises OSError when the gateway does not take it."""
        push_to_gateway(
            self._config.url,
            job=self._config.job,
            registry=self._registry,
            grouping_key=self._key,
            timeout=_PATIENCE,
            handler=self._handler,
        )

    def _handler(
        self, url: str, method: str, timeout: float | None, headers: list[tuple[str, str]], data: bytes
    ) -> Callable[[], None]:
        if self._config.user:
            return basic_auth_handler(url, method, timeout, headers, data, self._config.user, self._config.password)
        return default_handler(url, method, timeout, headers, data)
