# ---- where and under which name

variable "name" {
  description = "Prefix of every name, so that several deployments live in one account."
  type        = string
  default     = "qsr"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "3 to 20 small letters, digits and hyphens, beginning with a letter: bucket and role names are made from it."
  }
}

variable "region" {
  description = "AWS region of everything."
  type        = string
  default     = "us-east-1"

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "A region such as us-east-1 or ap-southeast-3."
  }
}

variable "tags" {
  description = "More tags for everything; `project` and `managed-by` are there already."
  type        = map(string)
  default     = {}
}

# ---- cost switches

variable "streaming_enabled" {
  description = "false takes Kinesis, Firehose and the streaming job away and leaves the lake and its queries working (portfolio mode)."
  type        = bool
  default     = true
}

variable "kms_enabled" {
  description = "Encrypt lake, stream, topic and logs with a KMS key of one's own: about 1 USD a month and a fee for each 10,000 requests."
  type        = bool
  default     = false
}

variable "budget_usd" {
  description = "Monthly budget of the account's resources with this project's tag; mails at 80 % (forecast) and 100 %. 0 makes none."
  type        = number
  default     = 0

  validation {
    condition     = var.budget_usd >= 0
    error_message = "A budget is 0 (none) or more."
  }
}

# ---- the lake

variable "lake_prefix" {
  description = "The lake's prefix in its bucket."
  type        = string
  default     = "lake"

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9_-]*(/[a-z0-9][a-z0-9_-]*)*$", var.lake_prefix))
    error_message = "Small letters, digits, _ and -, in parts between slashes; no slash at the ends."
  }
}

variable "force_destroy" {
  description = "Let `terraform destroy` remove buckets with all data in them."
  type        = bool
  default     = false
}

variable "raw_days" {
  description = "Raw input (raw/, archive/, raw_stream/) moves to infrequent access after so many days; 0 leaves it."
  type        = number
  default     = 90

  validation {
    condition     = var.raw_days == 0 || var.raw_days >= 30
    error_message = "S3 takes 30 days or more; 0 leaves raw input where it is."
  }
}

variable "log_retention_days" {
  description = "How long logs are kept in CloudWatch."
  type        = number
  default     = 30

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731], var.log_retention_days)
    error_message = "One of CloudWatch's own retentions: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731."
  }
}

# ---- the stream

variable "stream_mode" {
  description = "provisioned: pay by the shard and hour. on-demand: pay by the hour and GB, and never think of shards."
  type        = string
  default     = "provisioned"

  validation {
    condition     = contains(["provisioned", "on-demand"], var.stream_mode)
    error_message = "provisioned or on-demand."
  }
}

variable "stream_shards" {
  description = "Shards of a provisioned stream; each takes 1,000 records or 1 MB a second."
  type        = number
  default     = 1

  validation {
    condition     = var.stream_shards >= 1 && floor(var.stream_shards) == var.stream_shards
    error_message = "A whole number of shards, 1 or more."
  }
}

variable "stream_retention_hours" {
  description = "How long the stream keeps a record; what is not read by then is in Firehose's copy only."
  type        = number
  default     = 24

  validation {
    condition     = var.stream_retention_hours >= 24 && var.stream_retention_hours <= 8760
    error_message = "24 to 8760 hours."
  }
}

variable "enhanced_fan_out" {
  description = "Read by enhanced fan-out (sources.kinesis.consumer_type: efo): 2 MiB/s a shard for this service alone, at a charge."
  type        = bool
  default     = false
}

variable "firehose_buffer_mebibytes" {
  description = "Firehose ends a file of raw_stream/ at this size."
  type        = number
  default     = 64

  validation {
    condition     = var.firehose_buffer_mebibytes >= 1 && var.firehose_buffer_mebibytes <= 128
    error_message = "1 to 128 MiB."
  }
}

variable "firehose_buffer_seconds" {
  description = "Firehose ends a file of raw_stream/ at this age."
  type        = number
  default     = 300

  validation {
    condition     = var.firehose_buffer_seconds >= 0 && var.firehose_buffer_seconds <= 900
    error_message = "0 to 900 seconds."
  }
}

variable "file_events_enabled" {
  description = "An SQS queue with an event for every object created below raw/, for those who react to uploads, or for the service (csv_discovery). A queue has one reader."
  type        = bool
  default     = false
}

variable "csv_discovery" {
  description = "How the service finds uploads: list lists raw/; sqs reads the queue of file_events_enabled, for prefixes that hold very many objects (docs/s3.md)."
  type        = string
  default     = "list"

  validation {
    condition     = contains(["list", "sqs"], var.csv_discovery)
    error_message = "list or sqs."
  }

  validation {
    condition     = var.csv_discovery == "list" || var.file_events_enabled
    error_message = "sqs reads the queue that file_events_enabled = true makes."
  }
}

# ---- the catalog

variable "database" {
  description = "Name of the Glue database; null takes `name` with underscores."
  type        = string
  default     = null

  validation {
    condition     = var.database == null || can(regex("^[a-z][a-z0-9_]{0,127}$", var.database))
    error_message = "Small letters, digits and _, beginning with a letter: that is what Athena takes without quotes."
  }
}

variable "dataset" {
  description = "File of conf/datasets/ without its .yaml: columns, types and partition of the clean table come from it."
  type        = string
  default     = "orders"
}

variable "partitions" {
  description = "projection: Athena computes partitions, nothing to register. registered: they stand in Glue, for engines that know no projection; `batch_app catalog` or a crawler registers them."
  type        = string
  default     = "projection"

  validation {
    condition     = contains(["registered", "projection"], var.partitions)
    error_message = "registered or projection."
  }
}

variable "projection_since" {
  description = "The first day of orders that will be in the lake, such as the day of the first apply: with partitions = \"projection\" nobody sees older ones, and a query that names no days costs two listings of S3 for each day since. It can be set back at any time."
  type        = string
  default     = null

  validation {
    condition     = var.projection_since == null || can(formatdate("YYYY", "${var.projection_since}T00:00:00Z"))
    error_message = "A day such as 2026-01-01."
  }

  validation {
    condition     = var.projection_since != null || var.partitions != "projection"
    error_message = "Say with projection_since, such as 2026-01-01, from which day on there are orders: a projection shows no older ones, and costs two listings of S3 a day in each query that names no days. Or set partitions = \"registered\"."
  }
}

variable "crawler_schedule" {
  description = "cron(...) in UTC of a crawler that registers partitions; null makes none. Only with partitions = \"registered\"."
  type        = string
  default     = null

  validation {
    condition     = var.crawler_schedule == null || var.partitions == "registered"
    error_message = "A crawler is for registered partitions; set partitions = \"registered\" or crawler_schedule = null."
  }
}

# ---- the jobs

variable "bundle" {
  description = "The zip of wheels that `make glue-wheels` made; null takes the one in dist/."
  type        = string
  default     = null
}

variable "streaming_job" {
  description = "Workers of the streaming job (autoscaling uses fewer), its weekly maintenance window (UTC, Day:Hour), and when Glue looks whether it runs. scheduled = false leaves starting it to somebody else, such as Airflow's DAG 03."
  type = object({
    worker_type        = optional(string, "G.1X")
    workers            = optional(number, 2)
    maintenance_window = optional(string, "Sun:20")
    scheduled          = optional(bool, true) # not a null schedule: an optional attribute that is null takes its default
    schedule           = optional(string, "cron(0/15 * * * ? *)")
  })
  default = {}

  validation {
    condition     = contains(["G.025X", "G.1X", "G.2X", "G.4X", "G.8X"], var.streaming_job.worker_type)
    error_message = "worker_type is G.025X, G.1X, G.2X, G.4X or G.8X."
  }

  validation {
    condition     = var.streaming_job.workers >= 2
    error_message = "Glue takes two workers at least: the driver's and one executor's."
  }

  validation {
    condition     = can(regex("^(Mon|Tue|Wed|Thu|Fri|Sat|Sun):([01]?[0-9]|2[0-3])$", var.streaming_job.maintenance_window))
    error_message = "maintenance_window is Day:Hour, for example Sun:20."
  }
}

variable "batch_jobs" {
  description = "Batch jobs by name (ingest, compact, vacuum, backfill, audit, catalog): arguments of the command, workers, timeout, and a schedule (cron(...) in UTC; null runs the job only when somebody starts it). What is not given is as in jobs.tf."
  type = map(object({
    command         = optional(string)
    schedule        = optional(string)
    worker_type     = optional(string, "G.1X")
    workers         = optional(number, 2)
    timeout_minutes = optional(number, 120)
  }))
  default = {
    ingest   = {}
    compact  = { schedule = "cron(0 19 * * ? *)" }
    vacuum   = { schedule = "cron(0 22 ? * SUN *)" }
    backfill = {}
    audit    = { schedule = "cron(0 21 * * ? *)" }
    catalog  = {}
  }

  validation {
    condition     = alltrue([for name in keys(var.batch_jobs) : contains(["ingest", "compact", "vacuum", "backfill", "audit", "catalog"], name)])
    error_message = "Jobs are ingest, compact, vacuum, backfill, audit and catalog."
  }

  validation {
    condition     = alltrue([for job in values(var.batch_jobs) : job.workers >= 2])
    error_message = "Glue takes two workers at least: the driver's and one executor's."
  }
}

# ---- queries

variable "athena_scan_limit_gib" {
  description = "An Athena query that scans more is ended; Athena's own minimum is 10 MB."
  type        = number
  default     = 10

  validation {
    condition     = var.athena_scan_limit_gib >= 1
    error_message = "1 GiB or more."
  }
}

variable "athena_result_days" {
  description = "Query results expire after so many days."
  type        = number
  default     = 7

  validation {
    condition     = var.athena_result_days >= 1
    error_message = "1 day or more."
  }
}

# ---- alarms

variable "alert_emails" {
  description = "Who is mailed alerts, alarms and the budget's warnings; each address has to confirm once."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for address in var.alert_emails : can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", address))])
    error_message = "Mail addresses, such as oncall@example.com."
  }
}

variable "opening_hours_utc" {
  description = "From when (inclusive) until when (exclusive) orders must arrive, in hours UTC; no alarm for silence outside of them."
  type        = object({ from = number, until = number })
  default     = { from = 4, until = 15 }

  validation {
    condition     = var.opening_hours_utc.from >= 0 && var.opening_hours_utc.from < var.opening_hours_utc.until && var.opening_hours_utc.until <= 24
    error_message = "0 <= from < until <= 24."
  }
}

# ---- network

variable "network" {
  description = "public: jobs run in Glue's own network and reach AWS over its public endpoints, which costs nothing. private: subnets without a way out, AWS through VPC endpoints (each costs by the hour), no NAT."
  type        = string
  default     = "public"

  validation {
    condition     = contains(["public", "private"], var.network)
    error_message = "public or private."
  }
}

variable "vpc_cidr" {
  description = "Addresses of the VPC, which is made for network = \"private\" and for the Airflow host."
  type        = string
  default     = "10.42.0.0/20"

  validation {
    condition     = can(cidrsubnet(var.vpc_cidr, 4, 3))
    error_message = "An IPv4 range such as 10.42.0.0/20, large enough for four parts."
  }
}

variable "availability_zones" {
  description = "Zones of the subnets; empty takes the region's first two."
  type        = list(string)
  default     = []
}

# ---- Airflow

variable "airflow_enabled" {
  description = "One EC2 machine with Airflow, reached by SSM only."
  type        = bool
  default     = false

  validation {
    condition     = !var.airflow_enabled || var.network == "public"
    error_message = "The host installs Airflow from PyPI at its first start, for which network = \"public\" is needed; use MWAA in a private network."
  }
}

variable "airflow_instance_type" {
  description = "Machine of the Airflow host; Airflow wants 4 GiB."
  type        = string
  default     = "t3.medium"
}

variable "airflow_ami_id" {
  description = "Image of the host; null takes Canonical's newest Ubuntu 24.04."
  type        = string
  default     = null

  validation {
    condition     = var.airflow_ami_id == null || can(regex("^ami-[0-9a-f]{8,17}$", var.airflow_ami_id))
    error_message = "An image such as ami-0123456789abcdef0."
  }
}
