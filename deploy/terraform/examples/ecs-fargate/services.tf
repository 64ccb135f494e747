# Two task definitions of one image. In each task a first container brings the ledger's tables up to date and ends: of
# several that start at once one migrates and the others wait for it.
resource "aws_ecs_task_definition" "this" {
  for_each = local.processes

  family                   = "mcp-queue-${each.key}"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = 512
  memory                   = 1024
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = module.mcp_queue.role_arns[each.key]

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.cpu_architecture
  }

  # The image declares this directory as a volume of its user, who may therefore write to it.
  volume {
    name = "data"
  }

  container_definitions = jsonencode([
    {
      name                   = "migrate"
      image                  = var.image
      command                = ["ledger", "migrate"]
      essential              = false
      readonlyRootFilesystem = true
      secrets                = [{ name = "LEDGER_URL", valueFrom = aws_secretsmanager_secret.ledger.arn }]
      logConfiguration       = local.log_configuration[each.key]
    },
    {
      name                   = each.key
      image                  = var.image
      entryPoint             = local.entry_point
      command                = [each.key]
      essential              = true
      readonlyRootFilesystem = true
      stopTimeout            = local.stop_timeout
      dependsOn              = [{ containerName = "migrate", condition = "SUCCESS" }]
      portMappings           = [{ containerPort = each.value.port, protocol = "tcp" }]
      mountPoints            = [{ sourceVolume = "data", containerPath = "/var/lib/mcp-queue", readOnly = false }]
      linuxParameters        = { capabilities = { drop = ["ALL"] } }
      environment            = [for name, value in merge(local.settings, each.value.settings) : { name = name, value = value }]
      secrets = [
        for name, arn in merge({ LEDGER_URL = aws_secretsmanager_secret.ledger.arn }, each.value.secrets) :
        { name = name, valueFrom = arn }
      ]
      # ECS does not read the health check of the image.
      healthCheck = {
        command     = ["CMD", "python", "/opt/mcp-queue/healthcheck.py"]
        interval    = 10
        timeout     = 5
        retries     = 3
        startPeriod = 30
      }
      logConfiguration = local.log_configuration[each.key]
    },
  ])

  depends_on = [aws_secretsmanager_secret_version.ledger, aws_secretsmanager_secret_version.callbacks]
}

resource "aws_ecs_service" "gateway" {
  name            = "gateway"
  cluster         = aws_ecs_cluster.this.id
  task_definition = aws_ecs_task_definition.this["gateway"].arn
  launch_type     = "FARGATE"
  desired_count   = 2

  health_check_grace_period_seconds  = 60
  deployment_minimum_healthy_percent = 100

  network_configuration {
    subnets         = var.private_subnet_ids
    security_groups = [aws_security_group.this["gateway"].id]
  }

  load_balancer {
    target_group_arn = aws_lb_target_group.gateway.arn
    container_name   = "gateway"
    container_port   = local.processes.gateway.port
  }

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  # Autoscaling decides.
  lifecycle {
    ignore_changes = [desired_count]
  }

  depends_on = [aws_lb_listener.gateway, aws_iam_role_policy.execution, aws_iam_role_policy_attachment.execution]
}

resource "aws_ecs_service" "consumer" {
  name            = "consumer"
  cluster         = aws_ecs_cluster.this.id
  task_definition = aws_ecs_task_definition.this["consumer"].arn
  launch_type     = "FARGATE"
  desired_count   = 2

  network_configuration {
    subnets         = var.private_subnet_ids
    security_groups = [aws_security_group.this["consumer"].id]
  }

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  # Autoscaling decides.
  lifecycle {
    ignore_changes = [desired_count]
  }

  depends_on = [aws_iam_role_policy.execution, aws_iam_role_policy_attachment.execution]
}

locals {
  log_configuration = {
    for name in keys(local.processes) : name => {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.this[name].name
        awslogs-region        = var.region
        awslogs-stream-prefix = name
      }
    }
  }
}
