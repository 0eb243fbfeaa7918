# A batch job that fails or runs out of time sends nothing itself where it is killed or cannot start: Glue's own events do. The streaming
# job has IngestDown instead: its trigger makes a failed run every quarter of an hour, which Glue refuses as one is under way.

resource "aws_cloudwatch_event_rule" "failed_job" {
  count = length(var.batch_jobs) > 0 ? 1 : 0

  name        = "${var.name}-failed-jobs"
  description = "A batch job has failed or run out of time."

  event_pattern = jsonencode({
    source      = ["aws.glue"]
    detail-type = ["Glue Job State Change"]
    detail      = { jobName = var.batch_jobs, state = ["FAILED", "TIMEOUT"] }
  })
}

resource "aws_cloudwatch_event_target" "failed_job" {
  count = length(var.batch_jobs) > 0 ? 1 : 0

  rule = aws_cloudwatch_event_rule.failed_job[0].name
  arn  = aws_sns_topic_policy.this["ticket"].arn

  input_transformer {
    input_paths = { job = "$.detail.jobName", run = "$.detail.jobRunId", state = "$.detail.state" }
    # Each line a string in quotes, as EventBridge wants it; without the run's message, whose own quotes could end one.
    input_template = <<-EOT
      "Glue job <job>: <state>."
      "Why: aws glue get-job-run --job-name <job> --run-id <run>, and the log group /aws-glue/jobs/<job>/error."
      "What to do: docs/runbook.md, A batch job that failed."
    EOT
  }
}
