variable "name" {
  description = "The stream's name."
  type        = string
}

variable "mode" {
  description = "PROVISIONED or ON_DEMAND."
  type        = string
}

variable "shards" {
  description = "Shards of a provisioned stream."
  type        = number
}

variable "retention_hours" {
  description = "How long the stream keeps a record."
  type        = number
}

variable "kms_key_arn" {
  description = "Encrypt with this key; null takes AWS's own key for Kinesis."
  type        = string
  default     = null
}

variable "bucket_arn" {
  description = "The lake's bucket."
  type        = string
}

variable "prefix" {
  description = "Where Firehose's copy goes, without a slash at its end."
  type        = string
}

variable "error_prefix" {
  description = "Where Firehose writes what it could not deliver, without a slash at its end; outside of what a backfill reads."
  type        = string
}

variable "buffer_mebibytes" {
  description = "Firehose ends a file that has grown so large (1 to 128 MiB)."
  type        = number
}

variable "buffer_seconds" {
  description = "Firehose ends a file that is so old (0 to 900 s)."
  type        = number
}

variable "log_retention_days" {
  description = "How long delivery errors are kept in CloudWatch Logs."
  type        = number
}
