"""Stores what operators did."""

from typing import Any

from sqlalchemy import Row, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from mcp_queue.adapters.ledger.engine.database import Database
from mcp_queue.adapters.ledger.tables import audit
from mcp_queue.domain.operators.audit import AuditEntry
from mcp_queue.domain.task_states import Page, decode_cursor, encode_cursor
from mcp_queue.ports import AuditLog


class SqlAuditLog(AuditLog):
    """The ``AuditLog`` of a database."""

    def __init__(self, database: Database) -> None:
        """Keep entries in ``database``."""
        self._database = database

    @override
    async def append(self, entry: AuditEntry) -> None:
        added = insert(audit).values(
            at=entry.at, actor=entry.actor, action=entry.action, target=entry.target, touched=entry.count
        )
        await self._database.write(lambda connection: connection.execute(added), "audit")

    @override
    async def list_entries(self, *, limit: int, cursor: str | None = None) -> Page[AuditEntry]:
        statement = select(audit).order_by(audit.c.id.desc()).limit(limit + 1)
        if cursor is not None:
            statement = statement.where(audit.c.id < decode_cursor(cursor, int)[0])

        async def find(connection: AsyncConnection) -> Page[AuditEntry]:
            rows = (await connection.execute(statement)).all()
            following = encode_cursor(rows[limit - 1].id) if len(rows) > limit else None
            return Page(tuple(map(_entry, rows[:limit])), following)

        return await self._database.read(find)


def _entry(row: Row[Any]) -> AuditEntry:
    return AuditEntry(at=row.at, actor=row.actor, action=row.action, target=row.target, count=row.touched)
