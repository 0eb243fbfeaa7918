# Whom to tell, of what, and by which figures. alarms.tf has the alarms, dashboard.tf the picture.

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
  # page wakes somebody up, ticket can wait for the morning; the service's own alerts go to page.
  topics        = { page = var.topic_name, ticket = "${var.topic_name}-tickets" }
  subscriptions = { for pair in setproduct(keys(local.topics), var.emails) : "${pair[0]} ${pair[1]}" => { topic = pair[0], email = pair[1] } }
}

resource "aws_sns_topic" "this" {
  # checkov:skip=CKV_AWS_26: Encrypted with the deployment's KMS key where there is one; AWS's own key for SNS would shut CloudWatch's alarms out.
  for_each = local.topics

  name              = each.value
  kms_master_key_id = var.kms_key_arn
}

data "aws_iam_policy_document" "topic" {
  for_each = local.topics

  statement {
    sid       = "AlarmsAndBudget"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.this[each.key].arn]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com", "budgets.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.account_id]
    }
  }

  # Without a condition, as EventBridge gives SNS neither the rule nor the account to compare (EventBridge's guide, "Amazon SNS
  # permissions": a topic's policy must have no condition for it). So it is only this topic, which wakes nobody up.
  dynamic "statement" {
    for_each = each.key == "ticket" ? [1] : []

    content {
      sid       = "FailedJobs"
      actions   = ["sns:Publish"]
      resources = [aws_sns_topic.this[each.key].arn]

      principals {
        type        = "Service"
        identifiers = ["events.amazonaws.com"]
      }
    }
  }

  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.this[each.key].arn]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_sns_topic_policy" "this" {
  for_each = local.topics

  arn    = aws_sns_topic.this[each.key].arn
  policy = data.aws_iam_policy_document.topic[each.key].json
}

resource "aws_sns_topic_subscription" "email" {
  for_each = local.subscriptions

  topic_arn = aws_sns_topic.this[each.value.topic].arn
  protocol  = "email"
  endpoint  = each.value.email
}

resource "aws_budgets_budget" "this" {
  count = var.budget_usd > 0 ? 1 : 0

  name         = "${var.name}-${var.region}" # budgets are of all regions
  budget_type  = "COST"
  limit_amount = tostring(var.budget_usd)
  limit_unit   = "USD"
  time_unit    = "MONTHLY"

  # The tag has to be activated once as a cost allocation tag in the billing console.
  cost_filter {
    name   = "TagKeyValue"
    values = [format("user:project$%s", var.name)]
  }

  dynamic "notification" {
    for_each = { FORECASTED = 80, ACTUAL = 100 }

    content {
      comparison_operator       = "GREATER_THAN"
      notification_type         = notification.key
      threshold                 = notification.value
      threshold_type            = "PERCENTAGE"
      subscriber_sns_topic_arns = [aws_sns_topic.this["ticket"].arn]
    }
  }

  depends_on = [aws_sns_topic_policy.this]
}
