"""Structured logs on standard error: one JSON object a line, or plain text on a terminal; source and batch on each.

Sources and sink also run in processes that Spark starts. They are told the form by a variable of their environment
(`pass_on`), and take it when they begin to work (`inherit`); in a query of somebody else's nothing is passed on, and logging
is left alone.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:  # which Spark's workers need not load
    from streaming_app.config.models import LoggingConfig

LOGGER: Final = "streaming_app"
_PASSED_ON: Final = "QSR_INGEST_LOGS"
_FIELDS: Final = ("source", "batch")


def configure(config: LoggingConfig) -> None:
    """Send the product's log lines to standard error in the configured form."""
    _send("json" if as_json(config) else "plain", config.level)


def pass_on(config: LoggingConfig, environment: MutableMapping[str, str]) -> None:
    """Have processes that get this environment log as this one does."""
    environment[_PASSED_ON] = f"{'json' if as_json(config) else 'plain'} {config.level}"


def inherit(source: str) -> None:
    """In a process that Spark started: log as the service does, lines of `source`. Does nothing where nothing was passed on."""
    form, _, level = os.environ.get(_PASSED_ON, "").partition(" ")
    logger = logging.getLogger(LOGGER)
    if level and not logger.handlers:
        _send(form, level)
    for handler in logger.handlers:
        if isinstance(handler.formatter, _Formatter):
            handler.formatter.source = source


def _send(form: str, level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else PlainFormatter())
    logger = logging.getLogger(LOGGER)
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False


def as_json(config: LoggingConfig) -> bool:
    """Whether lines are JSON: as configured, or by whether a person reads them."""
    return config.format == "json" or (config.format == "auto" and not sys.stderr.isatty())


def fields(source: str | None = None, batch: int | None = None, **more: Any) -> dict[str, Any]:
    """The `extra` of a log call: where the line belongs, and figures worth searching for."""
    return {"source": source, "batch": batch, "figures": more}


class _Formatter(logging.Formatter):
    """What both forms share: `source` is that of lines which name none."""

    source: str | None = None

    def _place(self, record: logging.LogRecord) -> dict[str, Any]:
        found = {name: getattr(record, name, None) for name in _FIELDS}
        return found | {"source": found["source"] or self.source}


class JsonFormatter(_Formatter):
    """time (UTC, ISO 8601), level, message, source, batch, and the line's own figures."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **self._place(record),
            **getattr(record, "figures", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class PlainFormatter(_Formatter):
    """The same for people."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        source, batch = self._place(record).values()
        where = "-" if source is None else source if batch is None else f"{source}#{batch}"
        figures = " ".join(f"{name}={value}" for name, value in getattr(record, "figures", {}).items())
        line = f"{time} {record.levelname:<7} {where:<12} {record.getMessage()}{'  ' + figures if figures else ''}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line
