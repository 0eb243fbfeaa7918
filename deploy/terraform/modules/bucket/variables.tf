variable "name" {
  description = "The bucket's name, unique in all of AWS."
  type        = string
}

variable "kms_key_arn" {
  description = "Encrypt with this KMS key; null encrypts with S3's own keys."
  type        = string
  default     = null
}

variable "force_destroy" {
  description = "Let `terraform destroy` remove the bucket with everything in it."
  type        = bool
  default     = false
}

variable "incomplete_upload_days" {
  description = "Multipart uploads that were begun and not ended are aborted after so many days."
  type        = number
  default     = 7
}

variable "noncurrent_days" {
  description = "Overwritten and deleted versions are kept for so many days."
  type        = number
  default     = 30
}

variable "lifecycle_rules" {
  description = "More rules by name: what lies below `prefix` expires, or moves to infrequent access, after so many days."
  type = map(object({
    prefix                 = string
    expire_days            = optional(number)
    noncurrent_days        = optional(number)
    infrequent_access_days = optional(number)
  }))
  default = {}
}
