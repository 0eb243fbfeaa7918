"""The two streaming queries: source -> pipeline -> sink, each with its own checkpoint and scheduler pool."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from streaming_app.config import Loaded
from streaming_app.config.connectors import PYTHON
from streaming_app.config.models import Config, KinesisConfig, SourceName
from streaming_app.errors import ConfigError
from streaming_app.journal.suites import SuiteBindings
from streaming_app.pipeline import RowRule, process, process_keyed
from streaming_app.places import checkpoint_of, compactions_of, is_foreign, source_label
from streaming_app.quality import Rule, Suite, compile_rule, looked_at_sql
from streaming_app.runtime.s3a import checkpoint_uri
from streaming_app.schema import Dataset
from streaming_app.sink import LakeSink, SinkOptions
from streaming_app.sources.csv_files import CsvFilesDataSource, csv_options
from streaming_app.sources.kinesis import (
    LOST,
    Connector,
    DecodedKinesisDataSource,
    Endpoint,
    KinesisOptions,
    Place,
    closed_shards,
    connector_of,
    decoded,
    kinesis_options,
    parse_options,
    resolved,
    retention_seconds,
)
from streaming_app.thresholds import Limits, RuleLimit

LOG: Final = logging.getLogger(__name__)
_FORMATS: Final = {SourceName.KINESIS: DecodedKinesisDataSource, SourceName.CSV: CsvFilesDataSource}


@dataclass(frozen=True)
class RunOptions:
    """How this run differs from the configuration: where its drain file is, whether it ends by itself, Spark's cores."""

    drain_path: str
    available_now: bool = False
    until: str = ""
    parallelism: int = 0


@dataclass(frozen=True)
class Stream:
    """One source on its way to the lake; `start` may be called again after a failure."""

    name: str
    checkpoint: str
    source_format: str
    source_options: Mapping[str, str]
    sink: SinkOptions
    dataset: Dataset
    suite: Suite
    trigger_seconds: float
    foreign: bool = False  # another connector reads, and gives records as they are
    deaggregate: bool = True  # of a foreign one's records
    tasks: int = 2  # that look for duplicates

    def under(self, suite: Suite) -> Stream:
        """The same stream with other rules."""
        limits = replace(self.sink.load_limits(), rules=rule_limits(suite))
        sink = replace(self.sink, suite_fingerprint=suite.fingerprint, limits=limits.to_json())
        return replace(self, suite=suite, sink=sink)

    def begun_under(self) -> Stream | None:
        """This stream with the rules that an unfinished batch began with; None when there is none, or with these rules.

        Call it while the query does not run. Raises ConfigError when those rules do not fit the dataset any more.
        """
        bindings = SuiteBindings(self.sink.open_checkpoint())
        fingerprint = bindings.begun_under()
        if fingerprint in (None, self.suite.fingerprint):
            return None
        place = f"{self.checkpoint} (suite {fingerprint}, under which its unfinished batch began)"
        return self.under(Suite.parse(bindings.document(str(fingerprint)), place, self.dataset))

    def bind(self) -> int:
        """Bind the batches from the next one on to these rules, durably; returns its id."""
        bindings = SuiteBindings(self.sink.open_checkpoint())
        return bindings.bind(self.suite.fingerprint, self.suite.source)

    @property
    def closed_shards(self) -> Callable[[], frozenset[str]] | None:
        """Asks Kinesis which of its shards are closed; None where our own reader reads no stream."""
        options = self._stream_options
        return partial(closed_shards, options) if options else None

    @property
    def retention(self) -> Callable[[], float] | None:
        """Asks Kinesis how many seconds it keeps a record; None where our own reader reads no stream."""
        options = self._stream_options
        return partial(retention_seconds, options) if options else None

    @property
    def _stream_options(self) -> KinesisOptions | None:
        """Of our own reader of a stream."""
        if self.source_format != DecodedKinesisDataSource.name():
            return None
        return parse_options(self.source_options, decoded=True)

    def start(self, spark: SparkSession) -> StreamingQuery:
        """Start the query in the FAIR pool of its own name."""
        spark.sparkContext.setLocalProperty("spark.scheduler.pool", self.name)
        rows = spark.readStream.format(self.source_format).options(**self.source_options).load()
        if self.foreign:
            rows = decoded(rows, self.dataset, deaggregate=self.deaggregate)
        rules = row_rules(self.suite, self.dataset)
        if self.dataset.deduplicate:
            judged = process_keyed(rows, self.dataset, rules, self.tasks)
        else:
            judged = process(rows, self.dataset, rules)
        return (
            judged.writeStream.format(LakeSink.name())
            .queryName(self.name)
            .outputMode("append")
            .options(**self.sink.to_options())
            .option("checkpointLocation", checkpoint_uri(self.checkpoint))
            .trigger(processingTime=f"{int(self.trigger_seconds * 1000)} milliseconds")
            .start()
        )


def register(spark: SparkSession) -> None:
    """Make the product's sources and sink known to a session."""
    for data_source in (*_FORMATS.values(), LakeSink):
        spark.dataSource.register(data_source)


def row_rules(suite: Suite, dataset: Dataset) -> tuple[RowRule, ...]:
    """The suite's row-level rules as the pipeline runs them."""
    return tuple(_row_rule(rule, dataset) for rule in suite.row_rules)


def _row_rule(rule: Rule, dataset: Dataset) -> RowRule:
    conditional = rule.limit is not None and rule.limit.conditional
    looked_at = looked_at_sql(rule, dataset) if conditional else ""
    return RowRule(rule.id, compile_rule(rule, dataset), rule.columns, rule.severity, looked_at)


def rule_limits(suite: Suite) -> tuple[RuleLimit, ...]:
    """The limits that the suite's own rules have."""
    return tuple(limit for rule in suite.row_rules if (limit := rule.limit))


def limits_of(loaded: Loaded, suite: Suite) -> Limits:
    """The circuit breaker's limits: the configuration's, and each rule's own `mostly`."""
    quality = loaded.config.quality
    return Limits(
        rules=rule_limits(suite),
        max_dead_ratio=quality.max_dead_ratio,
        min_rows=quality.min_rows,
        window_rows=quality.window_rows,
        stop=quality.on_breach == "stop",
    )


def sink_options(loaded: Loaded, source: str, suite: Suite) -> SinkOptions:
    """The sink of one source, also for recovery, audit and replay."""
    config = loaded.config
    return SinkOptions(
        lake=config.lake.root,
        checkpoint=checkpoint_of(config, source),
        source=source_label(config, source),
        owner=source,
        input_source=SourceName.INPUT_SOURCE[source].value,
        dataset=loaded.dataset.to_option(),
        suite_fingerprint=suite.fingerprint,
        limits=limits_of(loaded, suite).to_json(),
        delimiter=config.sources.csv.delimiter,
        recorded=not is_foreign(config, source),
        storage=config.lake.s3.storage_options().to_options(),
        iceberg=config.iceberg.to_options() if config.sink.format == "iceberg" else {},
        compactions=compactions_of(config) if config.catalog.moves_partitions else "",
        **config.sink.model_dump(exclude={"format"}),
    )


def build_stream(loaded: Loaded, suite: Suite, source: str, run: RunOptions) -> Stream:
    """Everything one source needs to run."""
    config, dataset = loaded.config, loaded.dataset
    checkpoint = checkpoint_of(config, source)
    reader = (
        _foreign(config.sources.kinesis, run)
        if is_foreign(config, source)
        else Connector(_FORMATS[source].name(), _source_options(loaded, source, checkpoint, run))
    )
    return Stream(
        name=source,
        checkpoint=checkpoint,
        source_format=reader.format,
        source_options=reader.options,
        sink=sink_options(loaded, source, suite),
        dataset=dataset,
        suite=suite,
        trigger_seconds=config.service.trigger,
        foreign=is_foreign(config, source),
        deaggregate=config.sources.kinesis.deaggregate,
        tasks=max(run.parallelism, 1),
    )


def _foreign(config: KinesisConfig, run: RunOptions) -> Connector:
    """Another connector's reader. Raises ConfigError for a run that it cannot end."""
    if run.available_now or run.until:
        raise ConfigError(f"--available-now and --until need connector: {PYTHON}, not {config.connector}")
    endpoint = Endpoint(
        config.stream,
        config.region,
        config.endpoint_url,
        use_fips=config.use_fips_endpoint,
        use_dualstack=config.use_dualstack,
    )
    LOG.warning(
        "the stream is read by connector %s; lost with it: %s. See docs/kinesis.md, other connectors",
        config.connector,
        "; ".join(LOST),
    )
    return connector_of(config, Place(*resolved(endpoint)))


def _slots_of_stream(config: Config, slots: int) -> int:
    """In how many tasks at once the stream is read: one slot is left to the files, where there are both.

    While Kinesis refuses its calls, tasks wait inside for `throttle_timeout`; in all slots they would stop the files as well.
    """
    return max(1, slots - 1) if slots and config.sources.csv.enabled else slots


def _source_options(loaded: Loaded, source: str, checkpoint: str, run: RunOptions) -> dict[str, str]:
    config, dataset = loaded.config, loaded.dataset
    storage = config.lake.s3.storage_options()
    if source == SourceName.KINESIS:
        return kinesis_options(
            config.sources.kinesis,
            checkpoint,
            storage,
            dataset=dataset,
            start_positions=loaded.start_positions,
            drain_path=run.drain_path,
            available_now=run.available_now,
            until=run.until,
            parallelism=_slots_of_stream(config, run.parallelism),
        )
    return csv_options(
        config.sources.csv,
        dataset,
        config.csv_path(),
        config.archive_path(),
        checkpoint,
        storage,
        drain_path=run.drain_path,
        available_now=run.available_now,
        parallelism=run.parallelism,
    )
