"""Every metric there is, in one list. docs/metrics.md is made from it, and a test holds both equal.

Two kinds of counters. Those "since ever" are sums over the ledger: a restart goes on where it was, and a batch that ran
again after a crash is counted once, because it has one ledger entry. Those "of this process" begin at 0 with each start;
Prometheus's rate() and increase() know what to do with both.

Labels are bounded. `source` is kinesis or csv; values of the label named by `open_label` come from configuration or data,
so that only the first 200 of a source have a series of their own and the rest share `other` (a sum, for gauges the maximum).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MOST_VALUES: Final = 200  # of an open label, for each source
OTHER: Final = "other"


class Kind(StrEnum):
    """As Prometheus has them."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Since(StrEnum):
    """From where a counter or histogram counts; a gauge is always now."""

    EVER = "ever"
    PROCESS = "process"
    NOW = "now"


@dataclass(frozen=True)
class Metric:
    """One metric. Counters end in `_total`, units are in the name: seconds, bytes, or none for plain counts."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    since: Since = Since.NOW
    open_label: str = ""
    buckets: tuple[float, ...] = ()

    @property
    def unit(self) -> str:
        """seconds, bytes or 1."""
        words = self.name.removesuffix("_total").split("_")
        return next((unit for unit in ("seconds", "bytes") if unit in words[-1:]), "1")


def _ever(name: str, text: str, *labels: str, open_label: str = "") -> Metric:
    return Metric(name, Kind.COUNTER, text, ("source", *labels), Since.EVER, open_label)


def _counter(name: str, text: str, *labels: str, open_label: str = "") -> Metric:
    return Metric(name, Kind.COUNTER, text, ("source", *labels), Since.PROCESS, open_label)


def _gauge(name: str, text: str, *labels: str, open_label: str = "") -> Metric:
    return Metric(name, Kind.GAUGE, text, labels, Since.NOW, open_label)


def _histogram(name: str, text: str, *labels: str, buckets: tuple[float, ...]) -> Metric:
    return Metric(name, Kind.HISTOGRAM, text, labels, Since.PROCESS, buckets=buckets)


# Rows. read = clean + dead + duplicate holds at every scrape: all four change together, with one ledger entry.
ROWS_READ = _ever("qsr_rows_read_total", "Rows that the source delivered.")
ROWS_CLEAN = _ever("qsr_rows_clean_total", "Rows published as clean.")
ROWS_DEAD = _ever("qsr_rows_dead_total", "Rows published as dead letters, by the stage that rejected them.", "stage")
ROWS_DUPLICATE = _ever(
    "qsr_rows_duplicate_total",
    "Rows that a backfill left out, as the lake has them; a source's own duplicates are dead letters.",
)
# A row with three reasons counts three times here and once above.
REJECTIONS = _ever(
    "qsr_rejections_total",
    "Reasons of dead letters: rule ids and decode or cast errors.",
    "reason",
    open_label="reason",
)
WARNINGS = _ever("qsr_warnings_total", "Rows that failed a rule of severity warning.", "rule", open_label="rule")
INFOS = _ever("qsr_infos_total", "Rows that failed a rule of severity info.", "rule", open_label="rule")
BREACHES = _ever(
    "qsr_breaches_total", "Micro-batches that broke a quality limit and were published.", "limit", open_label="limit"
)
# Exists from the start; a series with labels begins at one. Even so increase() sees what was counted between two scrapes, so not
# a batch that ends before the first scrape of a new instance: the alert looks at the time.
BREACHED = _ever("qsr_breached_batches_total", "Micro-batches that broke any quality limit and were published.")
LAST_BREACH = _gauge(
    "qsr_last_breach_timestamp_seconds",
    "When the last of them was committed, in the hour before the start or since then; 0 without any.",
    "source",
)

# Losses that were accepted.
LOSSES = _ever(
    "qsr_losses_total",
    "Losses upstream that `fail_on_data_loss: false` accepted: each expired range, shard or stream once.",
)
LAST_LOSS = _gauge("qsr_last_loss_timestamp_seconds", "When the last of them was noticed; 0 without any.", "source")

# Micro-batches.
BATCHES = _ever("qsr_batches_total", "Published micro-batches.")
FILES_WRITTEN = _ever("qsr_files_written_total", "Published Parquet files, by table.", "table")
BYTES_WRITTEN = _ever("qsr_written_bytes_total", "Bytes of the published Parquet files, by table.", "table")
BATCH_DURATION = _histogram(
    "qsr_batch_duration_seconds",
    "How long micro-batches with rows took, from trigger to Spark's commit.",
    "source",
    buckets=(0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600),
)
PHASE_SECONDS = _counter(
    "qsr_batch_phase_seconds_total",
    "Time of micro-batches by phase, as Spark's query progress names them: addBatch is reading, checking and writing.",
    "phase",
    open_label="phase",
)
ROWS_PER_SECOND = _gauge("qsr_rows_per_second", "Rows of the last micro-batch by its duration.", "source")
LAST_SUCCESS = _gauge(
    "qsr_last_success_timestamp_seconds",
    "When the last micro-batch was committed; from the ledger, so it is there after a restart. Its age: time() minus this.",
    "source",
)
LAST_TRIGGER = _gauge(
    "qsr_last_trigger_timestamp_seconds",
    "When Spark last told that the query goes on: it was started, a micro-batch ended, or (every 10 s) there was nothing to read.",
    "source",
)
# Of a micro-batch only its oldest and its newest row's arrival are known: both are observed, everything else is between.
EVENT_TO_QUERYABLE = _histogram(
    "qsr_event_to_queryable_seconds",
    "From a row's arrival (in the stream, or the file's time) to the end of the micro-batch that published it: the oldest and"
    " the newest row of each micro-batch.",
    "source",
    "row",
    buckets=(0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 900, 3600, 21600, 86400),
)

IDLE = _gauge(
    "qsr_source_idle",
    "1 while nothing waits: the last micro-batch read every shard to its tip, or took every file, or Spark has found nothing to read"
    " since; absent while the source does not run, and before its first look.",
    "source",
)

# Kinesis. From each shard's last answer (MillisBehindLatest), so an idle shard is 0 behind and its lag never grows.
LAG = _gauge("qsr_lag_seconds", "How far behind its tip the furthest shard was after the last micro-batch.", "source")
SHARD_LAG = _gauge("qsr_shard_lag_seconds", "The same for each shard.", "source", "shard", open_label="shard")
# Kinesis tells a time only. Where records arrive evenly this is their number; at the tip it is exactly 0.
LAG_RECORDS = _gauge(
    "qsr_lag_records",
    "About how many records that is: the lag of each shard by the rate at which the records of its last reads had arrived; absent"
    " while that rate is not known.",
    "source",
)
# Of what the read log knows, as the check for lost records does: it goes on only when something was read, or a look found a tip.
READ_UNTIL = _gauge(
    "qsr_read_until_timestamp_seconds",
    "Everything that arrived in the stream before was read, by the last micro-batch and the looks at idle shards since (noted every"
    " 10 minutes). Its age against qsr_retention_seconds says how near records are to expiring unread; absent once the source has"
    " ended.",
    "source",
)
RETENTION = _gauge(
    "qsr_retention_seconds",
    "How long the stream keeps a record, asked every metrics.sample_every; 24 hours, the least there is, before the first answer.",
    "source",
)
SHARDS_OPEN = _gauge("qsr_shards_open", "Shards that the last micro-batch read and that are written to.", "source")
SHARDS_DRAINING = _gauge(
    "qsr_shards_draining",
    "Shards that Kinesis has closed (a split, a merge) and that were not read to their end; their children wait for that.",
    "source",
)
BYTES_READ = _counter("qsr_read_bytes_total", "Bytes of the records or files that were read.")
CALLS = _counter("qsr_kinesis_calls_total", "Calls of Kinesis for reading rows, failed ones included.")
THROTTLES = _counter(
    "qsr_kinesis_throttles_total",
    "Calls that were throttled or failed for a moment, and made again; counted when their micro-batch ends. Looks at an idle stream"
    " are not among them.",
)
RENEWALS = _counter("qsr_kinesis_renewals_total", "Shard iterators that had expired and were renewed.")

# CSV. Files that were found and did not fit into the last planned micro-batch; 0 when it took all there was.
BACKLOG_FILES = _gauge("qsr_csv_backlog_files", "Files that wait for a later micro-batch.", "source")
BACKLOG_BYTES = _gauge("qsr_csv_backlog_bytes", "Bytes of these files.", "source")
BACKLOG_OLDEST = _gauge(
    "qsr_csv_backlog_oldest_timestamp_seconds", "Modification time of the oldest of them; 0 without any.", "source"
)

# The lake.
PARTITION_FILES = _gauge(
    "qsr_partition_files_last_hour",
    "Files that were published in the last hour into the partition that got most: small-file pressure. From the ledger, and looked"
    " at every metrics.sample_every.",
    "source",
    "table",
)
STAGED_FILES = _gauge(
    "qsr_staged_files", "Files staged and not published: on S3 open multipart uploads, locally hidden files.", "source"
)
UNPUBLISHED = _gauge(
    "qsr_unpublished_batches", "Committed ledger entries whose files may not all be visible.", "source"
)

# What `batch_app audit` left beside the checkpoints, looked at every metrics.sample_every; absent before the first audit.
AUDIT_TIME = _gauge("qsr_audit_timestamp_seconds", "When the last audit of the lake ended.")
AUDIT_DURATION = _gauge("qsr_audit_duration_seconds", "How long it took.")
AUDIT_OK = _gauge("qsr_audit_ok", "1 when it found every position read in exactly one place, once; 0 when not.")
AUDIT_DIFFERENCES = _gauge("qsr_audit_differences", "Differences that it found.")

# The service.
SOURCE_UP = _gauge(
    "qsr_source_up", "1 while the source's query runs, 0 while it recovers, failed or has ended.", "source"
)
READY = _gauge("qsr_ready", "1 while /readyz answers 200.")
FAILURES = _counter("qsr_failures_total", "Failures of a source, by class of error.", "kind", open_label="kind")
# The sum exists from the start, as alerts need it; a series with a kind begins at one.
RESTARTS = _counter("qsr_restarts_total", "Starts of a source after a failure.")
RESTARTS_BY_KIND = _counter(
    "qsr_restarts_by_kind_total",
    "The same by the class of the error that came before.",
    "kind",
    open_label="kind",
)
RECOVERED = _counter("qsr_recovered_batches_total", "Half-way batches that recovery finished or voided.", "outcome")
DISCARDED = _counter("qsr_discarded_files_total", "Staged files of nobody that recovery removed.")
TOTALS_READ = _gauge(
    "qsr_totals_read",
    "1 once the sums since ever were read from the source's ledger; 0 while that fails: it is tried again every"
    " metrics.sample_every, and the source's rows are not counted before.",
    "source",
)
START = _gauge(
    "qsr_start_timestamp_seconds",
    "When this process began. Absent in a run that ends by itself, which is meant to be started again and again.",
)
SUITE = _gauge("qsr_suite_info", "1; the fingerprint of the suite in force is a label.", "source", "suite")
BUILD = _gauge("qsr_build_info", "1; versions are labels.", "version", "python", "spark")
TRIGGER = _gauge("qsr_trigger_interval_seconds", "How often a micro-batch begins (service.trigger).")

# The machine, sampled every metrics.sample_every.
PYTHON_MEMORY = _gauge("qsr_python_memory_bytes", "Resident memory of the driver's Python process (Linux).")
# Where the executors are on other machines, so are their Python workers, and nothing here sees them.
WORKERS_MEMORY = _gauge(
    "qsr_python_workers_memory_bytes",
    "Memory of the Python processes that Spark runs on the driver's machine, shared pages in proportion (Linux): readers, writers,"
    " planners of sources.",
)
WORKERS = _gauge("qsr_python_workers", "How many of them there are.")
JVM_MEMORY = _gauge("qsr_jvm_memory_bytes", "Used memory of the driver's JVM: heap and nonheap.", "area")
JVM_LIMIT = _gauge("qsr_jvm_memory_limit_bytes", "What the JVM's heap may grow to.", "area")
DISK_FREE = _gauge(
    "qsr_disk_free_bytes", "Free space: of the lake where it is a folder, of Spark's scratch space.", "place"
)
DISK_SIZE = _gauge("qsr_disk_size_bytes", "Size of the same file systems.", "place")

CATALOGUE: Final = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
