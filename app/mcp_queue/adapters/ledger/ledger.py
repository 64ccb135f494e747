"""Puts the stores of the ledger together, around one database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from sqlalchemy import make_url

from mcp_queue.adapters.ledger.audit import SqlAuditLog
from mcp_queue.adapters.ledger.dead_letters.notifications import SqlNotificationOutbox
from mcp_queue.adapters.ledger.dead_letters.redrives import SqlRedriveStore
from mcp_queue.adapters.ledger.dead_letters.store import SqlDeadLetterStore
from mcp_queue.adapters.ledger.destinations import SqlDestinations
from mcp_queue.adapters.ledger.engine.database import Database
from mcp_queue.adapters.ledger.engine.postgres import PostgresDatabase
from mcp_queue.adapters.ledger.engine.sqlite import SqliteDatabase
from mcp_queue.adapters.ledger.engine.write_behind import WriteBehindBuffer
from mcp_queue.adapters.ledger.queue_marks import SqlQueueMarks
from mcp_queue.adapters.ledger.schedules import SqlScheduleStore
from mcp_queue.adapters.ledger.tasks.claims import SqlIdempotencyStore
from mcp_queue.adapters.ledger.tasks.executions import SqlExecutionLog
from mcp_queue.adapters.ledger.tasks.held import SqlHeldTasks
from mcp_queue.adapters.ledger.tasks.store import SqlTaskStore
from mcp_queue.domain.errors import LedgerUnavailableError
from mcp_queue.ports import Clock, LedgerMetrics


class Ledger:
    """Everything that the ledger does, by concern; one database behind all of it."""

    def __init__(self, database: Database, *, clock: Clock, metrics: LedgerMetrics) -> None:
        """Use ``database``; ``open_ledger`` is the way to make one."""
        self._database = database
        self._buffer = WriteBehindBuffer(database, clock=clock, metrics=metrics)
        self.tasks = SqlTaskStore(database, self._buffer, clock=clock, metrics=metrics)
        self.executions = SqlExecutionLog(database, self._buffer, clock=clock, metrics=metrics)
        self.claims = SqlIdempotencyStore(database, self._buffer, clock=clock, metrics=metrics)
        self.held = SqlHeldTasks(database, clock=clock)
        self.schedules = SqlScheduleStore(database, clock=clock)
        self.dead_letters = SqlDeadLetterStore(database, clock=clock)
        self.redrives = SqlRedriveStore(database, clock=clock)
        self.notices = SqlNotificationOutbox(database, clock=clock)
        self.queues = SqlQueueMarks(database, clock=clock)
        self.destinations = SqlDestinations(database)
        self.audit = SqlAuditLog(database)

    @property
    def away(self) -> str | None:
        """Why the ledger is not used at the moment, for operators; ``None`` while it answers."""
        return self._database.away

    @property
    def healthy(self) -> bool:
        """Whether the ledger answers."""
        return self._database.away is None

    async def ping(self) -> None:
        """Return if the ledger answers.

        Raises:
            LedgerUnavailableError: it does not.

        """
        await self.queues.paused()

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        recovery = asyncio.get_running_loop().create_task(self._buffer.run())
        try:
            yield
        finally:
            try:
                for store in (self.tasks, self.executions, self.claims, self.held):
                    await store.aclose()
            finally:
                recovery.cancel()
                await asyncio.wait([recovery])
                await self._save_buffer()

    async def _save_buffer(self) -> None:
        with suppress(LedgerUnavailableError):
            if self.healthy:
                await self._buffer.flush()
        self._buffer.drop()


@asynccontextmanager
async def open_ledger(url: str, *, clock: Clock, metrics: LedgerMetrics) -> AsyncIterator[Ledger]:
    """Open the ledger at ``url`` (``sqlite+aiosqlite:///…`` or ``postgresql+asyncpg://…``).

    A database that does not answer is no error: the ledger is away until it does. A SQLite file is made, and brought
    up to date.

    Raises:
        LedgerSchemaError: the tables are not those of this version of the program.
        ValueError: ``url`` names no database of these kinds.

    """
    database = _database(url, metrics)
    try:
        with suppress(LedgerUnavailableError):  # it was logged, and is tried again every second
            await database.probe()
        ledger = Ledger(database, clock=clock, metrics=metrics)
        async with ledger._running():  # noqa: SLF001  # its life is this function's business alone
            yield ledger
    finally:
        await database.close()


def _database(text: str, metrics: LedgerMetrics) -> Database:
    url = make_url(text)
    if url.drivername == "postgresql+asyncpg":
        return PostgresDatabase(url, metrics)
    if url.drivername == "sqlite+aiosqlite":
        return SqliteDatabase(url, metrics)
    message = f"a ledger is sqlite+aiosqlite or postgresql+asyncpg, not {url.drivername}"
    raise ValueError(message)
