variable "name" {
  description = "The job's name, and its role's."
  type        = string
}

variable "description" {
  description = "What the job does."
  type        = string
}

variable "account_id" {
  description = "The account, for the trust policy of the role."
  type        = string
}

variable "streaming" {
  description = "A streaming job that runs for ever, or a batch job that ends."
  type        = bool
  default     = false
}

variable "script" {
  description = "s3:// of the entry point."
  type        = string
}

variable "config" {
  description = "s3:// of the configuration; the script's argument --CONFIG."
  type        = string
}

variable "arguments" {
  description = "More job arguments; they replace the module's own."
  type        = map(string)
  default     = {}
}

variable "bundle" {
  description = "s3:// of the zip of wheels that `make glue-wheels` made, for --additional-python-modules."
  type        = string
}

variable "temporary" {
  description = "s3:// prefix for Glue's temporary files."
  type        = string
}

variable "worker_type" {
  description = "Glue worker type."
  type        = string
}

variable "workers" {
  description = "Most workers; autoscaling takes fewer when there is less to do."
  type        = number
}

variable "timeout_minutes" {
  description = "Batch: the job is ended after so many minutes."
  type        = number
  default     = 120
}

variable "maintenance_window" {
  description = "Streaming: Day:Hour in UTC, within three hours of which Glue may restart the job."
  type        = string
  default     = null
}

variable "schedule" {
  description = "cron(...) in UTC; null runs the job only when somebody starts it."
  type        = string
  default     = null
}

variable "connections" {
  description = "Glue connections, for a network of one's own."
  type        = list(string)
  default     = []
}

variable "log_retention_days" {
  description = "How long logs are kept."
  type        = number
}

variable "kms_key_arn" {
  description = "Encrypt the logs with this key; null takes CloudWatch's own."
  type        = string
  default     = null
}

variable "statements" {
  description = "What the job may do: IAM statements with exact actions and resources."
  type = list(object({
    sid       = string
    actions   = list(string)
    resources = list(string)
    conditions = optional(list(object({
      test     = string
      variable = string
      values   = list(string)
    })), [])
  }))
}
