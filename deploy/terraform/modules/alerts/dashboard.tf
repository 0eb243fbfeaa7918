# One page for the person on call: what comes in, what is rejected, how late it is, whether it holds.

locals {
  panels = [
    { title = "Rows a minute", stat = "Sum", metrics = [
      for pair in setproduct(["qsr_rows_read_total", "qsr_rows_clean_total"], ["kinesis", "csv"]) : [pair[0], "source", pair[1]]
    ] },
    { title = "Dead letters a minute, by stage", stat = "Sum", metrics = [
      for pair in setproduct(["decode", "cast", "rule", "duplicate"], ["kinesis", "csv"]) : ["qsr_rows_dead_total", "source", pair[1], "stage", pair[0]]
    ] },
    { title = "Event to queryable of each batch's oldest and newest row, seconds (99th percentile)", stat = "p99", metrics = [
      for pair in setproduct(["oldest", "newest"], ["kinesis", "csv"]) : ["qsr_event_to_queryable_seconds", "source", pair[1], "row", pair[0]]
    ] },
    { title = "Lag behind the stream's tip, seconds", stat = "Maximum", metrics = [["qsr_lag_seconds", "source", "kinesis"]] },
    { title = "Age of the last success and the last trigger, seconds", stat = "Maximum", metrics = [
      for pair in setproduct(["qsr_last_success_age_seconds", "qsr_last_trigger_age_seconds"], ["kinesis", "csv"]) : [pair[0], "source", pair[1]]
    ] },
    { title = "Stream: not known to be read for, and retention, seconds", stat = "Maximum", metrics = [
      for name in ["qsr_read_until_age_seconds", "qsr_retention_seconds"] : [name, "source", "kinesis"]
    ] },
    { title = "Sources up, and idle", stat = "Minimum", metrics = [
      for pair in setproduct(["qsr_source_up", "qsr_source_idle"], ["kinesis", "csv"]) : [pair[0], "source", pair[1]]
    ] },
    { title = "Restarts of a source after failures", stat = "Sum", metrics = [for source in ["kinesis", "csv"] : ["qsr_restarts_total", "source", source]] },
    { title = "The process runs for, seconds (it falls with each start)", stat = "Maximum", metrics = [["qsr_start_age_seconds"]] },
    { title = "Files a minute", stat = "Sum", metrics = [
      for pair in setproduct(["clean", "dead_letter"], ["kinesis", "csv"]) : ["qsr_files_written_total", "source", pair[1], "table", pair[0]]
    ] },
    { title = "Calls of Kinesis and throttles", stat = "Sum", metrics = [
      for name in ["qsr_kinesis_calls_total", "qsr_kinesis_throttles_total"] : [name, "source", "kinesis"]
    ] },
    { title = "Shards open and draining", stat = "Maximum", metrics = [
      for name in ["qsr_shards_open", "qsr_shards_draining"] : [name, "source", "kinesis"]
    ] },
    { title = "Waiting: records of the stream (about), files", stat = "Maximum", metrics = [
      ["qsr_lag_records", "source", "kinesis"], ["qsr_csv_backlog_files", "source", "csv"],
    ] },
    { title = "Differences of the last audit", stat = "Maximum", metrics = [["qsr_audit_differences"]] },
    { title = "The driver's heap, and its machine's Python workers, bytes", stat = "Maximum", metrics = concat(
      [for name in ["qsr_jvm_memory_bytes", "qsr_jvm_memory_limit_bytes"] : [name, "area", "heap"]],
      [["qsr_python_workers_memory_bytes"]],
    ) },
  ]
}

resource "aws_cloudwatch_dashboard" "this" {
  count = var.streaming_enabled ? 1 : 0

  dashboard_name = var.name

  dashboard_body = jsonencode({
    widgets = [for index, panel in local.panels : {
      type   = "metric"
      x      = (index % 3) * 8
      y      = floor(index / 3) * 6
      width  = 8
      height = 6

      properties = {
        title   = panel.title
        region  = var.region
        stat    = panel.stat
        period  = 60
        view    = "timeSeries"
        metrics = [for metric in panel.metrics : concat([var.namespace], metric)]
      }
    }]
  })
}
