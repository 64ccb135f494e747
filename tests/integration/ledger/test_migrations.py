"""The schema: made, compared, and refused where it is another."""

import asyncio
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from bench.postgres import PostgresServer
from mcp_queue.adapters.ledger import migrations
from mcp_queue.adapters.ledger.engine.migrate import migrate, schema_version
from mcp_queue.adapters.ledger.ledger import open_ledger
from mcp_queue.adapters.ledger.tables import SCHEMA_VERSION, metadata
from mcp_queue.domain.errors import LedgerSchemaError
from mcp_queue.domain.task_states import TaskFilter
from tests.support.clock import SECOND
from tests.support.ledger import ledger_harness, postgres_url, sqlite_url
from tests.support.tasks import a_task

# What each of several processes does that start at the same moment with a file that does not exist yet.
_PROCESS = """
import asyncio, sys
from tests.support.tasks import a_task
from tests.support.ledger import ledger_harness
async def main(url, name):
    async with ledger_harness(url) as harness:
        assert harness.ledger.healthy, harness.ledger.away
        for number in range(25):
            await harness.ledger.tasks.record_enqueued([a_task(f"{name}-{number}")])
        assert harness.metrics.failed == [], harness.metrics.failed
asyncio.run(main(*sys.argv[1:]))
"""


def test_program_works_with_the_newest_migration() -> None:
    """Whoever adds a migration has to say that the program needs it."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert SCHEMA_VERSION == ScriptDirectory.from_config(config).get_current_head()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_migrations_make_the_tables_that_the_program_describes(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Columns, types and indexes are the same in both, so that neither is changed without the other."""
    async with sqlite_url(tmp_path) if kind == "sqlite" else postgres_url(request.config) as url:
        await migrate(url)
        engine = create_async_engine(url)
        async with engine.connect() as connection:
            differences = await connection.run_sync(_differences)
        await engine.dispose()
    assert [] == differences


async def test_migrating_twice_is_the_same_as_once(server: PostgresServer) -> None:
    """The command may be run by every deployment, and by two at the same moment."""
    url = server.url(await server.create_database())
    await asyncio.gather(migrate(url), migrate(url), migrate(url))
    await migrate(url)
    async with ledger_harness(url) as harness:
        assert harness.ledger.healthy


async def test_postgres_without_tables_is_an_error_that_names_the_command(server: PostgresServer) -> None:
    """PostgreSQL is never migrated behind its owner's back."""
    url = server.url(await server.create_database())
    with pytest.raises(LedgerSchemaError, match=r"no tables yet.*mcp-queue ledger migrate"):
        async with ledger_harness(url):
            pass


@pytest.mark.parametrize(
    ("version", "message"), [("0000", "schema 0000.*mcp-queue ledger migrate"), ("9999", "newer than this program")]
)
async def test_postgres_of_another_version_is_an_error(url: str, version: str, message: str) -> None:
    """Behind or ahead, the program says which and what to do."""
    await _set_version(url, version)
    with pytest.raises(LedgerSchemaError, match=message):
        async with ledger_harness(url):
            pass


async def test_sqlite_file_of_a_newer_program_is_an_error(tmp_path: Path) -> None:
    """A file that migrates itself does so forwards only."""
    async with sqlite_url(tmp_path) as url:
        async with ledger_harness(url):
            pass
        await _set_version(url, "9999")
        with pytest.raises(LedgerSchemaError, match="newer than this program"):
            async with ledger_harness(url):
                pass
        with pytest.raises(LedgerSchemaError, match="newer than this program"):
            await migrate(url)


async def test_sqlite_file_of_something_else_is_an_error(tmp_path: Path) -> None:
    """What no waiting mends stops the start, and the file is left alone."""
    path, content = tmp_path / "ledger.db", b"something else" * 1000
    path.write_bytes(content)
    with pytest.raises(LedgerSchemaError, match=r"ledger\.db is something else"):
        async with ledger_harness(f"sqlite+aiosqlite:///{path}"):
            pass
    assert content == path.read_bytes()


async def test_sqlite_database_of_something_else_is_an_error(tmp_path: Path) -> None:
    """Nothing is added to another program's tables, be one of them named as one of ours."""
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE tasks (colour TEXT)")
    with pytest.raises(LedgerSchemaError, match="tables of something else: tasks"):
        async with ledger_harness(f"sqlite+aiosqlite:///{path}"):
            pass
    with closing(sqlite3.connect(path)) as connection:
        assert [("tasks",)] == connection.execute("SELECT name FROM sqlite_master").fetchall()


async def test_schema_that_turns_out_to_be_another_later_keeps_the_ledger_away(server: PostgresServer) -> None:
    """A database that was gone at start is used only once it has the right tables."""
    name = await server.create_database()
    server.stop()
    async with ledger_harness(server.url(name)) as harness:
        server.start()
        async with asyncio.timeout(20):
            while "mcp-queue ledger migrate" not in (harness.ledger.away or ""):
                await harness.clock.advance(SECOND)
            await migrate(server.url(name))
            while not harness.ledger.healthy:
                await harness.clock.advance(SECOND)


async def test_processes_that_start_at_once_make_one_file(tmp_path: Path) -> None:
    """The default file is made by whoever is first, and shared by all."""
    async with sqlite_url(tmp_path) as url:
        processes = [
            await asyncio.create_subprocess_exec(sys.executable, "-c", _PROCESS, url, f"p{number}")
            for number in range(4)
        ]
        assert [0] * 4 == [await process.wait() for process in processes]
        async with ledger_harness(url) as harness:
            page = await harness.ledger.tasks.list_tasks(TaskFilter(), limit=200)
    assert 100 == len(page.items)


@pytest.mark.parametrize("url", ["mysql://localhost/x", "sqlite:///x.db", "postgresql://localhost/x"])
async def test_url_of_another_database_is_refused(url: str) -> None:
    """The message names what a ledger can be."""
    with pytest.raises(ValueError, match="aiosqlite or postgresql"):
        async with open_ledger(url, clock=None, metrics=None):  # type: ignore[arg-type]  # it gets no further
            pass


async def test_file_in_a_directory_with_unusual_characters(tmp_path: Path) -> None:
    """A percent sign in the path of the program or of the file means nothing."""
    (tmp_path / "50% off").mkdir()
    async with sqlite_url(tmp_path / "50% off") as url, ledger_harness(url) as harness:
        await harness.ledger.tasks.record_enqueued([a_task()])
        assert harness.ledger.healthy


def _differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection), metadata))


async def _set_version(url: str, version: str) -> None:
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        assert SCHEMA_VERSION == await connection.run_sync(schema_version)
        await connection.execute(text(f"UPDATE alembic_version SET version_num = '{version}'"))
    await engine.dispose()
