"""Structured logs on standard error: one JSON object a line, or plain text on a terminal; source and batch on each."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final

from streaming_app.config.models import LoggingConfig

LOGGER: Final = "streaming_app"
_FIELDS: Final = ("source", "batch")


def configure(config: LoggingConfig) -> None:
    """Send the product's log lines to standard error in the configured form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json(config) else PlainFormatter())
    logger = logging.getLogger(LOGGER)
    logger.handlers[:] = [handler]
    logger.setLevel(config.level)
    logger.propagate = False


def as_json(config: LoggingConfig) -> bool:
    """Whether lines are JSON: as configured, or by whether a person reads them."""
    return config.format == "json" or (config.format == "auto" and not sys.stderr.isatty())


def fields(source: str | None = None, batch: int | None = None, **more: Any) -> dict[str, Any]:
    """The `extra` of a log call: where the line belongs, and figures worth searching for."""
    return {"source": source, "batch": batch, "figures": more}


class JsonFormatter(logging.Formatter):
    """time (UTC, ISO 8601), level, message, source, batch, and the line's own figures."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **{name: getattr(record, name, None) for name in _FIELDS},
            **getattr(record, "figures", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class PlainFormatter(logging.Formatter):
    """The same for people."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        source, batch = (getattr(record, name, None) for name in _FIELDS)
        where = "-" if source is None else source if batch is None else f"{source}#{batch}"
        figures = " ".join(f"{name}={value}" for name, value in getattr(record, "figures", {}).items())
        line = f"{time} {record.levelname:<7} {where:<12} {record.getMessage()}{'  ' + figures if figures else ''}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line
