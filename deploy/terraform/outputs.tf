output "queue_urls" {
  description = "URLs by the names of `queues` and `dead_letter_queues`, for `url` in the YAML file."
  value       = { for name, queue in local.queues : name => queue.url }
}

output "queue_names" {
  description = "SQS names by the names of `queues` and `dead_letter_queues`, for CloudWatch and for autoscaling."
  value       = { for name, queue in local.queues : name => queue.name }
}

output "payload_bucket" {
  description = "For `payload_bucket` in the YAML file."
  value       = aws_s3_bucket.payloads.bucket
}

output "role_arns" {
  description = "For the service accounts or ECS tasks of gateway and consumer, for the operator, and for KEDA where it has a role."
  value = {
    gateway  = aws_iam_role.gateway.arn
    consumer = aws_iam_role.consumer.arn
    operator = aws_iam_role.operator.arn
    keda     = one([for role in aws_iam_role.keda : role.arn])
  }
}
