output "database" {
  description = "The Glue database's name."
  value       = aws_glue_catalog_database.this.name
}

output "tables" {
  description = "Names of the tables."
  value       = sort([for table in aws_glue_catalog_table.this : table.name])
}

output "crawler" {
  description = "The crawler's name, null without one."
  value       = one(aws_glue_crawler.this[*].name)
}
