variable "name" {
  description = "Name of the deployment."
  type        = string
}

variable "region" {
  description = "The region, for the names of endpoint services."
  type        = string
}

variable "private" {
  description = "Subnets without a way out, and VPC endpoints; otherwise public subnets."
  type        = bool
}

variable "cidr" {
  description = "Addresses of the VPC."
  type        = string
}

variable "availability_zones" {
  description = "Zones of the subnets; empty takes the region's first two."
  type        = list(string)
  default     = []
}

variable "streaming_enabled" {
  description = "Whether Kinesis is called."
  type        = bool
}

variable "kms_enabled" {
  description = "Whether KMS is called."
  type        = bool
}

variable "sqs_enabled" {
  description = "Whether SQS is called."
  type        = bool
}
