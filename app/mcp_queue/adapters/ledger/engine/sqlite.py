"""Runs the ledger on a SQLite file, for one machine."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Protocol, cast

import aiosqlite
from sqlalchemy import URL, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry
from typing_extensions import override

from mcp_queue.adapters.ledger.engine.bulk import Bulk, Row
from mcp_queue.adapters.ledger.engine.database import TRANSACTION_LIMIT, Database
from mcp_queue.adapters.ledger.engine.faults import Fault, classify
from mcp_queue.adapters.ledger.engine.migrate import touch, upgrade
from mcp_queue.domain.errors import LedgerSchemaError
from mcp_queue.ports import LedgerMetrics

#: How long a write waits for another process's.
LOCK_WAIT = timedelta(seconds=5)
# How long SQLite itself looks for it, at its first, short intervals, before it is asked to look again.
_LOOK = timedelta(milliseconds=5)
_READERS = 4
# Statements are cached by their text, which is another for each number of rows.
_ROWS_AT_ONCE = 64


class SqliteDatabase(Database):
    """One writer, so that no write of this process waits for another in SQLite's own impatient way; some readers.

    Every call of aiosqlite is a hop to its thread and back, which costs more than a row does; hence the statements of
    the hot paths go past SQLAlchemy's cursors, which take four hops each.
    """

    def __init__(self, url: URL, metrics: LedgerMetrics) -> None:
        """Use the file of ``url``."""
        super().__init__(metrics)
        self._path = url.database
        self._writer = _engine(url, connections=1, lock_wait=_LOOK)
        self._reader = _engine(url, connections=_READERS, lock_wait=LOCK_WAIT)

    @override
    async def bulk(self, connection: AsyncConnection, statement: Bulk, rows: Sequence[Row]) -> list[Row]:
        driver = await _driver(connection)
        answer: list[Row] = []
        for some in _in_steps(rows):
            found = await driver.execute_fetchall(statement.for_sqlite(len(some)), _flat(some))
            answer.extend(cast("list[Row]", found))
        return answer

    @override
    async def close(self) -> None:
        await self._reader.dispose()
        await self._writer.dispose()

    @override
    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        async with self._reader.connect() as connection, connection.begin():
            driver = await _driver(connection)
            # A cancelled statement runs on in its thread, so that a time limit of ours alone would end nothing.
            loop = asyncio.get_running_loop()
            watch = loop.call_later(TRANSACTION_LIMIT.total_seconds(), _interrupt, driver)
            try:
                await driver.execute_fetchall("BEGIN")
                yield connection
            finally:
                watch.cancel()

    @override
    @asynccontextmanager
    async def _writing(self, *, durable: bool) -> AsyncIterator[AsyncConnection]:
        async with self._writer.connect() as connection, connection.begin():
            driver = await self._synchronous(connection, durable=durable)
            await _when_free(driver, "BEGIN IMMEDIATE")
            yield connection

    @override
    async def _alone(self, statement: Bulk, rows: Sequence[Row]) -> None:
        async with self._writer.connect() as connection:
            driver = await self._synchronous(connection, durable=False)
            for some in _in_steps(rows):
                await _when_free(driver, statement.for_sqlite(len(some)), _flat(some))

    @override
    async def _prepare(self) -> None:
        try:
            async with self._writing(durable=True) as connection:
                await connection.run_sync(upgrade)
                await connection.run_sync(touch)
        except DBAPIError as error:
            if getattr(error.orig, "sqlite_errorcode", None) != sqlite3.SQLITE_NOTADB:
                raise
            message = f"the ledger's file {self._path} is something else, not a database"
            raise LedgerSchemaError(message) from error

    async def _synchronous(self, connection: AsyncConnection, *, durable: bool) -> aiosqlite.Connection:
        """Let commits wait for the disk, or not: observations that a power cut takes are no loss of a task."""
        pooled = await connection.get_raw_connection()
        driver = cast("aiosqlite.Connection", pooled.driver_connection)
        level = "FULL" if durable else "NORMAL"
        if pooled.info.get("synchronous") != level:
            await driver.execute_fetchall(f"PRAGMA synchronous = {level}")
            pooled.info["synchronous"] = level
        return driver


class _Cursor(Protocol):
    def execute(self, statement: str) -> object: ...

    def close(self) -> None: ...


def _engine(url: URL, *, connections: int, lock_wait: timedelta) -> AsyncEngine:
    engine = create_async_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=TRANSACTION_LIMIT.total_seconds(),
        # Transactions are begun and ended by hand: what comes back to the pool is clean.
        pool_reset_on_return=None,
        connect_args={"isolation_level": None, "timeout": LOCK_WAIT.total_seconds()},
        hide_parameters=True,
    )
    event.listen(engine.sync_engine, "connect", partial(_set_up, lock_wait))
    return engine


def _set_up(lock_wait: timedelta, connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    cursor = cast("_Cursor", connection.cursor())
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA cache_size = -16384")
    cursor.execute("PRAGMA journal_size_limit = 67108864")
    cursor.execute(f"PRAGMA busy_timeout = {lock_wait // timedelta(milliseconds=1)}")
    cursor.close()


async def _when_free(driver: aiosqlite.Connection, statement: str, values: Row = ()) -> None:
    """Run a statement that needs the file's lock, which another process may hold.

    SQLite looks for it at ever longer intervals, up to 100 ms: between two busy processes one might never get it.
    """
    for _ in range(LOCK_WAIT // _LOOK):
        try:
            await driver.execute_fetchall(statement, values)
        except sqlite3.OperationalError as error:
            if classify(error) is not Fault.REPEAT:
                raise
            last = error
        else:
            return
    raise last


async def _driver(connection: AsyncConnection) -> aiosqlite.Connection:
    return cast("aiosqlite.Connection", (await connection.get_raw_connection()).driver_connection)


def _interrupt(driver: aiosqlite.Connection) -> None:
    # It awaits nothing: its first step is its last.
    with suppress(StopIteration):
        driver.interrupt().send(None)


def _in_steps(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        yield rows[start : start + _ROWS_AT_ONCE]


def _flat(rows: Sequence[Row]) -> Row:
    return tuple(value for row in rows for value in row)
