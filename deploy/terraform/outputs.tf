output "lake_uri" {
  description = "Root of the lake: `lake.root`."
  value       = local.lake_uri
}

output "uploads_uri" {
  description = "Where CSV files are uploaded."
  value       = "${local.lake_uri}/raw/"
}

output "work_bucket" {
  description = "Bucket with code, configuration, query results and temporary files."
  value       = module.work.name
}

output "config_uri" {
  description = "The configuration that the jobs run with."
  value       = "${local.artifacts}/conf/production.yaml"
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
  value       = module.catalog.database
}

output "tables" {
  description = "Tables in the database."
  value       = module.catalog.tables
}

output "workgroup" {
  description = "Athena workgroup."
  value       = module.queries.workgroup
}

output "named_queries" {
  description = "Ids of Athena's named queries by name."
  value       = module.queries.named_queries
}

output "views" {
  description = "Ids of Athena's named queries that make the views, by view; run each once."
  value       = module.queries.views
}

output "topic_arn" {
  description = "SNS topic of alerts and alarms."
  value       = module.alerts.topic_arn
}

output "namespace" {
  description = "CloudWatch namespace of the service's metrics."
  value       = local.namespace
}

output "jobs" {
  description = "Glue jobs by what they do."
  value       = merge({ for job in module.streaming_job : "streaming" => job.name }, { for name, job in module.batch_job : name => job.name })
}

output "roles" {
  description = "IAM roles of the jobs by what they do."
  value       = merge({ for job in module.streaming_job : "streaming" => job.role_name }, { for name, job in module.batch_job : name => job.role_name })
}

output "file_events_queue" {
  description = "URL of the queue with events of uploads, null without one."
  value       = one(module.file_events[*].queue_url)
}

output "airflow" {
  description = "How to reach Airflow, null without it."
  value       = one(module.airflow[*].how_to_reach)
}
