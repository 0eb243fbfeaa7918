variable "name" {
  description = "Name of the deployment; the key's alias."
  type        = string
}
