"""Runs the ledger on PostgreSQL, for any number of machines."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import cast

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from typing_extensions import override

from mcp_queue.adapters.ledger.engine.bulk import Bulk, Row, columnwise
from mcp_queue.adapters.ledger.engine.database import Database
from mcp_queue.adapters.ledger.engine.migrate import check, touch
from mcp_queue.ports import LedgerMetrics

#: Time limits of the server's side.
STATEMENT_LIMIT = timedelta(seconds=5)
LOCK_LIMIT = timedelta(seconds=3)
_CONNECT_LIMIT = timedelta(seconds=5)
_CONNECTIONS = 10


class PostgresDatabase(Database):
    """A bounded pool of connections, every statement of which has a time limit at the server."""

    def __init__(self, url: URL, metrics: LedgerMetrics) -> None:
        """Connect to ``url`` when needed."""
        super().__init__(metrics)
        self._engine = create_async_engine(
            url,
            pool_size=_CONNECTIONS,
            max_overflow=0,
            pool_timeout=_CONNECT_LIMIT.total_seconds(),
            connect_args={"timeout": _CONNECT_LIMIT.total_seconds(), "server_settings": _server_settings()},
            hide_parameters=True,
        )
        # A statement that is atomic by itself needs no BEGIN and COMMIT: two round trips less.
        self._autocommit = self._engine.execution_options(isolation_level="AUTOCOMMIT")

    @override
    async def bulk(self, connection: AsyncConnection, statement: Bulk, rows: Sequence[Row]) -> list[Row]:
        if not rows:
            return []
        result = await connection.exec_driver_sql(statement.for_postgres(), columnwise(rows))
        return cast("list[Row]", list(result.fetchall())) if result.returns_rows else []

    @override
    async def close(self) -> None:
        await self._engine.dispose()

    @override
    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        async with self._engine.connect() as connection, connection.begin():
            yield connection

    @override
    @asynccontextmanager
    async def _writing(self, *, durable: bool) -> AsyncIterator[AsyncConnection]:  # PostgreSQL commits in groups itself
        async with self._engine.connect() as connection, connection.begin():
            yield connection

    @override
    async def _alone(self, statement: Bulk, rows: Sequence[Row]) -> None:
        async with self._autocommit.connect() as connection:
            await self.bulk(connection, statement, rows)

    @override
    async def _prepare(self) -> None:
        async with self._engine.connect() as connection, connection.begin():
            await connection.run_sync(check)
            await connection.run_sync(touch)


def _server_settings() -> dict[str, str]:
    return {
        "application_name": "mcp-queue",
        "statement_timeout": _milliseconds(STATEMENT_LIMIT),
        "lock_timeout": _milliseconds(LOCK_LIMIT),
        "idle_in_transaction_session_timeout": _milliseconds(STATEMENT_LIMIT * 2),
        # Compiling takes longer than any statement here runs.
        "jit": "off",
    }


def _milliseconds(value: timedelta) -> str:
    return str(value // timedelta(milliseconds=1))
