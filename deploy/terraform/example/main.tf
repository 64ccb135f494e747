# The queues that deploy/kubernetes/base names.
provider "aws" {
  region = "us-east-1"
}

variable "oidc_provider_arn" {
  description = "IAM OIDC provider of the EKS cluster."
  type        = string
}

variable "operators" {
  description = "ARNs of those who may change queues."
  type        = list(string)
}

resource "aws_sns_topic" "alarms" {
  name = "mcp-queue-alarms"
}

module "mcp_queue" {
  source = "../"

  queues = {
    tasks          = { dead_letter_queue = "dlq" }
    priority-tasks = { dead_letter_queue = "priority-dlq", fifo = true }
  }
  dead_letter_queues = {
    dlq          = {}
    priority-dlq = { fifo = true }
  }
  oidc_provider_arn = var.oidc_provider_arn
  operators         = var.operators
  alarm_actions     = [aws_sns_topic.alarms.arn]
}

output "mcp_queue" {
  value = module.mcp_queue
}
