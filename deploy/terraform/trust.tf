# Who may take the roles: service accounts of an EKS cluster, by IRSA or by Pod Identity, and ECS tasks.
locals {
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.region
  account   = data.aws_caller_identity.current.account_id

  oidc_issuer = try(element(split("oidc-provider/", var.run_by.oidc_provider_arn), 1), null)
  service_accounts = merge(
    { for role in ["gateway", "consumer"] : role => { namespace = var.namespace, name = "mcp-queue-${role}" } },
    { for account in var.keda[*] : "keda" => { namespace = account.namespace, name = account.service_account } },
  )
}

data "aws_partition" "current" {}

data "aws_caller_identity" "current" {}

data "aws_region" "current" {}

# The names of the services and the audience of service account tokens are the same in every partition.
data "aws_iam_policy_document" "trust" {
  for_each = local.service_accounts

  dynamic "statement" {
    for_each = var.run_by.oidc_provider_arn[*]

    content {
      sid     = "ServiceAccount"
      actions = ["sts:AssumeRoleWithWebIdentity"]

      principals {
        type        = "Federated"
        identifiers = [statement.value]
      }

      condition {
        test     = "StringEquals"
        variable = "${local.oidc_issuer}:sub"
        values   = ["system:serviceaccount:${each.value.namespace}:${each.value.name}"]
      }

      condition {
        test     = "StringEquals"
        variable = "${local.oidc_issuer}:aud"
        values   = ["sts.amazonaws.com"]
      }
    }
  }

  dynamic "statement" {
    for_each = var.run_by.pod_identity[*]

    content {
      sid     = "PodIdentity"
      actions = ["sts:AssumeRole", "sts:TagSession"]

      principals {
        type        = "Service"
        identifiers = ["pods.eks.amazonaws.com"]
      }

      condition {
        test     = "StringEquals"
        variable = "aws:SourceAccount"
        values   = [local.account]
      }

      condition {
        test     = "ArnEquals"
        variable = "aws:SourceArn"
        values   = ["arn:${local.partition}:eks:${local.region}:${local.account}:cluster/${statement.value}"]
      }
    }
  }

  # KEDA is no ECS task.
  dynamic "statement" {
    for_each = var.run_by.ecs && each.key != "keda" ? [true] : []

    content {
      sid     = "EcsTask"
      actions = ["sts:AssumeRole"]

      principals {
        type        = "Service"
        identifiers = ["ecs-tasks.amazonaws.com"]
      }

      condition {
        test     = "StringEquals"
        variable = "aws:SourceAccount"
        values   = [local.account]
      }

      condition {
        test     = "ArnLike"
        variable = "aws:SourceArn"
        values   = ["arn:${local.partition}:ecs:${local.region}:${local.account}:*"]
      }
    }
  }
}

# Which service account of the cluster gets which role. The service accounts then need no annotation.
resource "aws_eks_pod_identity_association" "this" {
  for_each = var.run_by.pod_identity == null ? {} : local.service_accounts

  cluster_name    = var.run_by.pod_identity
  namespace       = each.value.namespace
  service_account = each.value.name
  role_arn        = local.role_arns[each.key]
  tags            = var.tags
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
