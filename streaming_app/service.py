"""The long-running service: recovers, starts one query a source, restarts what fails, stops between micro-batches.

    recover -> start queries -> watch -> (drain: sources hand out nothing new) -> last batches end -> stop

One source failing never stops the other: it is started again with growing waits, and only when it failed
`max_restarts` times in a row, or with an error that no restart can mend, does the service end, with that error.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pyspark.errors import StreamingQueryException
from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from streaming_app import errors
from streaming_app.alerts import Alert
from streaming_app.config.models import ServiceConfig
from streaming_app.errors import IngestError, SourceError
from streaming_app.events import EventKind, SourceEvent
from streaming_app.quality import Suite
from streaming_app.runtime import logs
from streaming_app.sink import Committer
from streaming_app.streams import Stream

LOG: Final = logging.getLogger(__name__)
_POLL: Final = 0.2  # seconds


class StopRequest:
    """Set by a signal, a timer or a test; every `drain_path` exists from then on, so that sources hand out nothing new."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="qsr-ingest-"))
        self._event = threading.Event()
        self._sources: list[str] = []

    def drain_path(self, source: str) -> str:
        """The file that this source looks for."""
        if source not in self._sources:
            self._sources.append(source)
        return str(self._folder / f"drain-{source}")

    def hold(self, source: str) -> None:
        """Let this source hand out nothing new."""
        with suppress(FileNotFoundError):  # asked again after the end
            Path(self.drain_path(source)).touch()

    def release(self, source: str) -> None:
        """Let it go on, unless a stop was asked for."""
        Path(self.drain_path(source)).unlink(missing_ok=True)
        if self.is_set():
            self.hold(source)

    def set(self) -> None:
        """Ask for a graceful stop; safe in a signal handler."""
        self._event.set()
        for source in self._sources:
            self.hold(source)

    def is_set(self) -> bool:
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait for the request; True when it came."""
        return self._event.wait(seconds)

    def close(self) -> None:
        """Remove the file."""
        shutil.rmtree(self._folder, ignore_errors=True)


@dataclass
class _Running:
    """One source under watch. Times are of the monotonic clock."""

    stream: Stream
    query: StreamingQuery | None = None
    failures: int = 0
    started: float = 0.0
    next_start: float = 0.0
    done: bool = False
    drained: threading.Event = field(default_factory=threading.Event)
    finishing: bool = False  # an unfinished batch, under the rules it began with
    next_stream: Stream | None = None  # the same with other rules, once the batch under way has ended


class Service:
    """Runs the streams until asked to stop. Delivery guarantee: exactly once, over restarts and crashes (docs/guarantees.md).

    `changed_suite` is asked again and again for rules to change to; a source does so between two of its batches.
    `on_event` is told what happens to each source; it must not raise.
    """

    def __init__(
        self,
        spark: SparkSession,
        streams: Iterable[Stream],
        config: ServiceConfig,
        stop: StopRequest,
        *,
        available_now: bool = False,
        clock: Callable[[], float] = time.monotonic,
        alert: Callable[[Alert], None] = lambda _: None,
        changed_suite: Callable[[], Suite | None] = lambda: None,
        on_event: Callable[[SourceEvent], None] = lambda _: None,
    ) -> None:
        self._alert, self._changed_suite, self._on_event = alert, changed_suite, on_event
        self._spark, self._config, self._stop, self._clock = spark, config, stop, clock
        self._available_now = available_now
        self._sources = [_Running(stream) for stream in streams]

    def run(self) -> None:
        """Run until stopped, or until everything there was is read. Raises the error of a source that failed for good."""
        for source in self._sources:
            self._recover(source)
        try:
            while not self._stop.is_set() and not all(source.done for source in self._sources):
                self._look_for_rules()
                for source in self._sources:
                    self._tend(source)
                self._stop.wait(_POLL)
        finally:
            self._drain()

    def _recover(self, source: _Running) -> None:
        report = Committer(source.stream.sink).recover()
        if report.finished or report.voided or report.discarded:
            LOG.warning(
                "recovered what an earlier run left half-way",
                extra=logs.fields(
                    source.stream.name, finished=report.finished, voided=report.voided, discarded=report.discarded
                ),
            )

        figures = {"finished": len(report.finished), "voided": len(report.voided), "discarded": report.discarded}
        self._on_event(SourceEvent(EventKind.RECOVERED, source.stream.name, figures=figures))

    def _look_for_rules(self) -> None:
        suite = self._changed_suite()
        if suite is not None:
            for source in self._sources:
                source.next_stream = source.stream.under(suite)

    def _tend(self, source: _Running) -> None:
        """Start a source when it is due; look after it while it runs."""
        if source.done:
            return
        if source.query is None:
            if self._clock() >= source.next_start:
                self._start(source)
        elif not source.query.isActive:
            self._failed(source, _error_of(source.query))
        elif source.drained.is_set():
            self._read_all(source)
        elif source.next_stream and not source.finishing:
            self._change_rules(source)
        elif source.failures and self._clock() - source.started >= self._config.healthy_after:
            source.failures = 0

    def _read_all(self, source: _Running) -> None:
        """A bounded query has read all there was for it."""
        self._end_query(source)
        if source.finishing:
            LOG.info("finished the batch that began under other rules", extra=logs.fields(source.stream.name))
            return
        source.done = True
        self._on_event(SourceEvent(EventKind.DONE, source.stream.name))
        LOG.info("everything that was there at the start is read", extra=logs.fields(source.stream.name))

    def _change_rules(self, source: _Running) -> None:
        """Between two batches: end the query, so that it starts again with the other rules."""
        name, query = source.stream.name, source.query
        self._stop.hold(name)
        if query is not None and not query.status["isTriggerActive"]:
            self._end_query(source)
            LOG.info("changes its rules", extra=logs.fields(name))

    def _end_query(self, source: _Running) -> None:
        if source.query is not None:
            source.query.stop()
        source.query, source.next_start = None, self._clock()

    def _start(self, source: _Running) -> None:
        source.started = self._clock()
        try:
            if source.failures:
                self._recover(source)
            self._start_query(source)
        except Exception as error:  # noqa: BLE001 - whatever keeps it from starting is a failure of this source alone
            self._failed(source, _translate(error))

    def _start_query(self, source: _Running) -> None:
        """An unfinished batch first, alone, under the rules it began with; then all that is new, under today's."""
        name = source.stream.name
        source.stream, source.next_stream = source.next_stream or source.stream, None
        stream = source.stream.begun_under()
        source.finishing, source.drained = stream is not None, threading.Event()
        if stream is None:
            stream = source.stream
            first = stream.bind()
            self._stop.release(name)
            extra = logs.fields(name, checkpoint=stream.checkpoint, suite=stream.suite.fingerprint, from_batch=first)
            LOG.info("started", extra=extra)
        else:
            self._stop.hold(name)
            LOG.info("finishes a batch first", extra=logs.fields(name, suite=stream.suite.fingerprint))
        source.query = stream.start(self._spark)
        self._on_event(SourceEvent(EventKind.STARTED, name, suite=stream.suite.fingerprint))
        if self._available_now or source.finishing:
            threading.Thread(target=_await_all, args=(source.query, source.drained), daemon=True).start()

    def _failed(self, source: _Running, error: IngestError) -> None:
        """Plan the next start, or raise when there is none."""
        source.query = None
        source.failures += 1
        self._on_event(SourceEvent(EventKind.FAILED, source.stream.name, error=type(error).__name__))
        if isinstance(error, errors.FINAL) or source.failures > self._config.max_restarts:
            LOG.error("failed for good: %s", error, extra=logs.fields(source.stream.name, failures=source.failures))
            raise error
        doubled = self._config.restart_backoff * 2 ** (source.failures - 1)
        wait = min(doubled, self._config.restart_backoff_max)
        source.next_start = self._clock() + wait
        LOG.warning(
            "failed, starts again in %.1f s: %s",
            wait,
            error,
            extra=logs.fields(source.stream.name, failures=source.failures),
        )
        name = source.stream.name
        self._alert(Alert("restart", f"{name} failed and starts again", str(error), source=name))

    def _drain(self) -> None:
        """Let the micro-batches under way end, then stop the queries; they hand out nothing new meanwhile."""
        self._stop.set()
        deadline = self._clock() + self._config.stop_timeout
        for source in self._sources:
            query = source.query
            if query is None or not query.isActive:
                continue
            while query.isActive and query.status["isTriggerActive"] and self._clock() < deadline:
                time.sleep(_POLL / 4)
            if query.isActive and query.status["isTriggerActive"]:
                LOG.warning(
                    "stopped in the middle of a micro-batch, which will run again",
                    extra=logs.fields(source.stream.name),
                )
            query.stop()
            self._on_event(SourceEvent(EventKind.STOPPED, source.stream.name))
            LOG.info("stopped", extra=logs.fields(source.stream.name))


def _await_all(query: StreamingQuery, drained: threading.Event) -> None:
    try:
        query.processAllAvailable()
    except Exception:  # noqa: BLE001 - a query that failed is found and reported by the watching loop
        return
    drained.set()


def _error_of(query: StreamingQuery) -> IngestError:
    failure = query.exception()
    return (
        SourceError("the query ended without an error and without being asked to")
        if failure is None
        else _translate(failure)
    )


def _translate(failure: Exception) -> IngestError:
    """Our own error out of what Spark made of it: it crossed processes as text."""
    if isinstance(failure, IngestError):
        return failure
    text = failure.desc if isinstance(failure, StreamingQueryException) and hasattr(failure, "desc") else str(failure)
    return errors.repeated_in(str(text)) or SourceError(_brief(str(text)))


def _brief(text: str, limit: int = 2000) -> str:
    """The lines of a Spark failure that a person needs: without Java's stack."""
    lines = [
        line for line in text.splitlines() if line.strip() and not line.lstrip().startswith(("at ", "...", "JVM stack"))
    ]
    return "\n".join(lines)[:limit]
