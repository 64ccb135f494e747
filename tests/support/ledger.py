"""The ledger on empty databases: a file of SQLite, or a database of a PostgreSQL server that the tests share."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]  # it ships no types
import pytest

from bench.postgres import PostgresServer, postgres_server
from mcp_queue.adapters.ledger.engine.migrate import migrate
from mcp_queue.adapters.ledger.ledger import Ledger, open_ledger
from mcp_queue.adapters.ledger.tables import metadata
from mcp_queue.ports import Clock, Metrics
from mcp_queue.services.enqueueing.submission import LedgerSubmission
from mcp_queue.testing import FakeClock
from tests.support.clock import START
from tests.support.metrics import LedgerCounts

_SERVER = pytest.StashKey[PostgresServer]()
_DATABASE = pytest.StashKey[str]()


def submission_with(ledger: Ledger, clock: Clock, metrics: Metrics) -> LedgerSubmission:
    """Return a submission with ``ledger``."""
    return LedgerSubmission(ledger.tasks, ledger.claims, ledger.held, clock=clock, metrics=metrics)


@dataclass(slots=True, kw_only=True)
class LedgerHarness:
    """A ledger under test, and further processes on the same database."""

    url: str
    clock: FakeClock
    metrics: LedgerCounts
    ledger: Ledger

    def another(self) -> AbstractAsyncContextManager[Ledger]:
        """Open the same database as another process does."""
        return open_ledger(self.url, clock=self.clock, metrics=LedgerCounts())


@asynccontextmanager
async def ledger_harness(url: str) -> AsyncIterator[LedgerHarness]:
    """Open the ledger at ``url`` with a clock that stands still."""
    clock, metrics = FakeClock(START), LedgerCounts()
    async with open_ledger(url, clock=clock, metrics=metrics) as ledger:
        yield LedgerHarness(url=url, clock=clock, metrics=metrics, ledger=ledger)


def shared_postgres(config: pytest.Config) -> PostgresServer:
    """Return the one server of this run of tests; it is started by whoever asks first."""
    if _SERVER not in config.stash:
        running = ExitStack()
        config.stash[_SERVER] = running.enter_context(postgres_server())
        config.add_cleanup(running.close)
    return config.stash[_SERVER]


@asynccontextmanager
async def sqlite_url(directory: Path) -> AsyncIterator[str]:
    """Return the URL of a file that does not exist yet."""
    yield f"sqlite+aiosqlite:///{directory / 'ledger.db'}"


@asynccontextmanager
async def postgres_url(config: pytest.Config) -> AsyncIterator[str]:
    """Return the URL of the shared server's one database; it is emptied after each test, which is quick."""
    server = shared_postgres(config)
    if _DATABASE not in config.stash:
        config.stash[_DATABASE] = await migrated_database(server)
    url = server.url(config.stash[_DATABASE])
    yield url
    await _empty(url)


async def migrated_database(server: PostgresServer) -> str:
    """Make a database with the ledger's tables and return its name."""
    name = await server.create_database()
    await migrate(server.url(name))
    return name


async def _empty(url: str) -> None:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        for table in metadata.tables:
            await connection.execute(f"DELETE FROM {table}")
    finally:
        await connection.close()
