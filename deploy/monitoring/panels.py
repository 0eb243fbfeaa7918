"""What the Grafana dashboards show, as data: each panel's questions to Prometheus, its unit, and what to make of it.

`$instance` and `$__rate_interval` are Grafana's. Metrics are taken from the catalogue, so a name cannot drift.
"""

from __future__ import annotations

from dataclasses import dataclass

from streaming_app.metrics import catalogue as m


@dataclass(frozen=True)
class Query:
    """PromQL, and how its series are called."""

    expression: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """`kind`: stat, timeseries, stacked or bars. Width in 24ths of the window. `bad` is where a stat turns red (`good_above`: below it)."""

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 12
    text: str = ""
    bad: float | None = None
    good_above: bool = False


@dataclass(frozen=True)
class Board:
    """One dashboard: rows of panels by their titles."""

    uid: str
    title: str
    text: str
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]

    @property
    def panels(self) -> list[Panel]:
        """All of them."""
        return [panel for _, panels in self.rows for panel in panels]


def one(metric: m.Metric, suffix: str = "", **labels: str) -> str:
    """A metric's series of the chosen services."""
    chosen = "".join(f',{name}="{value}"' for name, value in labels.items())
    return f'{metric.name}{suffix}{{instance=~"$instance"{chosen}}}'


def rate(metric: m.Metric, suffix: str = "", **labels: str) -> str:
    """How much a second."""
    return f"rate({one(metric, suffix, **labels)}[$__rate_interval])"


def total(by: str, inner: str) -> str:
    """The sum over everything but these labels."""
    return f"sum by ({by}) ({inner})"


def quantile(share: float, metric: m.Metric, by: str = "source", **labels: str) -> str:
    """Of a histogram."""
    return f"histogram_quantile({share}, {total(f'le, {by}', rate(metric, '_bucket', **labels))})"


def age(metric: m.Metric) -> str:
    """Seconds since a moment."""
    return f"time() - {one(metric)}"


def ratio(part: m.Metric, by: str = "source") -> str:
    """The share of the rows that were read, 0 where nothing was."""
    return f"{total(by, rate(part))} / clamp_min({total(by, rate(m.ROWS_READ))}, 1e-9)"


_BACKLOG_AGE = f"(time() - {one(m.BACKLOG_OLDEST)}) * ({one(m.BACKLOG_FILES)} > bool 0)"

OVERVIEW = Board(
    "qsr-overview",
    "qsr-ingest: service",
    "Is it running, how far behind is it, is anything lost, will it run out of something.",
    (
        (
            "Now",
            (
                Panel(
                    "Ready",
                    (Query(one(m.READY)),),
                    kind="stat",
                    width=3,
                    bad=1,
                    good_above=True,
                    text="1 while every source goes on; docs/runbook.md#ingestnotready.",
                ),
                Panel(
                    "Rows a second",
                    (Query(total("source", rate(m.ROWS_READ)), "{{source}}"),),
                    unit="rowsps",
                    kind="stat",
                    width=5,
                ),
                Panel("Behind the stream", (Query(f"max({one(m.LAG)})"),), unit="s", kind="stat", width=3, bad=120),
                Panel(
                    "Rejected",
                    (Query(ratio(m.ROWS_DEAD), "{{source}}"),),
                    unit="percentunit",
                    kind="stat",
                    width=5,
                    bad=0.05,
                ),
                Panel(
                    "Last success",
                    (Query(age(m.LAST_SUCCESS), "{{source}}"),),
                    unit="s",
                    kind="stat",
                    width=5,
                    text="Ago. Grows while there is nothing to read.",
                ),
                Panel(
                    "Audit",
                    (Query(f"max({one(m.AUDIT_DIFFERENCES)})"),),
                    kind="stat",
                    width=3,
                    bad=1,
                    text="Differences that the last audit found; docs/runbook.md#ingestaudit.",
                ),
            ),
        ),
        (
            "Rows and freshness",
            (
                Panel(
                    "Rows a second by outcome",
                    (
                        Query(total("source", rate(m.ROWS_CLEAN)), "{{source}} clean"),
                        Query(total("source", rate(m.ROWS_DEAD)), "{{source}} rejected"),
                        Query(total("source", rate(m.ROWS_DUPLICATE)), "{{source}} repeats"),
                    ),
                    unit="rowsps",
                    kind="stacked",
                ),
                Panel(
                    "From arrival to queryable",
                    (
                        Query(quantile(0.5, m.EVENT_TO_QUERYABLE, row="oldest"), "{{source}} median"),
                        Query(quantile(0.99, m.EVENT_TO_QUERYABLE, row="oldest"), "{{source}} 99%"),
                    ),
                    unit="s",
                    text="The oldest row of each micro-batch: every other row was quicker.",
                ),
                Panel(
                    "Lag and waiting files' age",
                    (Query(one(m.LAG), "{{source}} lag"), Query(_BACKLOG_AGE, "{{source}} oldest waiting file")),
                    unit="s",
                ),
                Panel(
                    "Since Spark last told of the query",
                    (Query(age(m.LAST_TRIGGER), "{{source}}"),),
                    unit="s",
                    text="Spark tells every 10 s when there is nothing to read; docs/runbook.md#ingeststalled.",
                ),
            ),
        ),
        (
            "Micro-batches",
            (
                Panel(
                    "Duration",
                    (
                        Query(quantile(0.5, m.BATCH_DURATION), "{{source}} median"),
                        Query(quantile(0.95, m.BATCH_DURATION), "{{source}} 95%"),
                        Query(f"max({one(m.TRIGGER)})", "trigger"),
                    ),
                    unit="s",
                    text="Above the trigger it cannot keep its pace.",
                ),
                Panel(
                    "Where the time goes",
                    (Query(total("phase", rate(m.PHASE_SECONDS)), "{{phase}}"),),
                    unit="percentunit",
                    kind="stacked",
                    text="Busy share of each second by phase; addBatch is reading, checking and writing.",
                ),
                Panel(
                    "Pace inside a micro-batch",
                    (Query(one(m.ROWS_PER_SECOND), "{{source}}"),),
                    unit="rowsps",
                    text="Rows of the last one by its duration: what it could take if it never rested.",
                ),
                Panel(
                    "Source up, and idle",
                    (Query(one(m.SOURCE_UP), "{{source}} up"), Query(one(m.IDLE), "{{source}} idle")),
                    text="Idle: nothing waits.",
                ),
                Panel(
                    "Failures",
                    (
                        Query(
                            f"{total('source, kind', f'increase({one(m.FAILURES)}[1h])')} or 0 * {one(m.RESTARTS)}",
                            "{{source}} {{kind}}",
                        ),
                        Query(f"increase({one(m.RESTARTS)}[1h])", "{{source}} started again"),
                        Query(
                            f"{total('source, kind', f'increase({one(m.RESTARTS_BY_KIND)}[1h])')} or 0 * {one(m.RESTARTS)}",
                            "{{source}} started again after {{kind}}",
                        ),
                    ),
                    kind="bars",
                    width=8,
                    text="In an hour; the log has the errors; docs/runbook.md#ingestrestarts.",
                ),
                Panel(
                    "Recovered batches",
                    (Query(f"increase({one(m.RECOVERED)}[1h])", "{{source}} {{outcome}}"),),
                    kind="bars",
                    width=8,
                    text="In an hour: half-way batches that a start finished or voided.",
                ),
                Panel(
                    "The process was started again",
                    (Query(f"changes({one(m.START)}[30m])", "in 30 minutes"),),
                    kind="bars",
                    width=8,
                    text="An alert above 2; docs/runbook.md#ingestcrashloop.",
                ),
            ),
        ),
        (
            "The machine",
            (
                Panel(
                    "Memory",
                    (
                        Query(one(m.JVM_MEMORY), "JVM {{area}}"),
                        Query(one(m.JVM_LIMIT), "JVM {{area}} limit"),
                        Query(one(m.PYTHON_MEMORY), "driver's Python"),
                        Query(one(m.WORKERS_MEMORY), "Python workers of this machine"),
                    ),
                    unit="bytes",
                    width=8,
                    text="Executors on other machines, and their Python workers, are not seen from here.",
                ),
                Panel("Python workers of this machine", (Query(one(m.WORKERS), "processes"),), width=8),
                Panel(
                    "Free disk",
                    (Query(f"{one(m.DISK_FREE)} / {one(m.DISK_SIZE)}", "{{place}}"),),
                    unit="percentunit",
                    width=8,
                    text="docs/runbook.md#ingestdiskfull.",
                ),
                Panel(
                    "Version",
                    (Query(one(m.BUILD), "{{version}}, Spark {{spark}}, Python {{python}}"),),
                    kind="stat",
                    width=8,
                ),
                Panel("Suite in force", (Query(one(m.SUITE), "{{source}}: {{suite}}"),), kind="stat", width=8),
                Panel("Running for", (Query(age(m.START)),), unit="s", kind="stat", width=8),
            ),
        ),
    ),
)

QUALITY = Board(
    "qsr-quality",
    "qsr-ingest: quality and dead letters",
    "What is rejected, by which rule, since when. `python -m batch_app dead-letters summary` has the rows.",
    (
        (
            "Rejected",
            (
                Panel(
                    "Share of the rows",
                    (Query(ratio(m.ROWS_DEAD), "{{source}}"),),
                    unit="percentunit",
                    text="An alert above 5%; docs/runbook.md#ingestdeadletters.",
                ),
                Panel(
                    "Rejected a second by stage",
                    (Query(total("stage", rate(m.ROWS_DEAD)), "{{stage}}"),),
                    unit="rowsps",
                    kind="stacked",
                ),
                Panel(
                    "Reasons a second",
                    (Query(total("reason", rate(m.REJECTIONS)), "{{reason}}"),),
                    unit="rowsps",
                    kind="stacked",
                    width=24,
                    text="A row with three reasons counts three times.",
                ),
                Panel(
                    "The last day by reason",
                    (Query(f"topk(15, {total('reason', f'increase({one(m.REJECTIONS)}[1d])')})", "{{reason}}"),),
                    kind="bars",
                ),
                Panel(
                    "Since ever by reason",
                    (Query(f"topk(15, {total('reason', one(m.REJECTIONS))})", "{{reason}}"),),
                    kind="bars",
                ),
            ),
        ),
        (
            "Kept, and watched",
            (
                Panel(
                    "Warnings a second by rule",
                    (Query(total("rule", rate(m.WARNINGS)), "{{rule}}"),),
                    unit="rowsps",
                    width=8,
                ),
                Panel(
                    "Counted rules (info) a second",
                    (Query(total("rule", rate(m.INFOS)), "{{rule}}"),),
                    unit="rowsps",
                    width=8,
                ),
                Panel(
                    "Batches that broke a limit",
                    (
                        Query(f"increase({one(m.BREACHED)}[1h])", "{{source}}"),
                        Query(total("limit", one(m.BREACHES)), "{{limit}} since ever"),
                        Query(f"time() - {one(m.LAST_BREACH)} < bool 900", "{{source}} within 15 minutes"),
                    ),
                    kind="bars",
                    width=8,
                    text="In an hour; docs/runbook.md#ingestbreach.",
                ),
            ),
        ),
        (
            "Books",
            (
                Panel(
                    "Read is clean, rejected and repeats",
                    (
                        Query(
                            f"{total('source', one(m.ROWS_READ))} - {total('source', one(m.ROWS_CLEAN))} - {total('source', one(m.ROWS_DEAD))} - {total('source', one(m.ROWS_DUPLICATE))}",
                            "{{source}}",
                        ),
                    ),
                    kind="stat",
                    width=8,
                    bad=1,
                    text="0 at every scrape, or something is wrong with the metrics; `batch_app audit` proves the lake.",
                ),
                Panel(
                    "Rows since ever", (Query(total("source", one(m.ROWS_READ)), "{{source}}"),), kind="stat", width=8
                ),
                Panel(
                    "Totals are known",
                    (Query(one(m.TOTALS_READ), "{{source}}"),),
                    kind="stat",
                    width=8,
                    bad=1,
                    good_above=True,
                    text="0 while the ledger cannot be read, which is tried again; the source's rows are not counted before.",
                ),
            ),
        ),
    ),
)

KINESIS = Board(
    "qsr-kinesis",
    "qsr-ingest: Kinesis shards",
    "How far behind each shard is, and what Kinesis says to our calls.",
    (
        (
            "Lag",
            (
                Panel("Furthest shard", (Query(f"max({one(m.LAG)})"),), unit="s", kind="stat", width=4, bad=120),
                Panel(
                    "Records behind",
                    (Query(f"sum({one(m.LAG_RECORDS)})"),),
                    kind="stat",
                    width=4,
                    text="About: Kinesis tells the time only. Nothing while the rate of a late shard is not known.",
                ),
                Panel("Open shards", (Query(f"sum({one(m.SHARDS_OPEN)})"),), kind="stat", width=3),
                Panel(
                    "Draining shards",
                    (Query(f"sum({one(m.SHARDS_DRAINING)})"),),
                    kind="stat",
                    width=3,
                    text="Closed by a split or a merge, and not read to their end; their children wait.",
                ),
                Panel(
                    "Until half of the retention is used up",
                    (Query(f"min({one(m.RETENTION)} / 2 - ({age(m.READ_UNTIL)}))"),),
                    unit="s",
                    kind="stat",
                    width=4,
                    bad=3600,
                    good_above=True,
                    text="By what is known to be read, so that a source that hangs or fails uses it up, too;"
                    " docs/runbook.md#ingestretentionatrisk.",
                ),
                Panel(
                    "Seconds until it has caught up",
                    (Query(f"max({one(m.LAG)}) / clamp_min(-deriv(max({one(m.LAG)})[10m:30s]), 1e-3)"),),
                    unit="s",
                    kind="stat",
                    width=6,
                    text="At the pace of the last ten minutes; 0 when nothing waits.",
                ),
                Panel(
                    "Lag by shard",
                    (Query(f"topk(20, {one(m.SHARD_LAG)})", "{{shard}}"),),
                    unit="s",
                    text="One shard alone is a hot one: split it. All: more cores, or fewer and larger batches.",
                ),
                Panel(
                    "Not known to be read, for",
                    (Query(age(m.READ_UNTIL), "{{source}}"), Query(f"{one(m.RETENTION)} / 2", "half of the retention")),
                    unit="s",
                    text="Up to ten minutes while nothing comes; grows while reads fail, hang, or looks at an idle stream are"
                    " throttled.",
                ),
            ),
        ),
        (
            "Calls",
            (
                Panel(
                    "Calls a second",
                    (Query(rate(m.CALLS), "calls"), Query(rate(m.THROTTLES), "throttled or failed")),
                    unit="reqps",
                ),
                Panel(
                    "Throttled share",
                    (Query(f"{rate(m.THROTTLES)} / clamp_min({rate(m.CALLS)}, 1e-9)", "share"),),
                    unit="percentunit",
                    text="An alert above a fifth; docs/runbook.md#ingestthrottled. Counted when a micro-batch ends; looks at an idle"
                    " stream are not among them.",
                ),
                Panel("Renewed iterators", (Query(f"increase({one(m.RENEWALS)}[1h])", "in an hour"),), kind="bars"),
                Panel("Bytes read a second", (Query(rate(m.BYTES_READ, source="kinesis"), "kinesis"),), unit="Bps"),
                Panel(
                    "Lost upstream and accepted",
                    (
                        Query(one(m.LOSSES), "since ever"),
                        Query(f"time() - {one(m.LAST_LOSS)} < bool 86400", "within a day"),
                    ),
                    kind="stat",
                    bad=1,
                    text="Where `fail_on_data_loss: false` lets the service go on; docs/runbook.md#ingestdatalost.",
                ),
            ),
        ),
    ),
)

LAKE = Board(
    "qsr-lake",
    "qsr-ingest: lake health",
    "What is written, how small the files are, and what lies half-way.",
    (
        (
            "Written",
            (
                Panel(
                    "Bytes a second",
                    (Query(total("source, table", rate(m.BYTES_WRITTEN)), "{{source}} {{table}}"),),
                    unit="Bps",
                    kind="stacked",
                ),
                Panel(
                    "Files a second",
                    (Query(total("source, table", rate(m.FILES_WRITTEN)), "{{source}} {{table}}"),),
                    unit="ops",
                ),
                Panel(
                    "Bytes of a file",
                    (
                        Query(
                            f"{total('table', one(m.BYTES_WRITTEN))} / clamp_min({total('table', one(m.FILES_WRITTEN))}, 1)",
                            "{{table}}",
                        ),
                    ),
                    unit="bytes",
                    text="On average since ever; Athena reads 128 MiB and more best. Compaction mends it.",
                ),
                Panel(
                    "Files of the last hour in the fullest partition",
                    (Query(one(m.PARTITION_FILES), "{{source}} {{table}}"),),
                    text="Small-file pressure: a longer service.trigger makes fewer and larger files.",
                ),
                Panel(
                    "Rows of a file",
                    (
                        Query(
                            f"{total('source', one(m.ROWS_CLEAN))} / clamp_min({total('source', one(m.FILES_WRITTEN, table='clean'))}, 1)",
                            "{{source}}",
                        ),
                    ),
                    text="Clean rows, on average since ever.",
                ),
                Panel("Batches an hour", (Query(f"increase({one(m.BATCHES)}[1h])", "{{source}}"),), kind="bars"),
            ),
        ),
        (
            "Half-way",
            (
                Panel(
                    "Committed and not visible",
                    (Query(one(m.UNPUBLISHED), "{{source}}"),),
                    kind="stat",
                    width=8,
                    bad=1,
                    text="Batches; for ten minutes an alert: docs/runbook.md#ingestunpublished.",
                ),
                Panel(
                    "Staged files",
                    (Query(one(m.STAGED_FILES), "{{source}}"),),
                    width=8,
                    text="Open multipart uploads on S3, hidden files locally.",
                ),
                Panel(
                    "Removed leftovers",
                    (Query(f"increase({one(m.DISCARDED)}[1d])", "{{source}}"),),
                    kind="bars",
                    width=8,
                    text="Staged files of nobody that recovery removed, in a day.",
                ),
            ),
        ),
        (
            "The last audit (`python -m batch_app audit`)",
            (
                Panel(
                    "Differences",
                    (Query(one(m.AUDIT_DIFFERENCES), "differences"),),
                    kind="stat",
                    width=6,
                    bad=1,
                    text="An alert above 0; docs/runbook.md#ingestaudit.",
                ),
                Panel(
                    "No difference", (Query(one(m.AUDIT_OK), "1: none"),), kind="stat", width=6, bad=1, good_above=True
                ),
                Panel("Ended, ago", (Query(age(m.AUDIT_TIME), "age"),), unit="s", kind="stat", width=6),
                Panel("Took", (Query(one(m.AUDIT_DURATION), "duration"),), unit="s", kind="stat", width=6),
            ),
        ),
        (
            "Uploads",
            (
                Panel("Waiting files", (Query(one(m.BACKLOG_FILES), "files"),), width=8),
                Panel("Waiting bytes", (Query(one(m.BACKLOG_BYTES), "bytes"),), unit="bytes", width=8),
                Panel("Age of the oldest waiting file", (Query(_BACKLOG_AGE, "age"),), unit="s", width=8),
            ),
        ),
    ),
)

BOARDS = (OVERVIEW, QUALITY, KINESIS, LAKE)
