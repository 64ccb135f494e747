# The queues that deploy/kubernetes/base names.
provider "aws" {
  region = "us-east-1"
}

variable "cluster_name" {
  description = "EKS cluster whose service accounts take the roles, by Pod Identity."
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
  source = "../../"

  queues = {
    tasks          = { dead_letter_queue = "dlq" }
    priority-tasks = { dead_letter_queue = "priority-dlq", fifo = true }
  }
  dead_letter_queues = {
    dlq          = {}
    priority-dlq = { fifo = true }
  }

  # A cluster without the Pod Identity agent gives the ARN of its OIDC provider instead: { oidc_provider_arn = "…" }.
  run_by        = { pod_identity = var.cluster_name }
  keda          = {}
  operators     = var.operators
  alarm_actions = [aws_sns_topic.alarms.arn]
}

output "mcp_queue" {
  value = module.mcp_queue
}
