output "queue_urls" {
  description = "URLs by the names of `queues` and `dead_letter_queues`, for `url` in the YAML file."
  value       = { for name, queue in local.queues : name => queue.url }
}

output "payload_bucket" {
  description = "For `payload_bucket` in the YAML file."
  value       = aws_s3_bucket.payloads.bucket
}

output "role_arns" {
  description = "For the service accounts in deploy/kubernetes/base, and the operator's."
  value = {
    gateway  = aws_iam_role.gateway.arn
    consumer = aws_iam_role.consumer.arn
    operator = aws_iam_role.operator.arn
  }
}
