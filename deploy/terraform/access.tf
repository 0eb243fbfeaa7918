# Who may do what. Actions follow from the calls that the code makes; tests/deploy holds both equal by running the service and the
# batch jobs and comparing the calls that arrive. "*" stands as a resource only where AWS knows none, with the reason beside it.

locals {
  root = "${module.lake.arn}/${var.lake_prefix}"

  read = { for name, prefixes in local.reads : name => {
    sid       = "Read"
    actions   = ["s3:GetObject"]
    resources = concat([for prefix in prefixes : "${local.root}/${prefix}/*"], [for folder in lookup(local.folders, name, []) : "${local.root}/${folder}"])
  } }

  list = { for name, prefixes in local.reads : name => {
    sid       = "List"
    actions   = ["s3:ListBucket"] # also what turns a missing object into 404 and not 403
    resources = [module.lake.arn]
    conditions = [{
      test     = "StringLike"
      variable = "s3:prefix"
      values   = flatten([for prefix in prefixes : ["${var.lake_prefix}/${prefix}", "${var.lake_prefix}/${prefix}/*"]])
    }]
  } }

  # What each job reads and lists.
  reads = {
    streaming = ["raw", "archive", "clean", "dead_letter", "checkpoints"]
    ingest    = ["raw", "clean", "dead_letter", "checkpoints"]
    backfill  = ["raw", "raw_stream", "clean", "dead_letter", "checkpoints"]
    compact   = local.compacted
    vacuum    = local.compacted
    audit     = ["clean", "dead_letter", "checkpoints"]
    catalog   = ["clean", "dead_letter"]
    # What it moves, and what Athena reads for it: neither checkpoints nor raw_stream, which has personal data as it came.
    airflow = concat(["raw", "archive", "rejected", "clean", "dead_letter"], [for action in local.registered : "compacted"])
  }

  compacted = concat(["clean", "dead_letter", "checkpoints"], [for action in local.registered : "compacted"])

  # What these are told to load is looked up as a file first: without a permission a folder's name would be 403 and not 404.
  folders = { ingest = ["raw"], backfill = ["raw", "raw_stream"] }

  # The sink: multipart uploads that are completed after the ledger's entry, conditional puts of the entry.
  write_tables = {
    sid       = "WriteTables"
    actions   = ["s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:PutObject"]
    resources = ["${local.root}/clean/*", "${local.root}/dead_letter/*"]
  }

  find_uploads = {
    sid       = "FindUploads" # of a writer that was killed; this action knows no condition on the prefix
    actions   = ["s3:ListBucketMultipartUploads"]
    resources = [module.lake.arn]
  }

  write_checkpoints = {
    sid       = "WriteCheckpoints" # Spark's logs, read log and ledger, which are folded and so deleted, too
    actions   = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:PutObject"]
    resources = ["${local.root}/checkpoints/*"]
  }

  remove_files = {
    sid       = "RemoveFiles" # that were replaced, or that nobody owns
    actions   = ["s3:DeleteObject"]
    resources = ["${local.root}/clean/*", "${local.root}/dead_letter/*"]
  }

  archive_uploads = [
    {
      sid       = "ArchiveUploads" # after_commit: archive copies, then deletes
      actions   = ["s3:AbortMultipartUpload", "s3:PutObject"]
      resources = ["${local.root}/archive/*"]
    },
    {
      sid       = "RemoveUploads"
      actions   = ["s3:DeleteObject"]
      resources = ["${local.root}/raw/*"]
    },
  ]

  artifacts_read = {
    sid       = "Artifacts" # script, wheel and configuration
    actions   = ["s3:GetObject"]
    resources = ["${module.work.arn}/artifacts/*"]
  }

  artifacts_list = {
    sid       = "ListArtifacts"
    actions   = ["s3:ListBucket"]
    resources = [module.work.arn]
    conditions = [{
      test     = "StringLike"
      variable = "s3:prefix"
      values   = ["artifacts/*"]
    }]
  }

  # CloudWatch knows no resource for sending; the namespaces are what can be said: Glue's own of the job, and the service's.
  metrics = { for who, namespaces in { streaming = [local.namespace, "Glue"], batch = ["Glue"] } : who => {
    sid        = "Metrics"
    actions    = ["cloudwatch:PutMetricData"]
    resources  = ["*"] # CloudWatch knows no resource for sending
    conditions = [{ test = "StringEquals", variable = "cloudwatch:namespace", values = namespaces }]
  } }

  alert = {
    sid       = "Alert"
    actions   = ["sns:Publish"]
    resources = [module.alerts.topic_arn]
  }

  key_use = [for key in module.key : {
    sid       = "Key"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [key.arn]
  }]

  stream_read = [for stream in module.stream : {
    sid       = "ReadStream"
    actions   = ["kinesis:DescribeStreamSummary", "kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards"]
    resources = [stream.arn]
  }]

  fan_out = flatten([for stream in module.stream : [
    {
      sid       = "FanOutConsumer"
      actions   = ["kinesis:DeregisterStreamConsumer", "kinesis:DescribeStreamConsumer", "kinesis:RegisterStreamConsumer"]
      resources = [stream.arn, "${stream.arn}/consumer/${var.name}:*"]
    },
    {
      sid       = "FanOutRead"
      actions   = ["kinesis:SubscribeToShard"]
      resources = ["${stream.arn}/consumer/${var.name}:*"]
    },
  ] if var.enhanced_fan_out])

  # A run that ends in a way that no start mends keeps its trigger from starting the next one (deploy/glue/streaming.py).
  stop_trigger = [for arn in local.stream_trigger : {
    sid       = "StopOwnTrigger"
    actions   = ["glue:StopTrigger"]
    resources = [arn]
  }]

  # Uploads by S3's event notifications; the queue is the service's alone, so that it may remove messages.
  upload_events = [for queue in module.file_events : {
    sid       = "UploadEvents"
    actions   = ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:ReceiveMessage"]
    resources = [queue.queue_arn]
  } if var.csv_discovery == "sqs"]

  # In a VPC Glue makes the job's network interfaces with the job's role ("Configuring a VPC for your ETL job").
  in_vpc = flatten([for network in module.network : [
    {
      sid       = "Connection"
      actions   = ["glue:GetConnection"]
      resources = ["${local.catalog_arn}:catalog", "${local.catalog_arn}:connection/${network.glue_connection}"]
    },
    {
      sid = "LookAtNetwork"
      actions = [
        "ec2:DescribeNetworkInterfaces", "ec2:DescribeRouteTables", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets",
        "ec2:DescribeVpcAttribute", "ec2:DescribeVpcEndpoints",
      ]
      resources = ["*"] # EC2's Describe calls know no resource
    },
    {
      sid       = "MakeInterface"
      actions   = ["ec2:CreateNetworkInterface"]
      resources = concat(network.subnet_arns, [network.security_group_arn, local.interfaces])
    },
    {
      sid        = "TagInterface"
      actions    = ["ec2:CreateTags", "ec2:DeleteTags"]
      resources  = [local.interfaces]
      conditions = [{ test = "ForAllValues:StringEquals", variable = "aws:TagKeys", values = ["aws-glue-service-resource"] }]
    },
    {
      sid        = "RemoveInterface"
      actions    = ["ec2:DeleteNetworkInterface"]
      resources  = [local.interfaces]
      conditions = [{ test = "ArnEquals", variable = "ec2:Vpc", values = ["${local.ec2_arn}:vpc/${network.vpc_id}"] }]
    },
  ] if var.network == "private"])

  ec2_arn    = "${local.arn}:ec2:${var.region}:${local.account_id}"
  interfaces = "${local.ec2_arn}:network-interface/*" # an interface has no name before it is made

  # Tables are Terraform's; partitions are registered by whoever writes the first rows of one. With projection there are none.
  registered = var.partitions == "registered" ? ["glue:BatchCreatePartition"] : []
  # While a compaction has sent readers of a partition to compacted/, writers copy what they publish there, too.
  copies = [for action in local.registered : {
    sid       = "CopyToMoved"
    actions   = ["s3:PutObject"]
    resources = ["${local.root}/compacted/*"]
  }]
  partitions = {
    compact = flatten([for action in local.registered : [
      {
        sid       = "MovePartitions"
        actions   = ["glue:GetPartition", "glue:GetTable", "glue:UpdatePartition"]
        resources = local.catalog_arns
      },
      {
        sid       = "WriteCompacted"
        actions   = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:ListMultipartUploadParts", "s3:PutObject"]
        resources = ["${local.root}/compacted/*"]
      },
    ]])
    writers = [for actions in chunklist(local.registered, 1) : {
      sid       = "Partitions"
      actions   = concat(actions, ["glue:GetTable"])
      resources = local.catalog_arns
    }]
    catalog = [
      {
        sid       = "Database"
        actions   = ["glue:GetDatabase"]
        resources = slice(local.catalog_arns, 0, 2) # the catalog and the database
      },
      {
        sid       = "Partitions"
        actions   = concat(local.registered, ["glue:GetTable"], [for action in local.registered : "glue:GetPartitions"])
        resources = local.catalog_arns
      },
    ]
  }

  every_job = concat([local.artifacts_read, local.artifacts_list], local.key_use, local.in_vpc)
  batch_job = concat([local.metrics.batch], local.every_job)

  access = {
    streaming = concat(
      [local.read.streaming, local.list.streaming, local.write_tables, local.find_uploads, local.write_checkpoints],
      local.archive_uploads, local.upload_events, local.stream_read, local.fan_out, [local.metrics.streaming, local.alert], local.stop_trigger, local.partitions.writers, local.copies, local.every_job,
    )
    ingest = concat(
      [{
        sid       = "WriteDataDocs"
        actions   = ["s3:PutObject"]
        resources = ["${local.root}/quality/*"]
      }],
      [local.read.ingest, local.list.ingest, local.write_tables, local.find_uploads, local.write_checkpoints],
      [local.alert], local.partitions.writers, local.copies, local.batch_job,
    )
    backfill = concat(
      [local.read.backfill, local.list.backfill, local.write_tables, local.find_uploads, local.write_checkpoints],
      local.partitions.writers, local.copies, local.batch_job,
    )
    compact = concat(
      [local.read.compact, local.list.compact, local.write_tables, local.write_checkpoints],
      [local.remove_files], local.partitions.compact, local.batch_job,
    )
    # It finishes what a compaction left, so it may do what that may, and looks for uploads that nobody will complete.
    vacuum = concat(
      [local.read.vacuum, local.list.vacuum, local.write_tables, local.find_uploads, local.write_checkpoints],
      [local.remove_files], local.partitions.compact, local.batch_job,
    )
    catalog = concat([local.list.catalog], local.partitions.catalog, local.batch_job)
    audit = concat(
      [local.read.audit, local.list.audit, local.find_uploads],
      [{
        sid       = "KeepResult" # which the service sends to CloudWatch with its other figures
        actions   = ["s3:PutObject"]
        resources = ["${local.root}/checkpoints/audit/*"]
      }],
      local.batch_job,
    )

    # Airflow starts jobs, waits for files and puts them where they belong, asks Athena and publishes; its host fetches the DAGs.
    airflow = concat(local.key_use, [
      {
        sid       = "Dags"
        actions   = ["s3:GetObject"]
        resources = ["${module.work.arn}/artifacts/airflow/*"]
      },
      {
        sid        = "ListDags"
        actions    = ["s3:ListBucket"]
        resources  = [module.work.arn]
        conditions = [{ test = "StringLike", variable = "s3:prefix", values = ["artifacts/airflow/*"] }]
      },
      {
        sid       = "Jobs"
        actions   = ["glue:BatchStopJobRun", "glue:GetJob", "glue:GetJobRun", "glue:GetJobRuns", "glue:StartJobRun"]
        resources = [for name in concat(["streaming"], keys(var.batch_jobs)) : "${local.catalog_arn}:job/${var.name}-${name}"]
      },
      local.list.airflow,
      local.read.airflow,
      {
        sid       = "SettleUploads" # loaded ones, and those that the gate refuses
        actions   = ["s3:AbortMultipartUpload", "s3:PutObject"]
        resources = ["${local.root}/archive/*", "${local.root}/rejected/*"]
      },
      {
        sid       = "RemoveUploads"
        actions   = ["s3:DeleteObject"]
        resources = ["${local.root}/raw/*"]
      },
      {
        sid       = "Publish" # answers of named queries
        actions   = ["s3:AbortMultipartUpload", "s3:PutObject"]
        resources = ["${module.work.arn}/published/*"]
      },
      {
        sid       = "Queries"
        actions   = ["athena:GetNamedQuery", "athena:GetQueryExecution", "athena:StartQueryExecution", "athena:StopQueryExecution"]
        resources = ["${local.arn}:athena:${var.region}:${local.account_id}:workgroup/${module.queries.workgroup}"]
      },
      {
        sid       = "QueryResults"
        actions   = ["s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"]
        resources = ["${module.work.arn}/athena/*"]
      },
      {
        sid       = "ResultsBucket"
        actions   = ["s3:GetBucketLocation"]
        resources = [module.work.arn]
      },
      {
        sid       = "Tables"
        actions   = ["glue:GetDatabase", "glue:GetPartitions", "glue:GetTable", "glue:GetTables"]
        resources = local.catalog_arns
      },
      {
        sid       = "LagAndFreshness"
        actions   = ["cloudwatch:GetMetricData"]
        resources = ["*"] # CloudWatch knows no resource for reading metrics
      },
      {
        sid       = "Alert"
        actions   = ["sns:Publish"]
        resources = [module.alerts.topic_arn]
      },
    ])
  }
}
