# The roles. The gateway puts tasks in; the consumer takes them out, sends retries and handles dead letters; the operator
# creates and changes queues, and touches no message; KEDA reads depths. Batch calls are allowed by the action of their
# single form. Who may take the roles stands in trust.tf.
locals {
  task_arns        = [for queue in aws_sqs_queue.tasks : queue.arn]
  dead_letter_arns = [for queue in aws_sqs_queue.dead_letters : queue.arn]
  role_arns = merge(
    { gateway = aws_iam_role.gateway.arn, consumer = aws_iam_role.consumer.arn },
    { for name, role in aws_iam_role.keda : name => role.arn },
  )
}

data "aws_iam_policy_document" "gateway" {
  statement {
    sid       = "Tasks"
    actions   = ["sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:PurgeQueue", "sqs:SendMessage"]
    resources = local.task_arns
  }

  statement {
    sid       = "DeadLetterCounts"
    actions   = ["sqs:GetQueueAttributes", "sqs:GetQueueUrl"]
    resources = local.dead_letter_arns
  }

  # With a ledger dead letters are read from there, and sent again from there.
  dynamic "statement" {
    for_each = var.without_ledger ? [true] : []

    content {
      sid = "DeadLetters"
      actions = [
        "sqs:CancelMessageMoveTask",
        "sqs:ChangeMessageVisibility",
        "sqs:DeleteMessage",
        "sqs:ListMessageMoveTasks",
        "sqs:PurgeQueue",
        "sqs:ReceiveMessage",
        "sqs:StartMessageMoveTask",
      ]
      resources = local.dead_letter_arns
    }
  }
}

data "aws_iam_policy_document" "consumer" {
  statement {
    sid = "Tasks"
    actions = [
      "sqs:ChangeMessageVisibility",
      "sqs:DeleteMessage",
      "sqs:GetQueueAttributes",
      "sqs:GetQueueUrl",
      "sqs:ReceiveMessage",
      "sqs:SendMessage",
    ]
    resources = concat(local.task_arns, local.dead_letter_arns)
  }
}

# What both need: payloads in S3, the key, and the age of the oldest message where cloudwatch_age is on.
data "aws_iam_policy_document" "shared" {
  statement {
    sid       = "Payloads"
    actions   = ["s3:GetObject", "s3:PutObject", "s3:PutObjectTagging"]
    resources = ["${aws_s3_bucket.payloads.arn}/*"]
  }

  # Without it S3 answers 403 for a payload that is not there, which cannot be told from a refusal.
  statement {
    sid       = "MissingPayloads"
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.payloads.arn]
  }

  statement {
    sid       = "Key"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [aws_kms_key.this.arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = [for service in ["sqs", "s3"] : "${service}.${local.region}.${data.aws_partition.current.dns_suffix}"]
    }
  }

  # CloudWatch knows no narrower resource.
  dynamic "statement" {
    for_each = var.cloudwatch_age ? [true] : []

    content {
      sid       = "Age"
      actions   = ["cloudwatch:GetMetricStatistics"]
      resources = ["*"]
    }
  }
}

data "aws_iam_policy_document" "keda" {
  statement {
    sid       = "Depths"
    actions   = ["sqs:GetQueueAttributes", "sqs:GetQueueUrl"]
    resources = local.task_arns
  }
}

data "aws_iam_policy_document" "operator" {
  statement {
    sid = "Queues"
    actions = [
      "sqs:CreateQueue",
      "sqs:GetQueueAttributes",
      "sqs:GetQueueUrl",
      "sqs:ListDeadLetterSourceQueues",
      "sqs:ListQueueTags",
      "sqs:SetQueueAttributes",
      "sqs:TagQueue",
      "sqs:UntagQueue",
    ]
    resources = ["arn:${local.partition}:sqs:${local.region}:${local.account}:${var.name_prefix}*"]
  }
}

resource "aws_iam_role" "gateway" {
  name               = "${var.name_prefix}gateway"
  assume_role_policy = data.aws_iam_policy_document.trust["gateway"].json
  tags               = var.tags
}

resource "aws_iam_role_policy" "gateway" {
  for_each = { own = data.aws_iam_policy_document.gateway.json, shared = data.aws_iam_policy_document.shared.json }

  name   = each.key
  role   = aws_iam_role.gateway.id
  policy = each.value
}

resource "aws_iam_role" "consumer" {
  name               = "${var.name_prefix}consumer"
  assume_role_policy = data.aws_iam_policy_document.trust["consumer"].json
  tags               = var.tags
}

resource "aws_iam_role_policy" "consumer" {
  for_each = { own = data.aws_iam_policy_document.consumer.json, shared = data.aws_iam_policy_document.shared.json }

  name   = each.key
  role   = aws_iam_role.consumer.id
  policy = each.value
}

resource "aws_iam_role" "operator" {
  name               = "${var.name_prefix}operator"
  assume_role_policy = data.aws_iam_policy_document.operators.json
  tags               = var.tags
}

resource "aws_iam_role_policy" "operator" {
  name   = "queues"
  role   = aws_iam_role.operator.id
  policy = data.aws_iam_policy_document.operator.json
}

resource "aws_iam_role" "keda" {
  for_each = var.keda == null ? toset([]) : toset(["keda"])

  name               = "${var.name_prefix}keda"
  assume_role_policy = data.aws_iam_policy_document.trust[each.key].json
  tags               = var.tags
}

resource "aws_iam_role_policy" "keda" {
  for_each = aws_iam_role.keda

  name   = "depths"
  role   = each.value.id
  policy = data.aws_iam_policy_document.keda.json
}
