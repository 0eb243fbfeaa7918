"""The course of the demo up to the orderly stop of everything, with a look at log and ledger four times a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from streaming_app.demo.children import EmbeddedKinesis, ServiceProcess
from streaming_app.demo.display import Display, save_picture
from streaming_app.demo.feed import Expected, Feed
from streaming_app.demo.plan import SHARDS, STREAM, Plan, shown
from streaming_app.demo.service_log import ServiceLog
from streaming_app.demo.state import SourceLine, State, Step
from streaming_app.demo.watch import SOURCES, Figures, LedgerWatch
from streaming_app.errors import SourceError

_TICK: Final = 0.25  # seconds
_START_TIMEOUT: Final = 180.0  # Spark takes about ten seconds; much longer means that something hangs
_LAST_ROWS_TIMEOUT: Final = 120.0
_STOP_TIMEOUT: Final = 90.0
_FILES_AFTER: Final = 8.0  # the sample files come so many seconds after the first order, or at a quarter of a short run
_WARMING_UP: Final = "orders are sent; Spark warms up with the first micro-batch"


class ServiceEnded(Exception):
    """The service ended without being asked to, or not in order when it was; `code` is its exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the service ended with exit code {code}")
        self.code = code


class Course:
    """One run of the demo; call `run` once."""

    def __init__(self, plan: Plan, stop: threading.Event, display: Display, picture: Path | None = None) -> None:
        self._plan, self._stop, self._display, self._picture = plan, stop, display, picture
        self._phase = "starting"
        self._steps: list[tuple[str, float, float | None]] = []  # what, when it began and ended
        self._kinesis: EmbeddedKinesis | None = None
        self._service: ServiceProcess | None = None
        self._feed: Feed | None = None
        self._feed_began: float | None = None
        self._watch = LedgerWatch(plan.lake / "checkpoints")
        self._figures = Figures()
        self.log = ServiceLog(plan.log)
        self.endpoint_url = ""

    def run(self) -> None:
        """Start everything, send orders, wait for the last rows, stop everything. Raises ServiceEnded, IngestError."""
        with self._display, EmbeddedKinesis() as self._kinesis:
            self.endpoint_url = self._kinesis.endpoint_url
            self._service = ServiceProcess(self._plan, self.endpoint_url)
            self._feed = Feed(self._plan, self._kinesis.client)
            try:
                self._start(self._kinesis)
                self._serve(self._service, self._feed)
            finally:
                self._feed.stop()
                self._service.kill()

    def _start(self, kinesis: EmbeddedKinesis) -> None:
        """Spark starts while the embedded Kinesis does."""
        self._begin(f"an embedded Kinesis, stream {STREAM} with {SHARDS} shards")
        kinesis.create_stream()
        self._begin(f"Spark and the service, log in {shown(self._plan.log)}")
        self._until(lambda: self.log.ready, _START_TIMEOUT)
        if self.log.ready:
            self._begin("the two streaming queries, one for each source")

    def expected(self) -> dict[str, Expected]:
        """What was sent, by source."""
        return self._feed.expected() if self._feed else {}

    def _serve(self, service: ServiceProcess, feed: Feed) -> None:
        running = self._until(lambda: self.log.started.issuperset(SOURCES), _START_TIMEOUT)
        if not running and not self._stop.is_set():
            raise SourceError(f"the service did not start within {_START_TIMEOUT:.0f} s; look into {self._plan.log}")
        if not self._stop.is_set():
            self._send(feed)
        self._phase = "stopping the service between two micro-batches"
        code = service.stop(_STOP_TIMEOUT, waiting=self._look)
        self._look()
        if code and self._feed_began is not None:
            raise ServiceEnded(code)

    def _send(self, feed: Feed) -> None:
        self._end_step()
        self._phase = _WARMING_UP
        self._feed_began = time.monotonic()
        feed.start()
        self._until(lambda: False, min(_FILES_AFTER, self._plan.seconds / 4))
        if not self._stop.is_set():
            feed.drop_files()
        self._until(lambda: False, self._plan.seconds - self._elapsed())
        if self._picture:
            save_picture(self._state(), self._picture)
        self._phase = "no more orders are sent; waiting for the last rows"
        feed.stop()
        self._until(self._all_arrived, _LAST_ROWS_TIMEOUT, stoppable=False)

    def _all_arrived(self) -> bool:
        arrived = self._figures.arrived()
        return all(arrived[source] >= expected.rows for source, expected in self.expected().items())

    def _until(self, done: Callable[[], bool], timeout: float, *, stoppable: bool = True) -> bool:
        """Look again and again until it is done, time is over or, if `stoppable`, an end was asked for."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and not (stoppable and self._stop.is_set()):
            self._look()
            self._check()
            if done():
                return True
            time.sleep(_TICK)
        return False

    def _look(self) -> None:
        """Take in what log and ledger say, and show it."""
        self.log.look()
        for batch in self._watch.poll():
            self._figures.add(batch)
            if self._phase == _WARMING_UP:
                self._phase = "orders are arriving"
        self._display.update(self._state())

    def _check(self) -> None:
        """Raise when a part has failed."""
        if self._service and self._service.exit_code is not None:
            raise ServiceEnded(self._service.exit_code)
        if self._feed and self._feed.error:
            raise self._feed.error
        if self._kinesis and not self._kinesis.is_running:
            raise SourceError("the embedded Kinesis ended; start the demo again")

    def _begin(self, text: str) -> None:
        """The step before is done, this one begins."""
        self._end_step()
        self._steps.append((text, time.monotonic(), None))
        self._display.update(self._state())

    def _end_step(self) -> None:
        if self._steps:
            text, began, _ = self._steps[-1]
            self._steps[-1] = (text, began, time.monotonic())

    def _step(self, text: str, began: float, ended: float | None) -> Step:
        return Step(text, (ended or time.monotonic()) - began, done=ended is not None)

    def _elapsed(self) -> float:
        return 0.0 if self._feed_began is None else time.monotonic() - self._feed_began

    def _state(self) -> State:
        figures = self._figures
        return State(
            phase=self._phase,
            elapsed=self._elapsed(),
            total=self._plan.seconds,
            steps=tuple(self._step(*step) for step in self._steps),
            sources=() if self._feed_began is None else tuple(map(self._line, SOURCES)),
            reasons=tuple(figures.reasons.most_common()),
            files=tuple(figures.files),
            history=tuple(figures.history(60)),
            median_age=figures.median_age(),
            slowest=figures.slowest(),
            slowest_ever=figures.slowest_ever,
            warning=self.log.warning,
        )

    def _line(self, source: str) -> SourceLine:
        counts = self._figures.sources[source]
        expected = self.expected().get(source, Expected())
        waits = self._feed.oldest_waiting(self._figures.arrived()) if self._feed else {}
        return SourceLine(
            source,
            sent=expected.rows,
            read=counts.read,
            clean=counts.clean,
            dead=counts.dead,
            rate=self._figures.rates()[source],
            oldest_waiting=waits.get(source, 0.0),
            age=counts.age,
        )
