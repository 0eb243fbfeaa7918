"""Makes docs/metrics.md out of the catalogue: `python -m streaming_app.metrics.documentation > docs/metrics.md`."""

from __future__ import annotations

import sys
from typing import Final

from streaming_app.metrics.catalogue import CATALOGUE, MOST_VALUES, Metric, Since

_INTRODUCTION: Final = f"""# Metrics

<!-- Made from streaming_app/metrics/catalogue.py by `python -m streaming_app.metrics.documentation`; a test holds both equal. -->

The driver serves them at `/metrics`, beside the [live page](live-page.md) at `/`, with `/healthz` (200 while the process answers) and `/readyz` (200 once every source
has recovered and runs, or has read all there was; 503 with each source's state in JSON before that, while a source waits
for its restart, and when one was silent for `metrics.stalled_after`). See `metrics:` in the configuration. By default only
this machine can ask. `/metrics` has no row's content; the page has, so with it `metrics.host` for other machines needs a
`metrics.token` (or `metrics.page: false`). With a token everything but `/healthz` and `/readyz` asks for it; Prometheus gives
it with `authorization: {{credentials_file: ...}}` in its scrape configuration.

- Counters *since ever* are sums over the ledger. A restart goes on where it was; a batch that ran again after a crash counts
  once, as it has one ledger entry; what was committed while nobody counted is counted. `rows read = clean + dead + duplicate`
  holds at every scrape.
- Counters and histograms *of this process* begin at 0 with each start. `rate()` and `increase()` take both.
- Ages are timestamps, as Prometheus wants them: `time() - qsr_last_success_timestamp_seconds`.
- `source` is `kinesis` or `csv`. Values of a label in *italics* come from configuration or data; a source's first
  {MOST_VALUES} have series of their own, the rest share `other`.
- What it costs: under 1% of the service's CPU. `python -m tests.bench.metrics_share` runs the real service over 500,000 CSV rows as fast
  as they go, scraped every five seconds with its page refreshed every two, and counts from inside the CPU time of every thread that the
  metrics have and of every call that the service makes into them. Four runs at a load of 13 to 35 on two cores: 0.29 to 0.50 s of 55 to
  63 s, 0.53% to 0.81%. Half to two thirds of it are scrapes and the page's refreshes, most of the rest the dead letters that the page
  shows; what micro-batches wait for is nothing, and their updates (`on_batch`, on Spark's listener thread, after the commit) take 13 ms
  for 40 of them. Not counted: 45 ms of imports at the start, and the JVM's
  answer to two questions about its memory. Whole runs with and without metrics (`tests.bench.metrics_overhead`) cannot show so
  little: medians of 69.0 and 67.1 s of CPU, where single runs differ by 9%.
- By piece (`python -m tests.bench.metrics_cost`, 64 shards, 40 reasons): 0.24 ms for a micro-batch, 1.7 ms a scrape, 4.7 ms a refresh of the
  page. With two batches a second, a scrape every 5 s and one viewer that is 0.3% of one core.
- Memory is seen on the driver's machine only: the JVM's, this process's, and that of the Python processes which Spark has started
  there (`qsr_python_workers_memory_bytes`, from `/proc`, shared pages in proportion; a look took 37 ms of CPU for 14 of them, which
  held 754 MB: 0.12% of a core at a sample each 30 s). With `local[*]`, as on Kubernetes, that is all of them. Executors on other
  machines (Glue's workers, a cluster) and their Python workers are not seen: look at the platform's own figures (Glue's job metrics,
  the cluster's node exporter).
- Throttled calls are counted when the micro-batch that made them ends, and looks at an idle stream (`probe_interval`) are not counted
  at all: they run in a process of Spark's that tells of nothing but its result. A batch that never ends shows in
  `qsr_last_trigger_timestamp_seconds`, looks that never succeed in `qsr_read_until_timestamp_seconds`, which goes on only when a look
  has found a shard's tip (noted every 10 minutes).
- `qsr_event_to_queryable_seconds` observes the oldest and the newest row of each micro-batch, not every row: a percentile of it is one of
  batches. Every other row lies between the two.
- Where the ledger cannot be read at the start, the service runs, and its totals are read with one of the next samples
  (`qsr_totals_read`, and a warning in the log); everything else is there meanwhile.
- A first start reads the whole ledger, 10,000 batches in 0.3 s; later ones only what came after the sums that were kept, and
  the last hour for the page and for `qsr_partition_files_last_hour`.

## To where nothing scrapes
Each of these has a thread of its own: the stream never waits for it, and a receiver that fails is told of in the log once and gets
all of it with the next attempt. They can be used together, and with `metrics.enabled: false`.

| | what it sends | needs |
| --- | --- | --- |
| `metrics.cloudwatch` | to CloudWatch, by PutMetricData | `cloudwatch:PutMetricData` |
| the same, `format: emf` | lines in CloudWatch's embedded metric format on standard output | a platform that takes standard output to CloudWatch Logs line by line |
| the same, and `log_group` | these lines by PutLogEvents, into a log stream of its own | the log group, and `logs:CreateLogStream`, `logs:PutLogEvents` in it |
| `metrics.pushgateway` | everything, to a Prometheus Pushgateway: for runs that end before anybody could scrape them | - |
| `metrics.otlp` | everything, to an OpenTelemetry collector (OTLP over HTTP, binary) | `pip install 'qsr-ingest[otlp]'`: two packages, 3.3 MB |

```yaml
metrics:
  cloudwatch: {{enabled: true, namespace: qsr-orders, format: emf, log_group: /qsr/metrics}}
  pushgateway: {{url: "http://pushgateway.internal:9091", job: qsr-backfill, every: 15s}}
  otlp:
    endpoint: http://127.0.0.1:4318/v1/metrics
    headers: {{Authorization: "${{OTLP_AUTHORIZATION}}"}}     # what stands here is masked wherever the configuration is shown
```

**CloudWatch** (Glue, EMR Serverless), once a minute: counters arrive as what was added (use `Sum`), histograms as counts of their
buckets (percentiles are exact to a bucket), timestamps as ages (`qsr_last_success_age_seconds`). Labels are dimensions. Series with
a label in *italics* and `_info` stay out, as CloudWatch bills each series: with both sources about 93 of them at 0.30 USD a month.
To that come 43,200 calls at 0.01 USD a thousand, or, as lines, some 13 kB a minute (11 kB were measured while there were 80 series, at
a trigger of 30 s; 15 kB with two batches a second), 0.3 USD at 0.50 USD a GB: 28 USD a month either way (us-east-1 list prices). Give each service a `namespace` of its own.
What a killed process had not sent is missing, and a call whose answer was lost may count twice: the ledger is the book. The lines
keep the rules of AWS's specification (`tests/unit/test_emf.py`): at most 100 metrics a line and 100 values a metric. They were sent
to moto's CloudWatch Logs and not to AWS's; whether Glue or EMR Serverless take standard output line by line was not tried, so name a
log group there.

**Pushgateway**: each push replaces the last one of the same `job` and `instance`, and what a run has left stays there when it has
ended; `push_time_seconds` says how old it is. The last push of a source that has ended holds no ages of it, and that of a run that
was stopped no `qsr_ready`, so that no alert waits for what is over. `user` and `password` where it asks for them. Tested against Debian's.

**OpenTelemetry**: counters and histograms are cumulative. Those since ever have no start time, so that a restart is not taken for new
rows. Units are `s`, `By` and none. In Prometheus 3.5's own receiver every metric has the name that a scrape gives it (`make test-otlp`).

## All of them
| Metric | Type | Since | Labels | Unit | What it says |
| --- | --- | --- | --- | --- | --- |
"""
_SINCE: Final = {Since.EVER: "ever", Since.PROCESS: "process", Since.NOW: "-"}


def document() -> str:
    """The page."""
    return _INTRODUCTION + "".join(_row(metric) for metric in CATALOGUE)


def _row(metric: Metric) -> str:
    labels = ", ".join(f"*{label}*" if label == metric.open_label else label for label in metric.labels) or "-"
    cells = (f"`{metric.name}`", metric.kind.value, _SINCE[metric.since], labels, metric.unit, metric.help)
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    sys.stdout.write(document())
