output "vpc_id" {
  description = "The VPC."
  value       = aws_vpc.this.id
}

output "subnet_ids" {
  description = "Its subnets."
  value       = aws_subnet.this[*].id
}

output "subnet_arns" {
  description = "ARNs of its subnets."
  value       = aws_subnet.this[*].arn
}

output "security_group_arn" {
  description = "The jobs' security group, null in a public network."
  value       = one(aws_security_group.jobs[*].arn)
}

output "glue_connection" {
  description = "The Glue connection, null in a public network."
  value       = one(aws_glue_connection.this[*].name)
}
