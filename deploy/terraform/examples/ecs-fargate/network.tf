# Who may speak to whom: clients to the load balancer, that to the gateway, both processes to the database and out.
locals {
  security_groups = toset(["load-balancer", "gateway", "consumer", "database"])
  # From, to and port. AWS services and receivers of callbacks lie outside, and are not in this list.
  connections = {
    gateway-requests  = { from = "load-balancer", to = "gateway", port = local.processes.gateway.port }
    gateway-database  = { from = "gateway", to = "database", port = 5432 }
    consumer-database = { from = "consumer", to = "database", port = 5432 }
  }
}

resource "aws_security_group" "this" {
  for_each = local.security_groups

  name_prefix = "mcp-queue-${each.key}-"
  description = "mcp-queue: ${each.key}"
  vpc_id      = var.vpc_id

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "connections" {
  for_each = local.connections

  security_group_id            = aws_security_group.this[each.value.to].id
  referenced_security_group_id = aws_security_group.this[each.value.from].id
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
}

resource "aws_vpc_security_group_egress_rule" "connections" {
  for_each = local.connections

  security_group_id            = aws_security_group.this[each.value.from].id
  referenced_security_group_id = aws_security_group.this[each.value.to].id
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  for_each = toset(var.client_cidr_blocks)

  security_group_id = aws_security_group.this["load-balancer"].id
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

# The gateway speaks to AWS alone.
resource "aws_vpc_security_group_egress_rule" "aws" {
  security_group_id = aws_security_group.this["gateway"].id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

# Callbacks go to any port. CALLBACK_ALLOWED_NETWORKS decides about private addresses.
resource "aws_vpc_security_group_egress_rule" "callbacks" {
  security_group_id = aws_security_group.this["consumer"].id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 1
  to_port           = 65535
}
