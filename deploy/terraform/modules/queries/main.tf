# An Athena workgroup that cannot run away: a scan limit, encrypted results that expire, and the shipped named queries.

terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.90"
    }
  }
}

locals {
  # The first comment of each file describes it, as for `batch_app query --list`.
  queries = {
    for file in fileset(var.queries_dir, "*.sql") : trimsuffix(file, ".sql") => {
      sql         = trimspace(file("${var.queries_dir}/${file}"))
      description = trimspace(trimprefix(split("\n", file("${var.queries_dir}/${file}"))[0], "--"))
    }
  }
}

resource "aws_athena_workgroup" "this" {
  name          = var.name
  description   = "Queries over the lake; results go to ${var.results_uri}."
  force_destroy = true # only history of queries is lost

  configuration {
    enforce_workgroup_configuration    = true
    publish_cloudwatch_metrics_enabled = true
    bytes_scanned_cutoff_per_query     = var.scan_limit_bytes

    result_configuration {
      output_location = var.results_uri

      encryption_configuration {
        encryption_option = var.kms_key_arn == null ? "SSE_S3" : "SSE_KMS"
        kms_key_arn       = var.kms_key_arn
      }
    }
  }
}

resource "aws_athena_named_query" "this" {
  for_each = local.queries

  name        = each.key
  description = each.value.description
  workgroup   = aws_athena_workgroup.this.id
  database    = var.database
  query       = each.value.sql
}

# For each query the statement that makes a view of it. Terraform stores it and does not run it: Athena works out a view's columns when
# it makes one. README.md has the loop that runs them all; it is run again when a query changes.
resource "aws_athena_named_query" "view" {
  for_each = local.queries

  name        = "create_view_${each.key}"
  description = "Makes the view ${each.key}. ${each.value.description}"
  workgroup   = aws_athena_workgroup.this.id
  database    = var.database
  query       = "CREATE OR REPLACE VIEW \"${var.database}\".\"${each.key}\" AS\n${each.value.sql}"
}
