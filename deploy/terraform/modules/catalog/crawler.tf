# Registers partitions by listing the lake. Only for tables with registered partitions whose `catalog sync` nobody runs: it costs
# 0.44 USD an hour of a DPU, ten minutes at least, and sees a new day only when it runs.

resource "aws_glue_crawler" "this" {
  count = var.crawler_schedule == null ? 0 : 1

  # checkov:skip=CKV_AWS_195: A security configuration covers a crawler's logs and bookmarks; it writes no data and logs no rows.
  name          = "${var.name}-partitions"
  description   = "Registers partitions of clean and dead_letter."
  database_name = aws_glue_catalog_database.this.name
  role          = aws_iam_role.crawler[0].arn
  schedule      = var.crawler_schedule

  catalog_target {
    database_name = aws_glue_catalog_database.this.name
    tables        = [for table in aws_glue_catalog_table.this : table.name]
  }

  # Tables are Terraform's: the crawler adds partitions that inherit from them, and never a column or a table.
  schema_change_policy {
    delete_behavior = "LOG"
    update_behavior = "LOG"
  }

  configuration = jsonencode({
    Version       = 1.0
    CrawlerOutput = { Partitions = { AddOrUpdateBehavior = "InheritFromTable" } }
    Grouping      = { TableGroupingPolicy = "CombineCompatibleSchemas" }
  })
}

data "aws_iam_policy_document" "crawler_assume" {
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

resource "aws_iam_role" "crawler" {
  count = var.crawler_schedule == null ? 0 : 1

  name               = "${var.name}-crawler-${data.aws_region.current.name}" # roles are of all regions
  assume_role_policy = data.aws_iam_policy_document.crawler_assume.json
}

data "aws_iam_policy_document" "crawler" {
  statement {
    sid       = "List"
    actions   = ["s3:ListBucket"]
    resources = [var.bucket_arn]

    condition {
      test     = "StringLike"
      variable = "s3:prefix"
      values   = ["${var.prefix}/clean/*", "${var.prefix}/dead_letter/*"]
    }
  }

  statement {
    sid       = "Read"
    actions   = ["s3:GetObject"]
    resources = ["${var.bucket_arn}/${var.prefix}/clean/*", "${var.bucket_arn}/${var.prefix}/dead_letter/*"]
  }

  statement {
    sid = "Register"
    actions = [
      "glue:BatchCreatePartition", "glue:BatchGetPartition", "glue:BatchUpdatePartition", "glue:CreatePartition",
      "glue:GetDatabase", "glue:GetPartition", "glue:GetPartitions", "glue:GetTable", "glue:GetTables", "glue:UpdatePartition",
      "glue:UpdateTable",
    ]
    resources = var.catalog_arns
  }

  statement {
    sid       = "Logs"
    actions   = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${var.logs_arn}:/aws-glue/crawlers", "${var.logs_arn}:/aws-glue/crawlers:*"]
  }

  dynamic "statement" {
    for_each = var.kms_key_arn == null ? [] : [var.kms_key_arn]

    content {
      sid       = "Key"
      actions   = ["kms:Decrypt"]
      resources = [statement.value]
    }
  }
}

resource "aws_iam_role_policy" "crawler" {
  count = var.crawler_schedule == null ? 0 : 1

  name   = "crawl"
  role   = aws_iam_role.crawler[0].id
  policy = data.aws_iam_policy_document.crawler.json
}
