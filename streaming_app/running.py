"""Wires one run of the service: session, streams, progress, stop. Kept apart from cli.py since it imports Spark."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from streaming_app import __version__, streams
from streaming_app.alerts import Alert, Alerts, Level, open_channels
from streaming_app.catalog import Mode, Registrar, open_catalog
from streaming_app.config import Loaded
from streaming_app.config.masking import mask_text
from streaming_app.config.models import SourceName
from streaming_app.errors import QualityStop
from streaming_app.examples import example_problems
from streaming_app.journal.ledger import Ledger
from streaming_app.journal.losses import Loss, Losses
from streaming_app.journal.read_log import ReadLog
from streaming_app.metrics.monitoring import Asked, Monitoring
from streaming_app.places import enabled_sources, hold_lake_schema
from streaming_app.progress import Batch, ProgressListener, log_batch
from streaming_app.quality import Suite
from streaming_app.runtime import logs
from streaming_app.runtime.s3a import ensure_s3a
from streaming_app.runtime.session import build_session
from streaming_app.service import LOG, Service, StopRequest
from streaming_app.streams import RunOptions
from streaming_app.suite_watch import SuiteWatch


def run(
    loaded: Loaded,
    suite: Suite,
    *,
    available_now: bool = False,
    until: str = "",
    duration: float | None = None,
    on_signal: Callable[[Callable[[], Any]], None] = lambda _: None,
    on_batch: Callable[[Batch], None] = log_batch,
) -> int:
    """Run until everything is read (what arrived before `until`, of Kinesis), `duration` seconds are over or a stop is asked for; returns 0.

    `on_signal` is given the function that asks for a graceful stop. Raises the IngestError that ended the service.
    """
    logs.configure(loaded.config.logging)
    stop = StopRequest()
    timer = threading.Timer(duration, stop.set) if duration is not None else None
    alerts = Alerts(
        open_channels(loaded.config.alerts),
        repeat_after=loaded.config.alerts.repeat_after,
        redact=lambda text: mask_text(text, loaded.secrets),
    )
    watch = None
    registrar: Registrar | None = None
    monitoring = Monitoring(loaded.config, alerts.send, bounded=available_now or bool(until) or duration is not None)
    try:
        on_signal(stop.set)
        _hold_lake_schema(loaded)
        spark = build_session(loaded.config)
        logs.pass_on(loaded.config.logging, spark.sparkContext.environment)
        ensure_s3a(spark, loaded.config)  # only here: nothing but a streaming query has a checkpoint
        on_signal(stop.set)  # Spark puts a Ctrl-C handler of its own in place
        streams.register(spark)
        names = enabled_sources(loaded.config)
        options = RunOptions("", available_now, until, parallelism=spark.sparkContext.defaultParallelism)
        built = [
            streams.build_stream(loaded, suite, name, replace(options, drain_path=stop.drain_path(name)))
            for name in names
        ]
        ledgers = {stream.name: Ledger(stream.sink.open_checkpoint()) for stream in built}
        registrar = _registrar(loaded, ledgers, alerts)
        read_logs = {stream.name: ReadLog(stream.sink.open_checkpoint()) for stream in built}
        told: list[Callable[[Batch], None]] = [
            *_registering(registrar),
            monitoring.on_batch,
            on_batch,
            _watching_losses(loaded, read_logs, monitoring, alerts),
            partial(_breaches, alerts),
        ]
        listener = ProgressListener(ledgers, partial(_tell, told), read_logs, monitoring.heard, monitoring.idle)
        monitoring.watch({stream.name: stream.sink for stream in built}, spark, _asked(built))
        monitoring.show_rules(suite, loaded.dataset)
        spark.streams.addListener(listener)
        LOG.info("ready", extra=logs.fields(version=__version__, sources=names, suite=suite.fingerprint))
        if timer:
            timer.start()
        check = partial(example_problems, spark, dataset=loaded.dataset, file=loaded.suite_file)
        watch = SuiteWatch(loaded, suite, loaded.config.quality.reload_every, alert=alerts.send, check=check)
        if not available_now:
            watch.start()
        Service(
            spark,
            built,
            loaded.config.service,
            stop,
            available_now=available_now,
            alert=alerts.send,
            changed_suite=partial(_changed, watch, monitoring, loaded),
            on_event=monitoring.on_event,
        ).run()
        spark.stop()
    except Exception as error:
        alerts.send(_the_end(error))
        raise
    finally:
        if timer:
            timer.cancel()
        if watch:
            watch.stop()
        if registrar:
            registrar.close()
        stop.close()
        monitoring.close()
        alerts.close()
    return 0


def _asked(built: Sequence[streams.Stream]) -> dict[str, Asked]:
    """What the streams among them can be asked."""
    return {
        stream.name: Asked(closed, retention)
        for stream in built
        if (closed := stream.closed_shards) and (retention := stream.retention)
    }


def _hold_lake_schema(loaded: Loaded) -> None:
    added = hold_lake_schema(loaded)
    if added:
        LOG.info("the dataset has new columns", extra=logs.fields(None, columns=added))


def _changed(watch: SuiteWatch, monitoring: Monitoring, loaded: Loaded) -> Suite | None:
    suite = watch.take()
    if suite is not None:
        monitoring.show_rules(suite, loaded.dataset)
    return suite


def _registrar(loaded: Loaded, ledgers: dict[str, Ledger], alerts: Alerts) -> Registrar | None:
    """Registers new partitions, where there is a catalog that wants to be told."""
    catalog = open_catalog(loaded.config, loaded.dataset)
    if catalog is None or catalog.mode is Mode.PROJECTION:
        return None
    registrar = Registrar(catalog, ledgers, alerts.send)
    registrar.start()
    return registrar


def _registering(registrar: Registrar | None) -> list[Callable[[Batch], None]]:
    return [lambda batch: registrar.on_batch(batch.source, batch.entry)] if registrar else []


def _tell(told: Sequence[Callable[[Batch], None]], batch: Batch) -> None:
    for tell in told:
        tell(batch)


def _breaches(alerts: Alerts, batch: Batch) -> None:
    """A batch that was published although it broke a limit is worth an alert."""
    for key, text in batch.entry.breaches.items():
        alerts.send(Alert(f"breach:{key}", f"{batch.source}: a quality limit was broken", text, source=batch.source))


def _watching_losses(
    loaded: Loaded, read_logs: Mapping[str, ReadLog], monitoring: Monitoring, alerts: Alerts
) -> Callable[[Batch], None]:
    """Looks for losses of the stream that the configuration accepts, now and after each of its batches: each gives one alert.

    Where none is accepted the service ends with the first.
    """
    source = SourceName.KINESIS
    losses = Losses(read_logs[source]) if source in read_logs else None
    accepted = not loaded.config.sources.kinesis.fail_on_data_loss

    def tell(loss: Loss) -> None:
        title = f"{source}: records were lost upstream, and the service goes on"
        alerts.send(Alert(f"loss:{loss.name}", title, loss.what, Level.ERROR, source))

    def look(batch: Batch | None = None) -> None:
        if losses and accepted and (batch is None or batch.source == source):
            monitoring.lost(source, losses.tell(tell))

    if losses and not accepted:
        monitoring.lost(source, [])
    look()
    return look


def _the_end(error: Exception) -> Alert:
    stopped = isinstance(error, QualityStop)
    title = "the circuit breaker stopped the service" if stopped else f"the service ended with {type(error).__name__}"
    return Alert(f"end:{type(error).__name__}", title, str(error) or repr(error), Level.ERROR)
