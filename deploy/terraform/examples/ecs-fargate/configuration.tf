# What both processes read: the YAML file and the variables.
locals {
  settings = {
    AWS_REGION   = var.region
    QUEUE_CONFIG = "/var/lib/mcp-queue/mcp-queue.yaml"
    TMPDIR       = "/var/lib/mcp-queue"
    # The contents of that file: ECS has nothing to mount a file from, so the entry point writes it.
    MCP_QUEUE_YAML = yamlencode({
      queue   = { sqs = { queues = local.queues } }
      gateway = { keys = var.api_keys }
    })
  }
  entry_point = ["sh", "-c", "printf '%s' \"$MCP_QUEUE_YAML\" > \"$QUEUE_CONFIG\" && exec mcp-queue \"$@\"", "mcp-queue"]

  queues = [
    {
      name              = "tasks"
      type              = "standard"
      url               = module.mcp_queue.queue_urls["tasks"]
      dead_letter_queue = "dlq"
      payload_bucket    = module.mcp_queue.payload_bucket
    },
    {
      name              = "priority-tasks"
      type              = "fifo"
      url               = module.mcp_queue.queue_urls["priority-tasks"]
      dead_letter_queue = "priority-dlq"
      payload_bucket    = module.mcp_queue.payload_bucket
    },
    { name = "dlq", type = "standard", url = module.mcp_queue.queue_urls["dlq"] },
    { name = "priority-dlq", type = "fifo", url = module.mcp_queue.queue_urls["priority-dlq"] },
  ]

  # Fargate kills a container 120 s after SIGTERM at the latest. A consumer awaits its long polls (20 s), then its work.
  stop_timeout = 120
  processes = {
    gateway  = { port = 8080, settings = {}, secrets = {} }
    consumer = { port = 8081, settings = { SHUTDOWN_GRACE = "90s" }, secrets = { CALLBACK_SECRETS = aws_secretsmanager_secret.callbacks.arn } }
  }
}

# LEDGER_URL has the password in it, so it is a secret as a whole. Terraform's state holds it too: encrypt the state.
resource "aws_secretsmanager_secret" "ledger" {
  name_prefix = "mcp-queue-ledger-"
}

resource "aws_secretsmanager_secret_version" "ledger" {
  secret_id     = aws_secretsmanager_secret.ledger.id
  secret_string = "postgresql+asyncpg://${aws_db_instance.ledger.username}:${random_password.ledger.result}@${aws_db_instance.ledger.endpoint}/${aws_db_instance.ledger.db_name}?ssl=require"
}

# What callbacks are signed with. Receivers need it as well.
resource "random_bytes" "callbacks" {
  length = 32
}

resource "aws_secretsmanager_secret" "callbacks" {
  name_prefix = "mcp-queue-callbacks-"
}

resource "aws_secretsmanager_secret_version" "callbacks" {
  secret_id     = aws_secretsmanager_secret.callbacks.id
  secret_string = "whsec_${random_bytes.callbacks.base64}"
}
