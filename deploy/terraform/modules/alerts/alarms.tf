# The alerts of deploy/monitoring/alerts.yml on the figures that the service sends to CloudWatch (docs/metrics.md), by the same names,
# so that docs/runbook.md speaks of both. Differences: CloudWatch judges whole periods where Prometheus slides, and IngestDown waits
# ten minutes, as Glue needs some to start a job. Names, dimensions and severities are tested; no CloudWatch has evaluated the
# expressions (docs/monitoring.md).

locals {
  source = { for source in ["kinesis", "csv"] : source => { source = source } }

  per_source = flatten([for source, dimensions in local.source : [
    {
      name        = "IngestStalled"
      source      = source
      severity    = "page"
      description = "${source}: nothing was heard of its query for 15 minutes."
      metrics     = { age = { name = "qsr_last_trigger_age_seconds", dimensions = dimensions, stat = "Maximum" } }
      expression  = "age"
      threshold   = 900
      period      = 60
      periods     = 2
    },
    {
      name        = "IngestDeadLetters"
      source      = source
      severity    = "ticket"
      description = "${source}: more than 5 % of the rows are rejected."
      metrics = merge(
        { read = { name = "qsr_rows_read_total", dimensions = dimensions, stat = "Sum" } },
        { for stage in ["decode", "cast", "rule", "duplicate"] : stage => { name = "qsr_rows_dead_total", dimensions = merge(dimensions, { stage = stage }), stat = "Sum" } },
      )
      expression = "IF(read > 100 AND (FILL(decode, 0) + FILL(cast, 0) + FILL(rule, 0) + FILL(duplicate, 0)) / read > 0.05, 1, 0)"
      threshold  = 0
      period     = 900
      periods    = 1
    },
    {
      name        = "IngestBreach"
      source      = source
      severity    = "ticket"
      description = "${source}: micro-batches broke a quality limit."
      metrics     = { breached = { name = "qsr_breached_batches_total", dimensions = dimensions, stat = "Sum" } }
      expression  = "breached"
      threshold   = 0
      period      = 900
      periods     = 1
    },
    {
      name        = "IngestRestarts"
      source      = source
      severity    = "page"
      description = "${source} failed and started again more than twice in 30 minutes."
      metrics     = { restarts = { name = "qsr_restarts_total", dimensions = dimensions, stat = "Sum" } }
      expression  = "restarts"
      threshold   = 2
      period      = 1800
      periods     = 1
    },
    {
      name        = "IngestUnpublished"
      source      = source
      severity    = "page"
      description = "${source}: committed micro-batches are not visible for 10 minutes."
      metrics     = { unpublished = { name = "qsr_unpublished_batches", dimensions = dimensions, stat = "Minimum" } }
      expression  = "unpublished"
      threshold   = 0
      period      = 60
      periods     = 10
    },
  ]])

  stream_only = [
    {
      name        = "IngestLagGrowing"
      source      = "kinesis"
      severity    = "page"
      description = "kinesis falls behind by more than 12 s a minute."
      metrics     = { lag = { name = "qsr_lag_seconds", dimensions = local.source.kinesis, stat = "Maximum" } }
      expression  = "IF(RATE(lag) > 0.2, 1, 0)"
      threshold   = 0
      period      = 900 # in which any micro-batch ends that is no stall
      periods     = 2
    },
    {
      name        = "IngestRetentionAtRisk"
      source      = "kinesis"
      severity    = "page"
      description = "kinesis: what is known to be read is older than half of the time after which records expire."
      metrics = {
        age       = { name = "qsr_read_until_age_seconds", dimensions = local.source.kinesis, stat = "Maximum" }
        retention = { name = "qsr_retention_seconds", dimensions = local.source.kinesis, stat = "Minimum" }
      }
      expression = "age / retention"
      threshold  = 0.5
      period     = 60
      periods    = 2
    },
    {
      name        = "IngestNoData"
      source      = "kinesis"
      severity    = "page"
      description = "kinesis: no row for 30 minutes in opening hours."
      metrics = {
        read = { name = "qsr_rows_read_total", dimensions = local.source.kinesis, stat = "Sum" }
        up   = { name = "qsr_source_up", dimensions = local.source.kinesis, stat = "Minimum" }
        age  = { name = "qsr_start_age_seconds", dimensions = {}, stat = "Maximum" } # of a process that was there all the time
      }
      expression = "IF(HOUR(read) >= ${var.opening_hours.from} AND HOUR(read) < ${var.opening_hours.until} AND read == 0 AND up == 1 AND age >= 1800, 1, 0)"
      threshold  = 0
      period     = 1800
      periods    = 1
    },
    {
      name        = "IngestThrottled"
      source      = "kinesis"
      severity    = "ticket"
      description = "kinesis: more than 20 % of the calls are throttled."
      metrics = {
        throttles = { name = "qsr_kinesis_throttles_total", dimensions = local.source.kinesis, stat = "Sum" }
        calls     = { name = "qsr_kinesis_calls_total", dimensions = local.source.kinesis, stat = "Sum" }
      }
      expression = "IF(calls > 0, throttles / calls, 0)"
      threshold  = 0.2
      period     = 600
      periods    = 2
    },
  ]

  whole = [
    {
      name        = "IngestNotReady"
      source      = ""
      severity    = "page"
      description = "The service runs and is not ready for 10 minutes."
      metrics     = { ready = { name = "qsr_ready", dimensions = {}, stat = "Maximum" } }
      expression  = "1 - ready"
      threshold   = 0
      period      = 60
      periods     = 10
    },
    {
      name        = "IngestCrashLoop"
      source      = ""
      severity    = "page"
      description = "For 30 minutes the process has been started again before it was 10 minutes old."
      metrics     = { age = { name = "qsr_start_age_seconds", dimensions = {}, stat = "Maximum" } }
      expression  = "IF(age < 600, 1, 0)"
      threshold   = 0
      period      = 300
      periods     = 6
    },
    {
      name        = "IngestDataLost"
      source      = "kinesis"
      severity    = "page"
      description = "kinesis: records were lost upstream within the last day, and fail_on_data_loss = false accepted it."
      metrics     = { age = { name = "qsr_last_loss_age_seconds", dimensions = local.source.kinesis, stat = "Minimum" } }
      expression  = "IF(age < 86400, 1, 0)"
      threshold   = 0
      period      = 300
      periods     = 1
    },
    {
      name        = "IngestAudit"
      source      = ""
      severity    = "page"
      description = "The last audit of the lake found differences."
      metrics     = { differences = { name = "qsr_audit_differences", dimensions = {}, stat = "Minimum" } }
      expression  = "differences"
      threshold   = 0
      period      = 60
      periods     = 1
    },
    {
      name        = "IngestDiskFull"
      source      = ""
      severity    = "page"
      description = "Less than 10 % of the driver's scratch disk are free."
      metrics = {
        free = { name = "qsr_disk_free_bytes", dimensions = { place = "scratch" }, stat = "Minimum" }
        size = { name = "qsr_disk_size_bytes", dimensions = { place = "scratch" }, stat = "Minimum" }
      }
      expression = "1 - free / size"
      threshold  = 0.9
      period     = 60
      periods    = 5
    },
    {
      name        = "IngestMemory"
      source      = ""
      severity    = "page"
      description = "The driver's heap is more than 90 % full for 15 minutes."
      metrics = {
        used  = { name = "qsr_jvm_memory_bytes", dimensions = { area = "heap" }, stat = "Minimum" }
        limit = { name = "qsr_jvm_memory_limit_bytes", dimensions = { area = "heap" }, stat = "Maximum" }
      }
      expression = "used / limit"
      threshold  = 0.9
      period     = 300
      periods    = 4 # 15 minutes, for 5 minutes
    },
  ]

  alarms = var.streaming_enabled ? {
    for alarm in concat(local.per_source, local.stream_only, local.whole) : join("-", compact([alarm.name, alarm.source])) => alarm
  } : {}
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = "${each.value.description} docs/runbook.md#${lower(each.value.name)}"
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.threshold
  evaluation_periods  = each.value.periods
  treat_missing_data  = "notBreaching" # IngestDown is for silence
  alarm_actions       = [aws_sns_topic.this[each.value.severity].arn]
  ok_actions          = [aws_sns_topic.this[each.value.severity].arn]

  metric_query {
    id          = "judged"
    label       = each.value.name
    expression  = each.value.expression
    period      = each.value.period
    return_data = true
  }

  dynamic "metric_query" {
    for_each = each.value.metrics

    content {
      id = metric_query.key

      metric {
        namespace   = var.namespace
        metric_name = metric_query.value.name
        dimensions  = metric_query.value.dimensions
        period      = each.value.period
        stat        = metric_query.value.stat
      }
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "down" {
  count = var.streaming_enabled ? 1 : 0

  alarm_name          = "${var.name}-IngestDown"
  alarm_description   = "Nothing was heard of the service for 10 minutes. docs/runbook.md#ingestdown"
  comparison_operator = "LessThanThreshold"
  namespace           = var.namespace
  metric_name         = "qsr_ready"
  statistic           = "SampleCount"
  threshold           = 1
  period              = 60
  evaluation_periods  = 10
  treat_missing_data  = "breaching" # silence is what it is about
  alarm_actions       = [aws_sns_topic.this["page"].arn]
  ok_actions          = [aws_sns_topic.this["page"].arn]
}
