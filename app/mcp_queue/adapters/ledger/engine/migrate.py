"""Brings the schema up to date, or checks that it is."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import URL, Connection, NullPool, inspect, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from mcp_queue.adapters.ledger.engine.faults import DATABASE_ERRORS, classify, explain
from mcp_queue.adapters.ledger.tables import SCHEMA_VERSION
from mcp_queue.domain.errors import LedgerSchemaError, LedgerUnavailableError

# Any number that nothing else locks: it keeps two migrations of one database apart.
_MIGRATION_LOCK = 0x6D63_7071


def upgrade(connection: Connection) -> None:
    """Bring the schema up to date in the transaction of ``connection``.

    Raises:
        LedgerSchemaError: it is newer than this version of the program, or the tables are not ours.

    """
    version = schema_version(connection)
    if version == SCHEMA_VERSION:
        return
    if version is None and (found := inspect(connection).get_table_names()):
        message = f"the ledger's database holds the tables of something else: {', '.join(sorted(found)[:5])}"
        raise LedgerSchemaError(message)
    if version is not None and version > SCHEMA_VERSION:
        raise _ahead(version)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[1] / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, SCHEMA_VERSION)


def check(connection: Connection) -> None:
    """Return if the schema is the one that this version of the program works with.

    Raises:
        LedgerSchemaError: it is older or newer.

    """
    version = schema_version(connection)
    if version is not None and version > SCHEMA_VERSION:
        raise _ahead(version)
    if version != SCHEMA_VERSION:
        found = "has no tables yet" if version is None else f"has schema {version}"
        message = f"the ledger {found}, this program needs {SCHEMA_VERSION}: run `mcp-queue ledger migrate`"
        raise LedgerSchemaError(message)


def touch(connection: Connection) -> None:
    """Write something that changes nothing: a full disk answers reads as ever."""
    connection.execute(text("UPDATE alembic_version SET version_num = version_num"))


def schema_version(connection: Connection) -> str | None:
    """Return the newest migration that was made, ``None`` before the first."""
    return MigrationContext.configure(connection).get_current_revision()


async def migrate(url: str | URL) -> None:
    """Bring the schema of the database at ``url`` up to date; one process at a time.

    Raises:
        LedgerSchemaError: it is newer than this version of the program.
        LedgerUnavailableError: the database does not answer, or refuses.

    """
    url = make_url(url)
    sqlite = url.get_backend_name() == "sqlite"
    lock = "BEGIN IMMEDIATE" if sqlite else f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"
    engine = create_async_engine(url, poolclass=NullPool, connect_args={"isolation_level": None} if sqlite else {})
    try:
        async with engine.begin() as connection:
            await connection.exec_driver_sql(lock)
            await connection.run_sync(upgrade)
    except DATABASE_ERRORS as error:
        if classify(error) is None:
            raise
        raise LedgerUnavailableError(explain(error)) from error
    finally:
        await engine.dispose()


def _ahead(version: str) -> LedgerSchemaError:
    return LedgerSchemaError(
        f"the ledger has schema {version}, which is newer than this program's {SCHEMA_VERSION}: run a newer program"
    )
