"""All of a run's metrics in one object: the service tells it what happens, and it never harms the service."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from streaming_app import __version__
from streaming_app.alerts import Alert
from streaming_app.config import Config
from streaming_app.config.models import CloudWatchConfig
from streaming_app.events import SourceEvent
from streaming_app.journal.audited import LastAudit
from streaming_app.journal.ledger import Ledger
from streaming_app.journal.losses import Loss
from streaming_app.journal.read_log import ReadLog
from streaming_app.metrics import catalogue as m
from streaming_app.metrics import samples
from streaming_app.metrics.cloudwatch import Calls, CloudWatch, Datum
from streaming_app.metrics.emf import LogGroup, StandardOutput
from streaming_app.metrics.health import Health
from streaming_app.metrics.live.board import Board
from streaming_app.metrics.live.masking import Masking
from streaming_app.metrics.live.pages import LivePages
from streaming_app.metrics.live.rejected import Kept, Rejected
from streaming_app.metrics.otlp import Otlp
from streaming_app.metrics.prometheus import Endpoint
from streaming_app.metrics.pushgateway import Pushgateway
from streaming_app.metrics.pushing import Pusher
from streaming_app.metrics.recorder import Recorder
from streaming_app.metrics.values import Values
from streaming_app.progress import Batch
from streaming_app.quality import Suite
from streaming_app.runtime import logs
from streaming_app.schema import Dataset
from streaming_app.sink import SinkOptions
from streaming_app.sources.kinesis.expiry import LEAST_RETENTION, TIPS
from streaming_app.storage import Storage, is_s3, open_storage

_LOG: Final = logging.getLogger(__name__)


class Asked(NamedTuple):
    """What a stream is asked with every sample: which of its shards are closed, how many seconds it keeps a record."""

    closed_shards: Callable[[], frozenset[str]]
    retention: Callable[[], float]


class Monitoring:
    """Begins at once, so that /readyz can say "not ready" while Spark starts. Nothing of it raises into the service.

    `bounded`: the run ends by itself, so that many starts are no crash loop. Only its making raises ConfigError, where a receiver
    is configured whose library is not installed.
    """

    def __init__(
        self, config: Config, alert: Callable[[Alert], None] = lambda _: None, *, bounded: bool = False
    ) -> None:
        self._config, self._alert = config, alert
        self.values = Values()
        if not bounded:
            self.values.set(m.START, time.time())
        self._recorder = Recorder(self.values)
        self._health = Health(config.metrics.stalled_after)
        self._sampler: samples.Sampler | None = None
        self._pushers: list[Pusher] = []
        self._cloudwatch: CloudWatch | None = None
        self._unread: dict[str, SinkOptions] = {}  # sources whose totals could not be read yet
        self._otlp = Otlp(self.values, config.metrics.otlp) if config.metrics.otlp.endpoint else None
        on = config.metrics.enabled and config.metrics.page
        self._board = Board(self.values, self._health.look, config.service.trigger) if on else None
        self.endpoint = self._open() if config.metrics.enabled else None

    def _open(self) -> Endpoint | None:
        """A port that is taken is worth an alert, and no reason to leave orders unread."""
        host, port, token = self._config.metrics.host, self._config.metrics.port, self._config.metrics.token
        pages = LivePages(self._board).answer if self._board else lambda _: None
        try:
            endpoint = Endpoint(
                self.values, self._health.look, host, port, before_scrape=self._see_readiness, pages=pages, token=token
            )
        except OSError as error:
            text = f"{host}:{port} cannot be used ({error}); set metrics.host and metrics.port (0 takes a free one)"
            self._alert(Alert("metrics-endpoint", "the service runs without its metrics endpoint", text))
            return None
        _LOG.info("metrics", extra=logs.fields(url=f"{endpoint.url}/metrics"))
        return endpoint

    def watch(self, sinks: Mapping[str, SinkOptions], spark: Any, asked: Mapping[str, Asked] | None = None) -> None:
        """Read the totals of every source (by name) from its ledger, and begin to sample.

        `asked` is there for a source that is a stream which our own reader reads. Totals that cannot be read are read with one
        of the next samples.
        """
        if self._config.metrics.wanted:
            self._safely(self._watch, sinks, spark, asked or {})

    def _watch(self, sinks: Mapping[str, SinkOptions], spark: Any, asked: Mapping[str, Asked]) -> None:
        self._health.expect(sinks)
        self.values.set(m.BUILD, 1, __version__, platform.python_version(), spark.version)
        self.values.set(m.TRIGGER, self._config.service.trigger)
        self._unread = dict(sinks)
        self._read_totals()
        if self._board:
            self._safely(self._fill, self._board, sinks)
        self._sampler = samples.Sampler(self._samples(sinks, spark, asked), self._config.metrics.sample_every)
        self._push()

    def _read_totals(self) -> None:
        """Of every source whose totals are not known. One that cannot be read keeps no other waiting, and is tried again."""
        for name, sink in list(self._unread.items()):
            try:
                self._recorder.begin(name, sink.open_checkpoint(), self._totals_appear)
            except Exception as error:  # noqa: BLE001 - the next look may work, and a figure is not worth more
                level = logging.WARNING if self.values.get(m.TOTALS_READ, name) is None else logging.DEBUG
                text = "the metrics could not read the totals of a source; trying again, the data is not affected: %s"
                _LOG.log(level, text, error, extra=logs.fields(name))
                self.values.set(m.TOTALS_READ, 0, name)
            else:
                del self._unread[name]
                if self.values.get(m.TOTALS_READ, name) == 0:
                    _LOG.info("the metrics have the totals of a source now", extra=logs.fields(name))
                self.values.set(m.TOTALS_READ, 1, name)

    def _totals_appear(self) -> None:
        if self._cloudwatch:
            self._cloudwatch.begin()

    def _samples(
        self, sinks: Mapping[str, SinkOptions], spark: Any, asked: Mapping[str, Asked]
    ) -> list[Callable[[], None]]:
        lake, values, jvm = self._config.lake.root, self.values, spark._jvm  # noqa: SLF001 - Spark's own way to the JVM
        places = {"scratch": samples.scratch(self._config.spark.conf)} | ({} if is_s3(lake) else {"lake": lake})
        for name in asked:
            values.set(m.RETENTION, LEAST_RETENTION, name)
        return [
            self._read_totals,
            self._recorder.refresh,
            partial(samples.sample_python, values),
            partial(samples.sample_workers, values, jvm),
            partial(samples.sample_jvm, values, jvm),
            partial(samples.sample_disks, values, places),
            *(partial(samples.sample_lake, values, name, sink) for name, sink in sinks.items()),
            partial(samples.sample_audit, values, LastAudit(self._checkpoints())),
            *(partial(self._see_tips, name, sinks[name]) for name in asked),
            *(partial(self._see_closed, name, each.closed_shards) for name, each in asked.items()),
            *(partial(self._see_retention, name, each.retention) for name, each in asked.items()),
        ]

    def _push(self) -> None:
        """Begin to send figures to whoever is configured."""
        config, values = self._config.metrics, self.values
        if config.cloudwatch.enabled:
            self._cloudwatch = CloudWatch(values, _cloudwatch(config.cloudwatch))
            self._begin("CloudWatch", config.cloudwatch.every, self._cloudwatch.send)
        if config.pushgateway.url:
            self._begin("the Pushgateway", config.pushgateway.every, Pushgateway(values, config.pushgateway).send)
        if self._otlp:
            self._begin("the OpenTelemetry receiver", config.otlp.every, self._otlp.send)

    def _begin(self, to: str, every: float, send: Callable[[], None]) -> None:
        def send_all() -> None:
            self._see_readiness()
            send()

        self._pushers.append(Pusher(to, every, send_all))

    def _checkpoints(self) -> Storage:
        return open_storage(self._config.lake.checkpoint_root(), self._config.lake.s3.storage_options())

    def _see_closed(self, source: str, ask: Callable[[], frozenset[str]]) -> None:
        self._recorder.closed(source, ask())

    def _see_tips(self, source: str, sink: SinkOptions) -> None:
        self._recorder.looked(source, ReadLog(sink.open_checkpoint()).noted(TIPS))

    def _see_retention(self, source: str, ask: Callable[[], float]) -> None:
        self.values.set(m.RETENTION, ask(), source)

    def _fill(self, board: Board, sinks: Mapping[str, SinkOptions]) -> None:
        board.show_rejected(Rejected({name: _kept(sink) for name, sink in sinks.items()}))
        for name, sink in sinks.items():
            board.begin(name, Ledger(sink.open_checkpoint()))

    def show_rules(self, suite: Suite, dataset: Dataset) -> None:
        """These are the rules in force, from the start or after a change."""
        if self._board:
            self._safely(self._board.show_rules, suite, dataset)

    def on_batch(self, batch: Batch) -> None:
        """A micro-batch was published."""
        self._safely(self._recorder.on_batch, batch)
        if self._board:
            self._safely(self._board.on_batch, batch)

    def on_event(self, event: SourceEvent) -> None:
        """Something happened to a source."""
        self._safely(self._health.on_event, event)
        self._safely(self._recorder.on_event, event)

    def lost(self, source: str, losses: Sequence[Loss]) -> None:
        """These losses of a source's stream were accepted so far."""
        self._safely(self._recorder.lost, source, losses)

    def heard(self, source: str) -> None:
        """Spark told something of a source's query."""
        self._safely(self._health.heard, source)
        self._safely(self._recorder.heard, source)

    def idle(self, source: str) -> None:
        """Spark found nothing to read for a source's query."""
        self._safely(self._recorder.idle, source)

    def close(self) -> None:
        """Keep the totals, and answer no more."""
        self._safely(self._recorder.save)
        for part in (*self._pushers, self._sampler, self.endpoint, self._board):
            if part is not None:
                self._safely(part.close)

    def _see_readiness(self) -> None:
        found = self._health.look()
        if found.over:  # stopped as somebody asked: what a Pushgateway keeps of it is no service that is not ready
            self.values.drop(m.READY)
        else:
            self.values.set(m.READY, float(found.ready))

    def _safely(self, action: Callable[..., Any], *arguments: Any) -> None:
        try:
            action(*arguments)
        except Exception:  # noqa: BLE001 - a figure is not worth a failed stream
            _LOG.exception("the metrics could not take something; the data is not affected")


def _kept(sink: SinkOptions) -> Kept:
    return Kept(sink.open_lake(), ReadLog(sink.open_checkpoint()), Masking(sink.load_dataset(), sink.delimiter))


def _cloudwatch(config: CloudWatchConfig) -> Callable[[Sequence[Datum]], None]:
    """How data reach CloudWatch."""
    if config.format == "put_metric_data":
        return Calls(config).put
    return LogGroup(config).put if config.log_group else StandardOutput(config).put
