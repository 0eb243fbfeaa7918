"""The service: one source failing never stops the other; what restarts can't mend ends it; a stop waits for the batch."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from streaming_app.config.models import ServiceConfig
from streaming_app.errors import ConfigError, DataLossError, QualityStop, SourceError
from streaming_app.quality import Suite
from streaming_app.service import Service, StopRequest, _translate
from streaming_app.sink import SinkOptions

CONFIG = ServiceConfig(max_restarts=3, restart_backoff=0.01, restart_backoff_max=0.05, stop_timeout=5)


class Failure(Exception):
    """As Spark hands it out."""


@dataclass
class Query:
    """What the service sees of a streaming query."""

    fails_with: Exception | None = None
    busy_for: float = 0.0
    stopped_while_busy: bool | None = None
    began: float = field(default_factory=time.monotonic)
    stopped: bool = False

    @property
    def isActive(self) -> bool:  # noqa: N802
        return not self.stopped and self.fails_with is None

    @property
    def status(self) -> dict:
        return {"isTriggerActive": time.monotonic() - self.began < self.busy_for}

    def exception(self) -> Exception | None:
        return self.fails_with

    def stop(self) -> None:
        self.stopped, self.stopped_while_busy = True, self.status["isTriggerActive"]

    def processAllAvailable(self) -> None:  # noqa: N802
        time.sleep(self.busy_for)


def suite(name: str) -> Suite:
    return Suite(name, (), (), {}, {})


FIRST, SECOND = suite("first"), suite("second")


@dataclass
class Stream:
    name: str
    sink: SinkOptions
    queries: list
    checkpoint: str = "-"
    starts: int = 0
    suite: Suite = FIRST
    unfinished: list = field(default_factory=list)  # the suite that a batch began with, once
    log: list = field(default_factory=list)

    def under(self, suite: Suite):
        return replace(self, suite=suite)

    def begun_under(self):
        return self.under(self.unfinished.pop()) if self.unfinished else None

    def bind(self) -> int:
        self.log.append(f"bind {self.suite.name}")
        return 0

    def start(self, _spark):
        self.starts += 1
        self.log.append(f"start {self.suite.name}")
        made = self.queries.pop(0) if len(self.queries) > 1 else self.queries[0]
        if isinstance(made, Exception):
            raise made
        return made


@pytest.fixture
def stream(tmp_path, orders):
    def make(name: str, *queries) -> Stream:
        sink = SinkOptions(str(tmp_path / "lake"), str(tmp_path / name), name, name, "stream", orders.to_option(), "f")
        return Stream(name, sink, list(queries))

    return make


@pytest.fixture
def stop():
    request = StopRequest()
    yield request
    request.close()


def run(stop, *streams, available_now=False, seconds=0.6, **more):
    timer = threading.Timer(seconds, stop.set)
    timer.start()
    try:
        Service(None, streams, CONFIG, stop, available_now=available_now, **more).run()
    finally:
        timer.cancel()


def test_failed_source_starts_again_while_the_other_goes_on(stream, stop):
    good, flaky = stream("kinesis", Query()), stream("csv", Query(Failure("boom")), Query())
    run(stop, good, flaky, seconds=1.0)
    assert (good.starts, flaky.starts) == (1, 2)


def test_source_that_fails_too_often_ends_the_service_with_its_error(stream, stop):
    good, bad = stream("kinesis", Query()), stream("csv", Query(Failure("disk on fire")))
    with pytest.raises(SourceError, match="disk on fire"):
        run(stop, good, bad, seconds=30)
    assert bad.starts == CONFIG.max_restarts + 1
    assert good.queries[0].stopped


def test_restart_is_alerted(stream, stop):
    sent = []
    run(stop, stream("csv", Query(Failure("boom")), Query()), seconds=0.5, alert=sent.append)
    assert [(alert.key, alert.source, alert.text) for alert in sent] == [("restart", "csv", "boom")]


@pytest.mark.parametrize("kind", [DataLossError, ConfigError, QualityStop])
def test_error_that_no_restart_can_mend_ends_the_service_at_once(stream, stop, kind):
    spark_text = f"Traceback (most recent call last):\n  ...\nstreaming_app.errors.{kind.__name__}: shard 7: 3 rows lost\n\tat org.x"
    bad = stream("csv", Query(Failure(spark_text)))
    with pytest.raises(kind, match="shard 7: 3 rows lost"):
        run(stop, bad, seconds=30)
    assert bad.starts == 1


def test_source_that_cannot_even_start_is_tried_again(stream, stop):
    late = stream("csv", Failure("no such thing yet"), Query())
    run(stop, late, seconds=1.0)
    assert late.starts == 2


def test_stop_waits_for_the_micro_batch_under_way_and_sources_hand_out_no_more(stream, stop):
    source = stream("kinesis", Query(busy_for=0.8))
    run(stop, source, seconds=0.2)
    assert source.queries[0].stopped_while_busy is False


def test_drain_file_exists_from_the_request_on(stop):
    kinesis, csv = Path(stop.drain_path("kinesis")), Path(stop.drain_path("csv"))
    stop.hold("csv")
    assert (kinesis.exists(), csv.exists()) == (False, True)
    stop.release("csv")
    assert not csv.exists()
    stop.set()
    stop.release("csv")
    assert (kinesis.exists(), csv.exists()) == (True, True)
    assert stop.wait(0)


def test_changed_rules_are_taken_over_between_two_batches(stream, stop):
    busy = Query(busy_for=0.8)
    source = stream("csv", busy, Query())
    offered = [SECOND]
    began = time.monotonic()
    run(stop, source, seconds=1.5, changed_suite=lambda: offered.pop() if offered and source.starts else None)
    assert source.log == ["bind first", "start first", "bind second", "start second"]
    assert busy.stopped_while_busy is False
    assert time.monotonic() - began >= 0.8


def test_unfinished_batch_runs_first_under_the_rules_it_began_with_and_nothing_new_does(stream, stop):
    held = []
    source = stream("csv", Query(busy_for=0.3), Query())
    source.unfinished = [SECOND]
    timer = threading.Timer(0.15, lambda: held.append(Path(stop.drain_path("csv")).exists()))
    timer.start()
    run(stop, source, seconds=1.5)
    assert source.log == ["start second", "bind first", "start first"]
    assert held == [True]


def test_bounded_run_reads_on_after_it_has_finished_a_batch(stream, stop):
    source = stream("csv", Query(busy_for=0.1), Query(busy_for=0.1))
    source.unfinished = [SECOND]
    run(stop, source, available_now=True, seconds=20)
    assert source.log == ["start second", "bind first", "start first"]


def test_source_that_fails_while_its_rules_change_starts_with_the_new_ones(stream, stop):
    source = stream("csv", Query(Failure("boom"), busy_for=9), Query())
    offered = [SECOND]
    run(stop, source, seconds=0.6, changed_suite=lambda: offered.pop() if offered else None)
    assert source.log[-2:] == ["bind second", "start second"]


def test_bounded_run_ends_by_itself_once_every_source_is_read(stream, stop):
    fast, slow = stream("kinesis", Query(busy_for=0.1)), stream("csv", Query(busy_for=0.5))
    began = time.monotonic()
    run(stop, fast, slow, available_now=True, seconds=20)
    assert 0.5 <= time.monotonic() - began < 10


def test_our_errors_are_found_in_what_spark_makes_of_them():
    text = (
        "[STREAM_FAILED] Query [id = 1] terminated with exception: Job aborted: Traceback (most recent call last):\n"
        '  File "x.py", line 1, in f\n'
        "streaming_app.errors.SourceError: stream orders: no such stream\n"
        "\tat org.apache.spark.api.python.BasePythonRunner.handle(Runner.scala:1)\n"
    )
    error = _translate(Failure(text))
    assert (type(error), str(error)) == (SourceError, "stream orders: no such stream")


def test_foreign_errors_keep_their_words_but_not_their_stack():
    error = _translate(Failure("java.io.IOException: No space left on device\n\tat java.base/x.y(Z.java:1)\n\tat a.b"))
    assert str(error) == "java.io.IOException: No space left on device"


def test_what_happens_to_a_source_is_told_in_order(stream, stop):
    told = []
    run(stop, stream("csv", Query(Failure("boom")), Query()), seconds=0.8, on_event=told.append)
    assert [event.kind.value for event in told] == ["recovered", "started", "failed", "recovered", "started", "stopped"]
    assert told[1].suite == FIRST.fingerprint
    assert told[2].error == "SourceError"


def test_a_source_that_read_everything_is_told_of_as_done(stream, stop):
    told = []
    run(stop, stream("csv", Query()), available_now=True, on_event=told.append)
    assert [event.kind.value for event in told] == ["recovered", "started", "done"]
