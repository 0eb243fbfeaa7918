variable "name" {
  description = "The machine's name."
  type        = string
}

variable "instance_type" {
  description = "EC2 instance type."
  type        = string
}

variable "ami_id" {
  description = "The image; null takes Canonical's newest Ubuntu 24.04."
  type        = string
  default     = null
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "subnet_id" {
  description = "A subnet with a way out."
  type        = string
}

variable "kms_key_arn" {
  description = "Encrypt the disk with this key; null takes AWS's own."
  type        = string
  default     = null
}

variable "bucket" {
  description = "The bucket that DAGs and variables are brought in."
  type        = string
}

variable "prefix" {
  description = "Where in it."
  type        = string
}

variable "dags" {
  description = "Folder of DAGs, which are uploaded and brought to the machine within a minute or two."
  type        = string
}

variable "requirements" {
  description = "The lock, with hashes, of Airflow and what the DAGs need; the machine installs exactly that at its first start."
  type        = string
}

variable "variables" {
  description = "Airflow's Variables by name."
  type        = any
}

variable "statements" {
  description = "What Airflow may do: IAM statements with exact actions and resources."
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
