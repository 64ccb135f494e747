"""Commands about the ledger's database."""

import asyncio

import typer

from mcp_queue.cli.context import load_settings
from mcp_queue.cli.errors import CommandError


def migrate() -> None:
    """Bring the tables of the ledger that LEDGER_URL names up to date, before a new version of the program starts.

    The default ledger, a SQLite file, does so by itself.
    """
    settings = load_settings()
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
