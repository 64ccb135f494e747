variable "region" {
  description = "Region of everything."
  type        = string
  default     = "us-east-1"
}

variable "image" {
  description = "Image of mcp-queue in a registry that Fargate reaches, with its tag or digest."
  type        = string
}

variable "cpu_architecture" {
  description = "ARM64 or X86_64; the image has to have it."
  type        = string
  default     = "ARM64"
}

variable "vpc_id" {
  description = "VPC of everything."
  type        = string
}

variable "private_subnet_ids" {
  description = "Subnets of tasks, database and load balancer, in two availability zones at least."
  type        = list(string)
}

variable "client_cidr_blocks" {
  description = "Networks whose clients may reach the load balancer, which is internal to the VPC."
  type        = list(string)
}

variable "certificate_arn" {
  description = "ACM certificate of the load balancer."
  type        = string
}

variable "api_keys" {
  description = "Elements of `gateway.keys`, as `mcp-queue keys create` prints them. They hold hashes, no keys."
  type        = any
}

variable "operators" {
  description = "ARNs of the principals that may take the operator's role, which creates and changes the queues."
  type        = list(string)
}

variable "database_instance_class" {
  description = "Instance class of the ledger's database."
  type        = string
  default     = "db.t4g.medium"
}

variable "max_consumers" {
  description = "Most consumers that autoscaling starts."
  type        = number
  default     = 20
}
