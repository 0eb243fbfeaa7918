variable "name" {
  description = "The workgroup's name."
  type        = string
}

variable "database" {
  description = "The Glue database that the queries are about."
  type        = string
}

variable "queries_dir" {
  description = "Folder of *.sql files, one SELECT each, whose first comment describes it."
  type        = string
}

variable "results_uri" {
  description = "s3:// prefix for results, with a slash at its end; a lifecycle rule expires what lies there."
  type        = string
}

variable "scan_limit_bytes" {
  description = "A query that scans more is ended."
  type        = number
}

variable "kms_key_arn" {
  description = "Encrypt results with this key; null encrypts with S3's own keys."
  type        = string
  default     = null
}
