output "queue_url" {
  description = "The queue's URL."
  value       = aws_sqs_queue.this.id
}

output "queue_arn" {
  description = "The queue's ARN."
  value       = aws_sqs_queue.this.arn
}
