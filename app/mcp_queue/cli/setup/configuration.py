"""Commands that check and document the configuration, and print the HTTP contract."""

from typing import TYPE_CHECKING, Annotated

import typer

from mcp_queue.cli.context import load_settings

if TYPE_CHECKING:
    from mcp_queue.config import Settings


def check(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check the configuration and print the effective settings, with secrets hidden.

    Each mistake is one line on standard error, and the exit code is then 2. Handler modules are imported. Queues at SQS
    are inspected; differences, or no answer, are warnings. So are messages that wait in the embedded queue's file for a
    queue that is embedded no more, and mistakes in API keys, which only the gateway needs.
    """
    settings = load_settings()
    import asyncio
    from dataclasses import replace

    from mcp_queue.cli.errors import CommandError
    from mcp_queue.cli.output import print_json
    from mcp_queue.cli.setup.settings_report import print_settings, settings_report
    from mcp_queue.domain.errors import QueueSetupError
    from mcp_queue.wiring.handlers import load_router
    from mcp_queue.wiring.leftovers import leftover_warnings
    from mcp_queue.wiring.sqs_setup import sqs_warnings

    try:
        load_router(settings.handlers)
    except QueueSetupError as error:
        raise CommandError(str(error), exit_code=2) from error
    found = [*_key_warnings(settings), *leftover_warnings(settings), *asyncio.run(sqs_warnings(settings))]
    settings = replace(settings, warnings=(*settings.warnings, *found))
    if as_json:
        print_json(settings_report(settings))
    else:
        print_settings(settings)


def _key_warnings(settings: "Settings") -> list[str]:
    from mcp_queue import config

    try:
        config.load_keys(settings)
    except config.ConfigError as error:
        return [f"the gateway will not start: {problem}" for problem in error.problems]
    return []


def example() -> None:
    """Print every setting with its description and default, as an .env file."""
    from mcp_queue.config import env_example

    typer.echo(env_example(), nl=False)


def manual() -> None:
    """Print every setting as a page of the documentation."""
    from mcp_queue.config.documentation.manual import configuration_page

    typer.echo(configuration_page(), nl=False)


def openapi() -> None:
    """Print the HTTP contract, as openapi.yaml has it."""
    from mcp_queue.wiring.gateway import openapi_text

    typer.echo(openapi_text(), nl=False)
