# mcp-queue on ECS Fargate: gateway and consumer as two services, an Application Load Balancer in front of the gateway,
# the ledger on RDS for PostgreSQL, consumers scaled by the backlog of each. It needs a VPC whose private subnets reach
# the internet or have VPC endpoints for SQS, S3, KMS, Secrets Manager, ECR and CloudWatch Logs.
terraform {
  required_version = ">= 1.5"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.8"
    }
    random = {
      source  = "hashicorp/random"
      version = ">= 3.5"
    }
  }
}

provider "aws" {
  region = var.region
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
  run_by        = { ecs = true }
  operators     = var.operators
  alarm_actions = [aws_sns_topic.alarms.arn]
}

resource "aws_sns_topic" "alarms" {
  name = "mcp-queue-alarms"
}

resource "aws_ecs_cluster" "this" {
  name = "mcp-queue"

  # The number of running tasks, by which the backlog is divided, is one of its metrics.
  setting {
    name  = "containerInsights"
    value = "enabled"
  }
}

resource "aws_cloudwatch_log_group" "this" {
  for_each = local.processes

  name              = "/mcp-queue/${each.key}"
  retention_in_days = 30
}
