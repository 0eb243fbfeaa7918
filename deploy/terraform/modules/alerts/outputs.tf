output "topic_arn" {
  description = "The topic for what wakes somebody up."
  value       = aws_sns_topic_policy.this["page"].arn
}

output "ticket_topic_arn" {
  description = "The topic for what can wait."
  value       = aws_sns_topic_policy.this["ticket"].arn
}

output "alarms" {
  description = "Names of the alarms."
  value       = sort(concat([for alarm in aws_cloudwatch_metric_alarm.this : alarm.alarm_name], aws_cloudwatch_metric_alarm.down[*].alarm_name))
}
