# The whole deployment. README.md has a picture; access.tf says who may do what, jobs.tf what runs.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

locals {
  project    = "${path.root}/../.." # conf/, deploy/glue/ and dist/ are taken from the same checkout
  account_id = data.aws_caller_identity.current.account_id
  arn        = "arn:${data.aws_partition.current.partition}"
  database   = coalesce(var.database, replace(var.name, "-", "_"))
  dataset    = yamldecode(file("${local.project}/conf/datasets/${var.dataset}.yaml"))
  kms_key    = one(module.key[*].arn) # null without a key of one's own

  lake_uri      = "s3://${module.lake.name}/${var.lake_prefix}"
  error_prefix  = "${var.lake_prefix}_errors" # beside the lake: a backfill of raw_stream/ must not read it
  stream_name   = "${var.name}-orders"
  namespace     = var.name # of CloudWatch metrics; one for each service
  topic_name    = "${var.name}-alerts"
  raw_prefixes  = var.raw_days == 0 ? [] : ["raw", "archive", "raw_stream"]
  logs_arn      = "${local.arn}:logs:${var.region}:${local.account_id}:log-group"
  catalog_arn   = "${local.arn}:glue:${var.region}:${local.account_id}"
  catalog_arns  = concat(["${local.catalog_arn}:catalog", "${local.catalog_arn}:database/${local.database}"], [for table in ["clean", "dead_letter"] : "${local.catalog_arn}:table/${local.database}/${table}"])
  bucket_suffix = "${local.account_id}-${var.region}" # bucket names are unique in all of AWS
}

module "key" {
  source = "./modules/key"
  count  = var.kms_enabled ? 1 : 0

  name = var.name
}

module "lake" {
  source = "./modules/bucket"

  name          = "${var.name}-lake-${local.bucket_suffix}"
  kms_key_arn   = local.kms_key
  force_destroy = var.force_destroy

  lifecycle_rules = merge(
    { for prefix in local.raw_prefixes : "${prefix}-to-infrequent-access" => {
      prefix                 = "${var.lake_prefix}/${prefix}/"
      infrequent_access_days = var.raw_days
    } },
    # Spark rewrites and removes its logs all day; their old versions are of no use after a week.
    { checkpoints = { prefix = "${var.lake_prefix}/checkpoints/", noncurrent_days = 7 } },
    { errors = { prefix = "${local.error_prefix}/", expire_days = 90 } },
  )
}

# What is no data: the code, the configuration, query results, temporary files.
module "work" {
  source = "./modules/bucket"

  name          = "${var.name}-work-${local.bucket_suffix}"
  kms_key_arn   = local.kms_key
  force_destroy = true

  lifecycle_rules = {
    results   = { prefix = "athena/", expire_days = var.athena_result_days, noncurrent_days = 1 }
    temporary = { prefix = "temporary/", expire_days = 7, noncurrent_days = 1 }
  }
}

module "stream" {
  source = "./modules/stream"
  count  = var.streaming_enabled ? 1 : 0

  name               = local.stream_name
  mode               = var.stream_mode == "on-demand" ? "ON_DEMAND" : "PROVISIONED"
  shards             = var.stream_shards
  retention_hours    = var.stream_retention_hours
  kms_key_arn        = local.kms_key
  bucket_arn         = module.lake.arn
  prefix             = "${var.lake_prefix}/raw_stream"
  error_prefix       = local.error_prefix
  buffer_mebibytes   = var.firehose_buffer_mebibytes
  buffer_seconds     = var.firehose_buffer_seconds
  log_retention_days = var.log_retention_days
}

module "catalog" {
  source = "./modules/catalog"

  name             = var.name
  account_id       = local.account_id
  database         = local.database
  dataset          = local.dataset
  lake_uri         = local.lake_uri
  bucket_arn       = module.lake.arn
  prefix           = var.lake_prefix
  partitions       = var.partitions
  projection_since = var.projection_since
  crawler_schedule = var.crawler_schedule
  catalog_arns     = local.catalog_arns
  logs_arn         = local.logs_arn
  kms_key_arn      = local.kms_key
}

module "queries" {
  source = "./modules/queries"

  name             = var.name
  database         = module.catalog.database
  queries_dir      = "${local.project}/conf/queries"
  results_uri      = "s3://${module.work.name}/athena/"
  scan_limit_bytes = var.athena_scan_limit_gib * 1024 * 1024 * 1024
  kms_key_arn      = local.kms_key
}

module "file_events" {
  source = "./modules/file_events"
  count  = var.file_events_enabled ? 1 : 0

  name        = "${var.name}-file-events"
  bucket      = module.lake.name
  bucket_arn  = module.lake.arn
  prefix      = "${var.lake_prefix}/raw/"
  account_id  = local.account_id
  kms_key_arn = local.kms_key
}

module "alerts" {
  source = "./modules/alerts"

  name              = var.name
  topic_name        = local.topic_name
  emails            = var.alert_emails
  account_id        = local.account_id
  region            = var.region
  namespace         = local.namespace
  streaming_enabled = var.streaming_enabled
  batch_jobs        = [for name in keys(var.batch_jobs) : "${var.name}-${name}"] # by name: the jobs' roles need the topic first
  opening_hours     = var.opening_hours_utc
  budget_usd        = var.budget_usd
  kms_key_arn       = local.kms_key
}

module "network" {
  source = "./modules/network"
  count  = var.network == "private" || var.airflow_enabled ? 1 : 0

  name               = var.name
  region             = var.region
  private            = var.network == "private"
  cidr               = var.vpc_cidr
  availability_zones = var.availability_zones
  streaming_enabled  = var.streaming_enabled
  kms_enabled        = var.kms_enabled
  sqs_enabled        = var.csv_discovery == "sqs"
}

module "airflow" {
  source = "./modules/airflow"
  count  = var.airflow_enabled ? 1 : 0

  name          = "${var.name}-airflow"
  instance_type = var.airflow_instance_type
  ami_id        = var.airflow_ami_id
  vpc_id        = module.network[0].vpc_id
  subnet_id     = module.network[0].subnet_ids[0]
  kms_key_arn   = local.kms_key
  bucket        = module.work.name
  prefix        = "artifacts/airflow"
  dags          = "${local.project}/deploy/airflow/dags"
  requirements  = "${local.project}/deploy/airflow/requirements.txt"
  variables     = { qsr = local.made }
  statements    = local.access.airflow
}

# What the DAGs (deploy/airflow) know of a deployment, by the names of outputs.tf.
locals {
  made = {
    lake_uri      = local.lake_uri
    uploads_uri   = "${local.lake_uri}/raw/"
    config_uri    = "${local.artifacts}/conf/production.yaml"
    work_bucket   = module.work.name
    database      = module.catalog.database
    workgroup     = module.queries.workgroup
    topic_arn     = module.alerts.topic_arn
    namespace     = local.namespace
    named_queries = module.queries.named_queries
    jobs          = merge({ for job in module.streaming_job : "streaming" => job.name }, { for name, job in module.batch_job : name => job.name })
  }
}
