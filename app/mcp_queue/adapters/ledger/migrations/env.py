"""Alembic runs this file for every command; the connection, in its transaction, comes from ``migrate.py``."""

from alembic import context

from mcp_queue.adapters.ledger.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
