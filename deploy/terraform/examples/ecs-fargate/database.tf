# The ledger. Tasks are accepted and executed without it, so a failover costs look-ups and schedules, and no task.
resource "random_password" "ledger" {
  length = 40
  # Nothing that a URL would have to escape.
  special = false
}

resource "aws_db_subnet_group" "ledger" {
  name       = "mcp-queue-ledger"
  subnet_ids = var.private_subnet_ids
}

resource "aws_db_instance" "ledger" {
  identifier     = "mcp-queue-ledger"
  engine         = "postgres"
  engine_version = "17"
  instance_class = var.database_instance_class

  db_name  = "mcp_queue"
  username = "mcp_queue"
  password = random_password.ledger.result

  storage_type          = "gp3"
  allocated_storage     = 20
  max_allocated_storage = 200
  storage_encrypted     = true

  multi_az               = true
  db_subnet_group_name   = aws_db_subnet_group.ledger.name
  vpc_security_group_ids = [aws_security_group.this["database"].id]

  backup_retention_period   = 14
  deletion_protection       = true
  final_snapshot_identifier = "mcp-queue-ledger-final"
}
