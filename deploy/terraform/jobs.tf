# The Glue jobs, and what they are given: code, configuration and modules, all from this checkout.

locals {
  bundles   = fileset(local.project, "dist/*.gluewheels.zip")
  bundle    = var.bundle != null ? var.bundle : join(" ", [for file in local.bundles : "${local.project}/${file}"])
  artifacts = "s3://${module.work.name}/artifacts"

  # conf/production.yaml with the names of what was made here; everything else stays as that file says.
  production = yamldecode(file("${local.project}/conf/production.yaml"))
  config = merge(local.production, {
    dataset = "datasets/${var.dataset}.yaml"
    suite   = "expectations/${var.dataset}.yaml"
    lake = merge(local.production.lake, {
      root = local.lake_uri
      s3   = merge(local.production.lake.s3, { region = var.region, sse_kms_key_id = local.kms_key })
    })
    sources = merge(local.production.sources, {
      kinesis = merge(local.production.sources.kinesis, {
        enabled       = var.streaming_enabled
        stream        = local.stream_name
        region        = var.region
        consumer_type = var.enhanced_fan_out ? "efo" : "polling"
        consumer_name = var.enhanced_fan_out ? var.name : null
      })
      csv = merge(local.production.sources.csv, {
        discovery = var.csv_discovery
        queue_url = var.csv_discovery == "sqs" ? one(module.file_events[*].queue_url) : null
      })
    })
    alerts = merge(local.production.alerts, { sns_topic_arn = module.alerts.topic_arn })
    metrics = merge(local.production.metrics, {
      cloudwatch = { enabled = true, namespace = local.namespace, region = var.region }
    })
    catalog = merge(local.production.catalog, {
      type       = "glue"
      database   = module.catalog.database
      partitions = var.partitions
      since      = coalesce(var.projection_since, "2020-01-01") # read with a projection only
      region     = var.region
    })
    athena = merge(local.production.athena, {
      database  = module.catalog.database
      workgroup = module.queries.workgroup
      region    = var.region
    })
  })

  batch = {
    ingest = {
      description = "Checks files below raw/ by the gate and loads those that pass; rows that are there already are left out."
      command     = "ingest --skip-existing ${local.lake_uri}/raw/"
    }
    compact = {
      description = "Makes few large files of many small ones."
      command     = "compact --older-than 1d"
    }
    vacuum = {
      description = "Removes what is left over: replaced files, files of nobody, staged files and uploads of killed runs."
      command     = "vacuum"
    }
    catalog = {
      description = "Compares Glue's tables to the dataset and the lake, and registers partitions that are missing."
      command     = "catalog sync"
    }
    backfill = {
      description = "Loads Firehose's copy of the stream where the stream itself was not read."
      command     = "backfill --skip-existing ${local.lake_uri}/raw_stream/"
    }
    audit = {
      description = "Proves that every row is in one place once; fails when it is not."
      command     = "audit"
    }
  }
}

resource "aws_s3_object" "bundle" {
  # checkov:skip=CKV_AWS_186: Objects take the bucket's encryption, which is the KMS key where there is one.
  bucket      = module.work.name
  key         = "artifacts/${basename(local.bundle)}"
  source      = local.bundle
  source_hash = endswith(local.bundle, ".zip") ? filemd5(local.bundle) : null

  lifecycle {
    precondition {
      condition     = endswith(local.bundle, ".gluewheels.zip") && !strcontains(local.bundle, " ")
      error_message = "There is no .gluewheels.zip, or more than one, in dist/: run `make glue-wheels`, or set the variable bundle."
    }
  }
}

resource "aws_s3_object" "script" {
  # checkov:skip=CKV_AWS_186: Objects take the bucket's encryption, which is the KMS key where there is one.
  for_each = fileset("${local.project}/deploy/glue", "*.py")

  bucket  = module.work.name
  key     = "artifacts/glue/${each.key}"
  content = file("${local.project}/deploy/glue/${each.key}")
}

resource "aws_s3_object" "configuration" {
  # checkov:skip=CKV_AWS_186: Objects take the bucket's encryption, which is the KMS key where there is one.
  for_each = merge(
    { "production.yaml" = yamlencode(local.config) },
    { for file in fileset("${local.project}/conf", "{datasets,expectations,queries}/*") : file => file("${local.project}/conf/${file}") },
  )

  bucket  = module.work.name
  key     = "artifacts/conf/${each.key}"
  content = each.value
}

module "streaming_job" {
  source = "./modules/job"
  count  = var.streaming_enabled ? 1 : 0

  name               = "${var.name}-streaming"
  description        = "Kinesis and CSV to clean rows and dead letters, for ever."
  account_id         = local.account_id
  streaming          = true
  arguments          = { for arn in local.stream_trigger : "--TRIGGER" => arn }
  script             = "${local.artifacts}/glue/streaming.py"
  config             = "${local.artifacts}/conf/production.yaml"
  bundle             = "${local.artifacts}/${basename(local.bundle)}"
  temporary          = "s3://${module.work.name}/temporary/streaming/"
  worker_type        = var.streaming_job.worker_type
  workers            = var.streaming_job.workers
  maintenance_window = var.streaming_job.maintenance_window
  schedule           = var.streaming_job.scheduled ? var.streaming_job.schedule : null
  connections        = local.connections
  log_retention_days = var.log_retention_days
  kms_key_arn        = local.kms_key
  statements         = local.access.streaming

  depends_on = [aws_s3_object.bundle, aws_s3_object.script, aws_s3_object.configuration]
}

module "batch_job" {
  source   = "./modules/job"
  for_each = var.batch_jobs

  name               = "${var.name}-${each.key}"
  description        = local.batch[each.key].description
  account_id         = local.account_id
  script             = "${local.artifacts}/glue/batch.py"
  config             = "${local.artifacts}/conf/production.yaml"
  arguments          = { "--COMMAND" = coalesce(each.value.command, local.batch[each.key].command) }
  bundle             = "${local.artifacts}/${basename(local.bundle)}"
  temporary          = "s3://${module.work.name}/temporary/${each.key}/"
  worker_type        = each.value.worker_type
  workers            = each.value.workers
  timeout_minutes    = each.value.timeout_minutes
  schedule           = each.value.schedule
  connections        = local.connections
  log_retention_days = var.log_retention_days
  kms_key_arn        = local.kms_key
  statements         = local.access[each.key]

  depends_on = [aws_s3_object.bundle, aws_s3_object.script, aws_s3_object.configuration]
}

locals {
  # What starts the streaming job again, and what the job itself stops when no start can mend why it ended; none where somebody else does.
  stream_trigger = var.streaming_enabled && var.streaming_job.scheduled ? ["${local.catalog_arn}:trigger/${var.name}-streaming"] : []
  connections    = var.network == "private" ? [module.network[0].glue_connection] : []
}
