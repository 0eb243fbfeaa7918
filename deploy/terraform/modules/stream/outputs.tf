output "name" {
  description = "The stream's name."
  value       = aws_kinesis_stream.this.name
}

output "arn" {
  description = "The stream's ARN."
  value       = aws_kinesis_stream.this.arn
}

output "firehose" {
  description = "The name of the delivery stream."
  value       = aws_kinesis_firehose_delivery_stream.raw.name
}
