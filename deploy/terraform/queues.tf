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

  # 14 days, as long as SQS allows: a dead letter waits for a person, and on a standard queue its age counts from the
  # moment that the task was first sent.
  message_retention_seconds         = 1209600
  max_message_size                  = 1048576
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

  visibility_timeout_seconds = each.value.visibility_timeout
  # 10 days. It is shorter than that of the dead-letter queue, so that a message that SQS itself moves there late still
  # has some days left.
  message_retention_seconds = 864000
  # 1 MiB is the most that SQS takes. The provider's own default is 256 KiB, which would refuse larger tasks.
  max_message_size                  = 1048576
  receive_wait_time_seconds         = 20
  kms_master_key_id                 = aws_kms_key.this.arn
  kms_data_key_reuse_period_seconds = 300
  tags                              = var.tags

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters[each.value.dead_letter_queue].arn
    # SQS counts every receive. The consumer counts crashes against the task that caused them, and acts first.
    maxReceiveCount = min(1000, coalesce(each.value.max_receive_count, each.value.fifo ? 100 : 3) + 7)
  })

  # A queue that is there already keeps its retention: SQS deletes at once what has waited longer than a new, shorter one.
  lifecycle {
    ignore_changes = [message_retention_seconds]
  }
}

# SQS lists at most ten source queues in this policy. A dead-letter queue of more than ten is open to every queue of the
# account and region.
resource "aws_sqs_queue_redrive_allow_policy" "dead_letters" {
  for_each = local.sources

  queue_url = aws_sqs_queue.dead_letters[each.key].url
  redrive_allow_policy = (
    length(each.value) > 10
    ? jsonencode({ redrivePermission = "allowAll" })
    : jsonencode({ redrivePermission = "byQueue", sourceQueueArns = [for name in each.value : aws_sqs_queue.tasks[name].arn] })
  )
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
  # The names of the queues behind each dead-letter queue.
  sources = {
    for letters in keys(var.dead_letter_queues) :
    letters => [for name, queue in var.queues : name if queue.dead_letter_queue == letters]
  }
}
