output "gateway_host" {
  description = "Name of the load balancer. The certificate's own name has to be an alias of it."
  value       = aws_lb.gateway.dns_name
}

output "callback_secret_arn" {
  description = "The secret that callbacks are signed with, for their receivers."
  value       = aws_secretsmanager_secret.callbacks.arn
}

output "mcp_queue" {
  value = module.mcp_queue
}
