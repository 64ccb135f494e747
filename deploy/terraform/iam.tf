# Three roles. The gateway puts tasks in; the consumer takes them out, sends retries and handles dead letters; the
# operator creates and changes queues, and touches no message. Batch calls are allowed by the action of their single form.
locals {
  task_arns        = [for queue in aws_sqs_queue.tasks : queue.arn]
  dead_letter_arns = [for queue in aws_sqs_queue.dead_letters : queue.arn]
  oidc_issuer      = element(split("oidc-provider/", var.oidc_provider_arn), 1)
}

data "aws_caller_identity" "current" {}

data "aws_region" "current" {}

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

  statement {
    sid       = "Key"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [aws_kms_key.this.arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = [for service in ["sqs", "s3"] : "${service}.${data.aws_region.current.region}.amazonaws.com"]
    }
  }

  # CloudWatch knows no narrower resource.
  statement {
    sid       = "Age"
    actions   = ["cloudwatch:GetMetricStatistics"]
    resources = ["*"]
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
    resources = ["arn:aws:sqs:${data.aws_region.current.region}:${data.aws_caller_identity.current.account_id}:${var.name_prefix}*"]
  }
}

data "aws_iam_policy_document" "service_account" {
  for_each = toset(["gateway", "consumer"])

  statement {
    actions = ["sts:AssumeRoleWithWebIdentity"]

    principals {
      type        = "Federated"
      identifiers = [var.oidc_provider_arn]
    }

    condition {
      test     = "StringEquals"
      variable = "${local.oidc_issuer}:sub"
      values   = ["system:serviceaccount:${var.namespace}:mcp-queue-${each.key}"]
    }

    condition {
      test     = "StringEquals"
      variable = "${local.oidc_issuer}:aud"
      values   = ["sts.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "operators" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "AWS"
      identifiers = var.operators
    }
  }
}

resource "aws_iam_role" "gateway" {
  name               = "${var.name_prefix}gateway"
  assume_role_policy = data.aws_iam_policy_document.service_account["gateway"].json
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
  assume_role_policy = data.aws_iam_policy_document.service_account["consumer"].json
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
