"""Counts crashes against the task that caused them.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add a table that programs of 0001 do not know, and leave alone."""
    op.create_table(
        "suspects",
        sa.Column("task_id", sa.Text, primary_key=True),
        sa.Column("redrive_count", sa.Integer, primary_key=True),
        sa.Column("attempt", sa.Integer, primary_key=True),
        sa.Column("starts", sa.Integer, nullable=False),
        sa.Column("marked_at", sa.BigInteger, nullable=False),
    )
    op.create_index("suspects_marked", "suspects", ["marked_at"])
