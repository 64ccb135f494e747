"""Stores which queues are paused, and when each was purged."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from mcp_queue.adapters.ledger.engine.database import Database
from mcp_queue.adapters.ledger.engine.upserts import upsert
from mcp_queue.adapters.ledger.tables import queue_marks
from mcp_queue.domain.errors import RateLimitedError
from mcp_queue.ports import Clock, QueueMarks


class SqlQueueMarks(QueueMarks):
    """The ``QueueMarks`` of a database."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        """Keep marks in ``database``."""
        self._database = database
        self._clock = clock

    @override
    async def pause(self, queue: str) -> None:
        await self._set_paused(queue, paused=True)

    @override
    async def resume(self, queue: str) -> None:
        await self._set_paused(queue, paused=False)

    @override
    async def paused(self) -> frozenset[str]:
        async def find(connection: AsyncConnection) -> frozenset[str]:
            rows = await connection.execute(select(queue_marks.c.queue).where(queue_marks.c.paused))
            return frozenset(row.queue for row in rows)

        return await self._database.read(find)

    @override
    async def begin_purge(self, queue: str, pause: timedelta) -> datetime:
        now = self._clock.now()

        async def begin(connection: AsyncConnection) -> None:
            await connection.execute(upsert(connection, queue_marks, {"queue": queue}))
            over = or_(queue_marks.c.purged_at.is_(None), queue_marks.c.purged_at <= now - pause)
            this = queue_marks.c.queue == queue
            begun = await connection.execute(update(queue_marks).where(this, over).values(purged_at=now))
            if not begun.rowcount:
                last = (await connection.execute(select(queue_marks.c.purged_at).where(this))).scalar_one()
                raise RateLimitedError("the queue was purged less than a minute ago", last + pause - now)

        await self._database.write(begin, "purge")
        return now

    @override
    async def purge_moments(self) -> Mapping[str, datetime]:
        async def find(connection: AsyncConnection) -> dict[str, datetime]:
            rows = await connection.execute(select(queue_marks).where(queue_marks.c.purged_at.is_not(None)))
            return {row.queue: row.purged_at for row in rows}

        return await self._database.read(find)

    async def _set_paused(self, queue: str, *, paused: bool) -> None:
        async def store(connection: AsyncConnection) -> None:
            values = {"queue": queue, "paused": paused}
            await connection.execute(upsert(connection, queue_marks, values, replaced=("paused",)))

        await self._database.write(store, "pause")
