# One Glue 6.0 job with a role of its own: exactly the statements it is given, its logs, and its artifacts.

terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.90"
    }
  }
}

data "aws_region" "current" {}

locals {
  logs = "/aws-glue/jobs/${var.name}"

  arguments = {
    "--CONFIG"                          = var.config
    "--TempDir"                         = var.temporary
    "--additional-python-modules"       = var.bundle
    "--python-modules-installer-option" = "--no-index --no-deps" # all wheels are in the bundle: nothing is looked up
    "--conf"                            = "spark.sql.session.timeZone=UTC --conf spark.scheduler.mode=FAIR"
    "--custom-logGroup-prefix"          = local.logs
    "--enable-auto-scaling"             = "true"
    "--enable-metrics"                  = "true"
    "--enable-observability-metrics"    = "true"
    "--job-language"                    = "python"
  }
}

resource "aws_glue_job" "this" {
  # checkov:skip=CKV_AWS_195: A security configuration would rename the log groups; bucket, stream and log groups are encrypted by themselves.
  name              = var.name
  description       = var.description
  role_arn          = aws_iam_role.this.arn
  glue_version      = "6.0"
  worker_type       = var.worker_type
  number_of_workers = var.workers
  execution_class   = "STANDARD"
  connections       = var.connections

  # Streaming: 10,080 minutes is the most there is, and the maintenance window restarts the job before (Glue guide, "Maintenance
  # windows"). A job that ends nevertheless is started again by the schedule below. Retries, which know no exit code, would start it
  # after those that forbid it, too (docs/guarantees.md).
  timeout            = var.streaming ? 10080 : var.timeout_minutes
  max_retries        = 0
  maintenance_window = var.streaming ? var.maintenance_window : null

  command {
    name            = var.streaming ? "gluestreaming" : "glueetl"
    script_location = var.script
    python_version  = "3"
  }

  # Two runs of one job would share checkpoints: never.
  execution_property {
    max_concurrent_runs = 1
  }

  default_arguments = merge(local.arguments, var.arguments)

  depends_on = [aws_iam_role_policy.this, aws_cloudwatch_log_group.this]
}

resource "aws_glue_trigger" "this" {
  count = var.schedule == null ? 0 : 1

  name              = var.name
  description       = var.streaming ? "Starts the job when it does not run; Glue refuses a second run." : "Runs the job."
  type              = "SCHEDULED"
  schedule          = var.schedule
  start_on_creation = true

  actions {
    job_name = aws_glue_job.this.name
  }
}

resource "aws_cloudwatch_log_group" "this" {
  # checkov:skip=CKV_AWS_158: The key is optional (`kms_enabled`); logs hold names of files and counts, no orders.
  # checkov:skip=CKV_AWS_338: The ledger is the record of what happened; logs are for the weeks in which somebody looks.
  for_each = toset(["output", "error"])

  name              = "${local.logs}/${each.key}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
}

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["glue.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.account_id]
    }
  }
}

resource "aws_iam_role" "this" {
  name               = "${var.name}-${data.aws_region.current.name}" # roles are of all regions
  description        = "Glue job ${var.name}"
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

data "aws_iam_policy_document" "this" {
  dynamic "statement" {
    for_each = var.statements

    content {
      sid       = statement.value.sid
      actions   = statement.value.actions
      resources = statement.value.resources

      dynamic "condition" {
        for_each = statement.value.conditions

        content {
          test     = condition.value.test
          variable = condition.value.variable
          values   = condition.value.values
        }
      }
    }
  }

  statement {
    sid       = "OwnLogs"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = [for group in aws_cloudwatch_log_group.this : "${group.arn}:*"]
  }
}

resource "aws_iam_role_policy" "this" {
  name   = "job"
  role   = aws_iam_role.this.id
  policy = data.aws_iam_policy_document.this.json
}
