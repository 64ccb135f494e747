resource "aws_appautoscaling_target" "gateway" {
  service_namespace  = "ecs"
  scalable_dimension = "ecs:service:DesiredCount"
  resource_id        = "service/${aws_ecs_cluster.this.name}/${aws_ecs_service.gateway.name}"
  min_capacity       = 2
  max_capacity       = 10
}

resource "aws_appautoscaling_policy" "gateway" {
  name               = "mcp-queue-gateway-cpu"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.gateway.service_namespace
  scalable_dimension = aws_appautoscaling_target.gateway.scalable_dimension
  resource_id        = aws_appautoscaling_target.gateway.resource_id

  target_tracking_scaling_policy_configuration {
    target_value       = 70
    scale_in_cooldown  = 300
    scale_out_cooldown = 60

    predefined_metric_specification {
      predefined_metric_type = "ECSServiceAverageCPUUtilization"
    }
  }
}

# Never none: a consumer also sends what is due, stores dead letters and runs redrives.
resource "aws_appautoscaling_target" "consumer" {
  service_namespace  = "ecs"
  scalable_dimension = "ecs:service:DesiredCount"
  resource_id        = "service/${aws_ecs_cluster.this.name}/${aws_ecs_service.consumer.name}"
  min_capacity       = 1
  max_capacity       = var.max_consumers
}

# Messages that wait or are in flight, in all queues that are worked on, for each running consumer. Those in flight
# count, so that consumers are not taken away while they work.
resource "aws_appautoscaling_policy" "consumer" {
  name               = "mcp-queue-consumer-backlog"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.consumer.service_namespace
  scalable_dimension = aws_appautoscaling_target.consumer.scalable_dimension
  resource_id        = aws_appautoscaling_target.consumer.resource_id

  target_tracking_scaling_policy_configuration {
    target_value       = 100
    scale_in_cooldown  = 300
    scale_out_cooldown = 60

    customized_metric_specification {
      dynamic "metrics" {
        for_each = local.backlog

        content {
          id          = metrics.key
          return_data = false

          metric_stat {
            stat = "Average"

            metric {
              namespace   = "AWS/SQS"
              metric_name = metrics.value.metric

              dimensions {
                name  = "QueueName"
                value = metrics.value.queue
              }
            }
          }
        }
      }

      metrics {
        id          = "consumers"
        return_data = false

        metric_stat {
          stat = "Average"

          metric {
            namespace   = "ECS/ContainerInsights"
            metric_name = "RunningTaskCount"

            dimensions {
              name  = "ClusterName"
              value = aws_ecs_cluster.this.name
            }

            dimensions {
              name  = "ServiceName"
              value = aws_ecs_service.consumer.name
            }
          }
        }
      }

      metrics {
        id          = "backlog_per_consumer"
        label       = "Messages for each consumer"
        expression  = "(${join(" + ", keys(local.backlog))}) / consumers"
        return_data = true
      }
    }
  }
}

locals {
  consumed = [for queue in local.queues : module.mcp_queue.queue_names[queue.name] if can(queue.dead_letter_queue)]
  backlog = merge([
    for index, queue in local.consumed : {
      "waiting_${index}"   = { queue = queue, metric = "ApproximateNumberOfMessagesVisible" }
      "in_flight_${index}" = { queue = queue, metric = "ApproximateNumberOfMessagesNotVisible" }
    }
  ]...)
}
