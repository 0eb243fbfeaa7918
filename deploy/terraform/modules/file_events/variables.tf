variable "name" {
  description = "The queue's name."
  type        = string
}

variable "bucket" {
  description = "The lake's bucket."
  type        = string
}

variable "bucket_arn" {
  description = "Its ARN."
  type        = string
}

variable "prefix" {
  description = "Events are sent for objects below it."
  type        = string
}

variable "account_id" {
  description = "The account that owns the bucket."
  type        = string
}

variable "kms_key_arn" {
  description = "Encrypt messages with this key; null takes SQS's own."
  type        = string
  default     = null
}
