output "lake_uri" {
  description = "Root of the lake: `lake.root`."
  value       = local.made.lake_uri
}

output "uploads_uri" {
  description = "Where CSV files are uploaded."
  value       = local.made.uploads_uri
}

output "work_bucket" {
  description = "Bucket with code, configuration, query results and temporary files."
  value       = local.made.work_bucket
}

output "config_uri" {
  description = "The configuration that the jobs run with."
  value       = local.made.config_uri
}

output "stream" {
  description = "Name of the Kinesis stream, null without streaming."
  value       = one(module.stream[*].name)
}

output "firehose" {
  description = "Name of the Firehose delivery stream, null without streaming."
  value       = one(module.stream[*].firehose)
}

output "database" {
  description = "Glue database with the tables."
  value       = local.made.database
}

output "tables" {
  description = "Tables in the database."
  value       = module.catalog.tables
}

output "workgroup" {
  description = "Athena workgroup."
  value       = local.made.workgroup
}

output "named_queries" {
  description = "Ids of Athena's named queries by name."
  value       = local.made.named_queries
}

output "views" {
  description = "Ids of Athena's named queries that make the views, by view; README.md has the loop that runs them."
  value       = module.queries.views
}

output "topic_arn" {
  description = "SNS topic of alerts and alarms."
  value       = local.made.topic_arn
}

output "namespace" {
  description = "CloudWatch namespace of the service's metrics."
  value       = local.made.namespace
}

output "jobs" {
  description = "Glue jobs by what they do."
  value       = local.made.jobs
}

output "roles" {
  description = "IAM roles of the jobs by what they do."
  value       = merge({ for job in module.streaming_job : "streaming" => job.role_name }, { for name, job in module.batch_job : name => job.role_name })
}

output "policies" {
  description = "IAM policy documents by what may do so (the jobs and airflow), for roles that are made elsewhere: EMR, Kubernetes, MWAA."
  value = { for name, statements in local.access : name => jsonencode({
    Version = "2012-10-17"
    Statement = [for one in statements : merge(
      { Sid = one.sid, Effect = "Allow", Action = one.actions, Resource = one.resources },
      { for conditions in [lookup(one, "conditions", [])] : "Condition" => { for each in conditions : each.test => { (each.variable) = each.values } } if length(conditions) > 0 },
    )]
  }) }
}

output "file_events_queue" {
  description = "URL of the queue with events of uploads, null without one."
  value       = one(module.file_events[*].queue_url)
}

output "airflow" {
  description = "How to reach Airflow, null without it."
  value       = one(module.airflow[*].how_to_reach)
}
