variable "name" {
  description = "Name of the deployment."
  type        = string
}

variable "account_id" {
  description = "The account, for the trust policy of the crawler's role."
  type        = string
}

variable "database" {
  description = "The Glue database's name."
  type        = string
}

variable "dataset" {
  description = "The dataset's own file (conf/datasets/*.yaml), decoded: description, partition_column, columns with name and type."
  type        = any
}

variable "lake_uri" {
  description = "s3://bucket/prefix of the lake, without a slash at its end."
  type        = string
}

variable "bucket_arn" {
  description = "The lake's bucket."
  type        = string
}

variable "prefix" {
  description = "The lake's prefix in its bucket."
  type        = string
}

variable "partitions" {
  description = "registered or projection."
  type        = string
}

variable "projection_since" {
  description = "First day that a projection knows, YYYY-MM-DD; null with registered partitions."
  type        = string
  default     = null
}

variable "crawler_schedule" {
  description = "cron(...) of the crawler; null makes none."
  type        = string
  default     = null
}

variable "catalog_arns" {
  description = "ARNs of catalog, database and tables, for the crawler's role."
  type        = list(string)
}

variable "logs_arn" {
  description = "arn:...:log-group, to which a log group's name is appended."
  type        = string
}

variable "kms_key_arn" {
  description = "The lake's KMS key, null without one."
  type        = string
  default     = null
}
