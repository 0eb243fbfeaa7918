output "name" {
  description = "The job's name."
  value       = aws_glue_job.this.name
}

output "arn" {
  description = "The job's ARN."
  value       = aws_glue_job.this.arn
}

output "role_name" {
  description = "The name of the job's role."
  value       = aws_iam_role.this.name
}

output "log_groups" {
  description = "Where the job logs."
  value       = sort([for group in aws_cloudwatch_log_group.this : group.name])
}
