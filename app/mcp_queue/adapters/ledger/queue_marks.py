"""What holds for a queue in every process."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from mcp_queue.adapters.ledger.engine.database import Database
from mcp_queue.adapters.ledger.engine.upserts import upsert
from mcp_queue.adapters.ledger.tables import queue_marks
from mcp_queue.domain.errors import TryLaterError
from mcp_queue.ports import Clock


class SqlQueueMarks:
    """The ``QueueMarks`` of a database."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        """Keep marks in ``database``."""
        self._database = database
        self._clock = clock

    async def pause(self, queue: str) -> None:
        """Stop consumers from receiving from ``queue``."""
        await self._set_paused(queue, paused=True)

    async def resume(self, queue: str) -> None:
        """Let consumers receive from ``queue`` again."""
        await self._set_paused(queue, paused=False)

    async def paused(self) -> frozenset[str]:
        """Return the names of all paused queues."""

        async def find(connection: AsyncConnection) -> frozenset[str]:
            rows = await connection.execute(select(queue_marks.c.queue).where(queue_marks.c.paused))
            return frozenset(row.queue for row in rows)

        return await self._database.read(find)

    async def begin_purge(self, queue: str, pause: timedelta) -> datetime:
        """Note that a purge begins and return its moment.

        Raises:
            TryLaterError: the last one began less than ``pause`` ago.

        """
        now = self._clock.now()

        async def begin(connection: AsyncConnection) -> None:
            await connection.execute(upsert(connection, queue_marks, {"queue": queue}))
            over = or_(queue_marks.c.purged_at.is_(None), queue_marks.c.purged_at <= now - pause)
            this = queue_marks.c.queue == queue
            begun = await connection.execute(update(queue_marks).where(this, over).values(purged_at=now))
            if not begun.rowcount:
                last = (await connection.execute(select(queue_marks.c.purged_at).where(this))).scalar_one()
                raise TryLaterError("the queue was purged a moment ago", last + pause - now)

        await self._database.write(begin, "purge")
        return now

    async def purge_moments(self) -> Mapping[str, datetime]:
        """Return when each queue was purged last."""

        async def find(connection: AsyncConnection) -> dict[str, datetime]:
            rows = await connection.execute(select(queue_marks).where(queue_marks.c.purged_at.is_not(None)))
            return {row.queue: row.purged_at for row in rows}

        return await self._database.read(find)

    async def _set_paused(self, queue: str, *, paused: bool) -> None:
        async def store(connection: AsyncConnection) -> None:
            values = {"queue": queue, "paused": paused}
            await connection.execute(upsert(connection, queue_marks, values, replaced=("paused",)))

        await self._database.write(store, "pause")
