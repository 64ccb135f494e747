"""The first schema.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make every table."""
    op.create_table(
        "attempts",
        sa.Column("task_id", sa.Text, primary_key=True),
        sa.Column("redrive_count", sa.Integer, primary_key=True),
        sa.Column("attempt", sa.Integer, primary_key=True),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("duration", sa.Double, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("response_status", sa.Integer),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("touched", sa.Integer),
    )
    op.create_table(
        "claims",
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("queue", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("request_hash", sa.Text, nullable=False),
        sa.Column("task_id", sa.Text, nullable=False),
        sa.Column("token", sa.Text, nullable=False),
        sa.Column("claimed_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("body", sa.LargeBinary),
    )
    _index("claims_expiry", "claims", ["expires_at"])
    op.create_table(
        "dead_letters",
        sa.Column("task_id", sa.Text, primary_key=True),
        sa.Column("redrive_count", sa.Integer, primary_key=True),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("type", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("failure_reason", sa.Text, nullable=False),
        sa.Column("failed_at", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("response_status", sa.Integer),
        sa.Column("stored_at", sa.BigInteger, nullable=False),
        sa.Column("notified_at", sa.BigInteger),
        sa.Column("closed_at", sa.BigInteger),
        sa.Column("closed_by", sa.Text),
        sa.Column("body", sa.Text),
    )
    _index("dead_letters_closed", "dead_letters", ["closed_at"], where="closed_at IS NOT NULL")
    _index("dead_letters_unnotified", "dead_letters", ["stored_at"], where="notified_at IS NULL")
    _index("dead_letters_waiting", "dead_letters", ["queue", "failed_at"], where="state = 'waiting'")
    _index("dead_letters_waiting_type", "dead_letters", ["queue", "type", "failed_at"], where="state = 'waiting'")
    op.create_table(
        "destination_reports",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("consumer", sa.Text, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reported_at", sa.BigInteger, nullable=False),
        sa.Column("figures", sa.Text, nullable=False),
    )
    _index("destination_reports_reported", "destination_reports", ["reported_at"])
    op.create_table(
        "notices",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("notifier", sa.Text, nullable=False),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("type", sa.Text),
        sa.Column("letters", sa.Integer, nullable=False),
        sa.Column("first_failed_at", sa.BigInteger, nullable=False),
        sa.Column("last_failed_at", sa.BigInteger, nullable=False),
        sa.Column("examples", sa.Text, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("next_try_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "paused_destinations",
        sa.Column("name", sa.Text, primary_key=True),
    )
    op.create_table(
        "queue_marks",
        sa.Column("queue", sa.Text, primary_key=True),
        sa.Column("paused", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("purged_at", sa.BigInteger),
    )
    op.create_table(
        "redrives",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("filter", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("matched", sa.Integer, nullable=False),
        sa.Column("max_per_second", sa.Double),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("redriven", sa.Integer, nullable=False),
        sa.Column("failed", sa.Integer, nullable=False),
        sa.Column("cursor", sa.Text),
        sa.Column("leased_until", sa.BigInteger),
        sa.Column("ended_at", sa.BigInteger),
    )
    op.create_table(
        "schedules",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("cron", sa.Text, nullable=False),
        sa.Column("timezone", sa.Text, nullable=False),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("paused", sa.Boolean, nullable=False),
        sa.Column("misfire", sa.Text, nullable=False),
        sa.Column("next_run_at", sa.BigInteger),
        sa.Column("last_run_at", sa.BigInteger),
    )
    op.create_table(
        "tasks",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("queue", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("group_id", sa.Text),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("redrive_count", sa.Integer, nullable=False, server_default="0"),
        sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
        sa.Column("recorded", sa.Integer, nullable=False, server_default="0"),
        sa.Column("superseded", sa.Integer, nullable=False, server_default="0"),
        sa.Column("cancel_requested", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("scheduled_for", sa.BigInteger),
        sa.Column("due_at", sa.BigInteger),
        sa.Column("leased_until", sa.BigInteger),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("next_at", sa.BigInteger),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("max_retries", sa.Integer, nullable=False),
        sa.Column("visibility_timeout", sa.Double),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("callback_url", sa.Text),
        sa.Column("deduplication_id", sa.Text),
        sa.Column("metadata", sa.Text),
        sa.Column("extra", sa.Text),
        sa.Column("traceparent", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("result", sa.Text),
        sa.Column("payload", sa.Text),
    )
    _index("tasks_created", "tasks", ["created_at"])
    _index("tasks_due", "tasks", ["due_at"], where="due_at IS NOT NULL")
    _index(
        "tasks_due_group", "tasks", ["queue", "group_id", "due_at"], where="group_id IS NOT NULL AND due_at IS NOT NULL"
    )
    _index("tasks_ended", "tasks", ["ended_at"], where="ended_at IS NOT NULL")
    _index("tasks_group", "tasks", ["group_id", "created_at"], where="group_id IS NOT NULL")
    _index("tasks_queue", "tasks", ["queue", "created_at"])
    _index("tasks_queue_status", "tasks", ["queue", "status", "created_at"])
    _index("tasks_queue_status_type", "tasks", ["queue", "status", "type", "created_at"])
    _index("tasks_scheduled", "tasks", ["status", "scheduled_for"], where="status = 'scheduled'")
    _index("tasks_status", "tasks", ["status", "created_at"])
    _index("tasks_type", "tasks", ["type", "created_at"])


def _index(name: str, table: str, columns: list[str], where: str | None = None) -> None:
    condition = None if where is None else sa.text(where)
    op.create_index(name, table, columns, postgresql_where=condition, sqlite_where=condition)
