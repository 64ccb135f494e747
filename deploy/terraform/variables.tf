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
    max_message_age    = optional(number, 3600) # seconds; the alarm goes off when the oldest message is older
  }))

  validation {
    condition     = alltrue([for queue in var.queues : queue.visibility_timeout <= 43200])
    error_message = "SQS hides a message for 12 hours (43200 seconds) at most."
  }

  validation {
    condition     = alltrue([for queue in var.queues : queue.max_message_age < 864000])
    error_message = "A queue keeps its messages for 10 days (864000 seconds); the alarm has to go off before."
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

variable "cloudwatch_age" {
  description = "Whether `cloudwatch_age` is on for a queue in the YAML file. Gateway and consumer may then read CloudWatch metrics."
  type        = bool
  default     = false
}

variable "run_by" {
  description = "What runs the processes, and so may take their roles. One of the three is enough; several may be set while moving from one to another."
  type = object({
    oidc_provider_arn = optional(string)      # EKS, IAM roles for service accounts: the cluster's IAM OIDC provider
    pod_identity      = optional(string)      # EKS, Pod Identity: the name of the cluster
    ecs               = optional(bool, false) # ECS tasks of this account and region
  })

  validation {
    condition     = var.run_by.oidc_provider_arn != null || var.run_by.pod_identity != null || var.run_by.ecs
    error_message = "Set oidc_provider_arn, pod_identity or ecs: without one nobody could take the roles."
  }
}

variable "namespace" {
  description = "Kubernetes namespace of the service accounts mcp-queue-gateway and mcp-queue-consumer."
  type        = string
  default     = "mcp-queue"
}

variable "keda" {
  description = "Service account of KEDA's operator, to make a role for it that reads the depth of the queues; null makes none."
  type = object({
    namespace       = optional(string, "keda")
    service_account = optional(string, "keda-operator")
  })
  default = null
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
