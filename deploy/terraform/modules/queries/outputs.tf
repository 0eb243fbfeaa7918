output "workgroup" {
  description = "The workgroup's name."
  value       = aws_athena_workgroup.this.name
}

output "named_queries" {
  description = "Ids of the named queries by name."
  value       = { for name, query in aws_athena_named_query.this : name => query.id }
}

output "views" {
  description = "Ids of the statements that make the views, by view."
  value       = { for name, query in aws_athena_named_query.view : name => query.id }
}
