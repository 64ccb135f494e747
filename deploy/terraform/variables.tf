variable "name_prefix" {
  description = "What the name of everything begins with."
  type        = string
  default     = "mcp-queue-"
}

variable "queues" {
  description = "The queues that tasks are put into, by name without prefix and `.fifo`. The defaults are those of mcp-queue."
  type = map(object({
    dead_letter_queue  = string
    fifo               = optional(bool, false)
    visibility_timeout = optional(number, 300)  # seconds
    max_receive_count  = optional(number)       # 3; 100 on FIFO queues, where every wait of a task is a receive
    max_message_age    = optional(number, 3600) # seconds, after which the alarm goes off
  }))

  validation {
    condition     = alltrue([for queue in var.queues : queue.visibility_timeout <= 43200])
    error_message = "SQS hides a message for 12 hours (43200 seconds) at most."
  }
}

variable "dead_letter_queues" {
  description = "The queues that take what cannot succeed, by name without prefix and `.fifo`. SQS moves messages only to a queue of the same kind."
  type = map(object({
    fifo = optional(bool, false)
  }))
}

variable "payload_retention_days" {
  description = "Days after which a payload in S3 expires, unless it belongs to a dead letter."
  type        = number
  default     = 30

  validation {
    condition     = var.payload_retention_days > 14
    error_message = "A message may wait 14 days in its queue; its payload has to outlive it."
  }
}

variable "without_ledger" {
  description = "Whether mcp-queue runs with LEDGER_URL=none. The gateway then reads dead letters from their queues."
  type        = bool
  default     = false
}

variable "oidc_provider_arn" {
  description = "IAM OIDC provider of the EKS cluster whose service accounts take the roles."
  type        = string
}

variable "namespace" {
  description = "Kubernetes namespace of the service accounts mcp-queue-gateway and mcp-queue-consumer."
  type        = string
  default     = "mcp-queue"
}

variable "operators" {
  description = "ARNs of the principals that may take the operator's role, which creates and changes the queues (`mcp-queue queues apply`)."
  type        = list(string)
}

variable "alarm_actions" {
  description = "ARNs that the alarms notify, such as an SNS topic."
  type        = list(string)
  default     = []
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
}
