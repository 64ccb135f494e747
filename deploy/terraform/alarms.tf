# The alarms that need no Prometheus. Each has its counterpart among the alerts of deploy/prometheus, with a runbook.
resource "aws_cloudwatch_metric_alarm" "age" {
  for_each = var.queues

  alarm_name        = "${aws_sqs_queue.tasks[each.key].name}-age"
  alarm_description = "Tasks wait too long. See McpQueueBacklogAge in docs/operations.md."

  namespace           = "AWS/SQS"
  metric_name         = "ApproximateAgeOfOldestMessage"
  dimensions          = { QueueName = aws_sqs_queue.tasks[each.key].name }
  statistic           = "Maximum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.max_message_age
  period              = 300
  evaluation_periods  = 2
  treat_missing_data  = "notBreaching"

  alarm_actions = var.alarm_actions
  ok_actions    = var.alarm_actions
  tags          = var.tags
}

# Consumers move dead letters into the ledger within seconds. One that stays here is seen by no consumer.
resource "aws_cloudwatch_metric_alarm" "dead_letters" {
  for_each = var.dead_letter_queues

  alarm_name        = "${aws_sqs_queue.dead_letters[each.key].name}-waiting"
  alarm_description = "Dead letters stay in their queue. See McpQueueDeadLetters in docs/operations.md."

  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = aws_sqs_queue.dead_letters[each.key].name }
  statistic           = "Minimum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 300
  evaluation_periods  = 3
  treat_missing_data  = "notBreaching"

  alarm_actions = var.alarm_actions
  ok_actions    = var.alarm_actions
  tags          = var.tags
}

# SQS gives out nothing more once about 120,000 messages of a queue are in flight.
resource "aws_cloudwatch_metric_alarm" "in_flight" {
  for_each = var.queues

  alarm_name        = "${aws_sqs_queue.tasks[each.key].name}-in-flight"
  alarm_description = "The queue nears the limit of messages in flight. See McpQueueNoProgress in docs/operations.md."

  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesNotVisible"
  dimensions          = { QueueName = aws_sqs_queue.tasks[each.key].name }
  statistic           = "Maximum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 100000
  period              = 300
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"

  alarm_actions = var.alarm_actions
  ok_actions    = var.alarm_actions
  tags          = var.tags
}
