"""The command that migrates the ledger's database."""

import typer

from mcp_queue.cli.context import load_settings
from mcp_queue.cli.errors import CommandError


def migrate() -> None:
    """Bring the tables of the ledger up to date. Run this before a new version of the program starts.

    LEDGER_URL names the database. The default ledger, a SQLite file, is migrated at start.
    """
    settings = load_settings()
    import asyncio

    from mcp_queue.domain.errors import QueueError
    from mcp_queue.wiring.shared_services import migrate_ledger

    if settings.ledger.url is None:
        raise CommandError("LEDGER_URL is none: there is no ledger to migrate", 2)
    try:
        asyncio.run(migrate_ledger(settings))
    except QueueError as error:
        message = f"LEDGER_URL: {error}"
        raise CommandError(message) from error
    typer.echo("The tables of the ledger are up to date.")
