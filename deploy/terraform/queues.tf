# One key for messages and payloads: who may use it is said in IAM, beside what else they may do.
resource "aws_kms_key" "this" {
  description         = "Tasks of ${var.name_prefix}*"
  enable_key_rotation = true
  tags                = var.tags
}

resource "aws_kms_alias" "this" {
  name          = "alias/${var.name_prefix}tasks"
  target_key_id = aws_kms_key.this.key_id
}

resource "aws_sqs_queue" "dead_letters" {
  for_each = var.dead_letter_queues

  name       = "${var.name_prefix}${each.key}${each.value.fifo ? ".fifo" : ""}"
  fifo_queue = each.value.fifo ? true : null

  # As long as SQS allows: a dead letter waits for a person.
  message_retention_seconds         = 1209600
  kms_master_key_id                 = aws_kms_key.this.arn
  kms_data_key_reuse_period_seconds = 300
  tags                              = var.tags
}

resource "aws_sqs_queue" "tasks" {
  for_each = var.queues

  name       = "${var.name_prefix}${each.key}${each.value.fifo ? ".fifo" : ""}"
  fifo_queue = each.value.fifo ? true : null

  # High throughput: limits hold for each group, not for the queue.
  deduplication_scope   = each.value.fifo ? "messageGroup" : null
  fifo_throughput_limit = each.value.fifo ? "perMessageGroupId" : null

  visibility_timeout_seconds        = each.value.visibility_timeout
  message_retention_seconds         = 1209600
  receive_wait_time_seconds         = 20
  kms_master_key_id                 = aws_kms_key.this.arn
  kms_data_key_reuse_period_seconds = 300
  tags                              = var.tags

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters[each.value.dead_letter_queue].arn
    maxReceiveCount     = coalesce(each.value.max_receive_count, each.value.fifo ? 100 : 3)
  })
}

resource "aws_sqs_queue_redrive_allow_policy" "dead_letters" {
  for_each = var.dead_letter_queues

  queue_url = aws_sqs_queue.dead_letters[each.key].url
  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [for name, queue in var.queues : aws_sqs_queue.tasks[name].arn if queue.dead_letter_queue == each.key]
  })
}

# Who may do what is said by the roles; the queues themselves only insist on TLS.
data "aws_iam_policy_document" "tls" {
  for_each = local.queues

  statement {
    effect    = "Deny"
    actions   = ["sqs:*"]
    resources = [each.value.arn]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_sqs_queue_policy" "tls" {
  for_each = local.queues

  queue_url = each.value.url
  policy    = data.aws_iam_policy_document.tls[each.key].json
}

locals {
  queues = merge(aws_sqs_queue.tasks, aws_sqs_queue.dead_letters)
}
