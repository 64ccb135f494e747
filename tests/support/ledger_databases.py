"""Empty databases with the ledger's tables."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]  # it ships no types
import pytest

from mcp_queue.adapters.ledger.engine.migrate import migrate
from mcp_queue.adapters.ledger.tables import metadata
from tests.support.postgres import PostgresServer, shared_postgres

_DATABASE = pytest.StashKey[str]()


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
