variable "name" {
  description = "Name of the deployment."
  type        = string
}

variable "topic_name" {
  description = "The topic for what wakes somebody up; `-tickets` is appended for the rest."
  type        = string
}

variable "emails" {
  description = "Who is mailed."
  type        = list(string)
}

variable "account_id" {
  description = "The account whose alarms and budgets may publish."
  type        = string
}

variable "region" {
  description = "The dashboard's region."
  type        = string
}

variable "namespace" {
  description = "CloudWatch namespace of the service's metrics."
  type        = string
}

variable "streaming_enabled" {
  description = "Without streaming there is nothing to watch: topics only."
  type        = bool
}

variable "batch_jobs" {
  description = "Names of the Glue batch jobs whose failures are told."
  type        = list(string)
}

variable "opening_hours" {
  description = "Hours (UTC) in which orders must arrive."
  type        = object({ from = number, until = number })
}

variable "budget_usd" {
  description = "Monthly budget; 0 makes none."
  type        = number
}

variable "kms_key_arn" {
  description = "Encrypt the topics with this key; null leaves them to SNS."
  type        = string
  default     = null
}
