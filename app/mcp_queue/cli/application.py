"""Assembles the commands into the program ``mcp-queue``."""

import sys
from typing import Annotated

import typer

from mcp_queue.cli.client import dead_letters, queues, schedules, task_records, tasks
from mcp_queue.cli.errors import CommandError
from mcp_queue.cli.processes import commands as processes
from mcp_queue.cli.setup import configuration, keys, ledger

_HELP = """\
An HTTP task queue in front of Amazon SQS, with an embedded queue that needs nothing installed.

Settings come from the environment and from the YAML file that QUEUE_CONFIG names; \
[bold]mcp-queue config check[/bold] shows them.
"""
_RUN = "Run it"
_OPERATE = "Talk to a running gateway, at MCP_QUEUE_URL with the key MCP_QUEUE_KEY"
_SET_UP = "Set it up"


def main() -> None:
    """Run the command that ``sys.argv`` names."""
    # QUEUE_HANDLERS may name modules of the working directory. It comes last, so they replace none of the product's.
    sys.path.append("")
    try:
        build()(prog_name="mcp-queue")
    except CommandError as error:
        typer.echo(error, err=True)
        sys.exit(error.exit_code)
    except OSError as error:  # such as a full disk behind standard output
        typer.echo(error, err=True)
        sys.exit(1)


def build() -> typer.Typer:
    """Return the program with every command."""
    app = _group(_HELP)
    app.callback()(_root)
    app.command(rich_help_panel=_RUN)(processes.dev)
    app.command(rich_help_panel=_RUN)(processes.gateway)
    app.command(rich_help_panel=_RUN)(processes.consumer)

    task_commands = _group("Submit tasks and follow them.")
    task_commands.command()(tasks.enqueue)
    task_commands.command("list")(task_records.list_tasks)
    task_commands.command()(task_records.show)
    task_commands.command()(task_records.cancel)
    app.add_typer(task_commands, name="tasks", rich_help_panel=_OPERATE)

    queue_commands = _group("See, pause, purge and create queues.")
    queue_commands.command("list")(queues.list_queues)
    queue_commands.command()(queues.stats)
    queue_commands.command()(queues.pause)
    queue_commands.command()(queues.resume)
    queue_commands.command()(queues.purge)
    queue_commands.command()(queues.apply)
    queue_commands.command()(queues.move)
    app.add_typer(queue_commands, name="queues", rich_help_panel=_OPERATE)

    dead_letter_commands = _group("See, redrive and delete dead letters.")
    dead_letter_commands.command("list")(dead_letters.list_dead_letters)
    dead_letter_commands.command()(dead_letters.show)
    dead_letter_commands.command()(dead_letters.redrive)
    dead_letter_commands.command()(dead_letters.delete)
    dead_letter_commands.command()(dead_letters.purge)
    app.add_typer(dead_letter_commands, name="dlq", rich_help_panel=_OPERATE)

    schedule_commands = _group("See and change recurring tasks.")
    schedule_commands.command("list")(schedules.list_schedules)
    schedule_commands.command()(schedules.show)
    schedule_commands.command()(schedules.put)
    schedule_commands.command()(schedules.delete)
    schedule_commands.command()(schedules.run)
    app.add_typer(schedule_commands, name="schedules", rich_help_panel=_OPERATE)

    config_commands = _group("Check the configuration, and print its documentation.")
    config_commands.command()(configuration.check)
    config_commands.command()(configuration.example)
    config_commands.command()(configuration.manual)
    app.add_typer(config_commands, name="config", rich_help_panel=_SET_UP)
    key_commands = _group("Create API keys.")
    key_commands.command()(keys.create)
    # Without a callback, typer drops the name of a single command.
    key_commands.callback()(lambda: None)
    app.add_typer(key_commands, name="keys", rich_help_panel=_SET_UP)
    ledger_commands = _group("Maintain the ledger's database.")
    ledger_commands.command()(ledger.migrate)
    # Without a callback, typer drops the name of a single command.
    ledger_commands.callback()(lambda: None)
    app.add_typer(ledger_commands, name="ledger", rich_help_panel=_SET_UP)
    app.command(rich_help_panel=_SET_UP)(configuration.openapi)
    return app


def _print_version(wanted: bool) -> None:  # noqa: FBT001  # called by typer with the option's value
    if wanted:
        from importlib.metadata import version

        typer.echo(version("mcp-queue"))
        raise typer.Exit


def _root(
    *,
    _: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Do nothing before the command."""


def _group(text: str) -> typer.Typer:
    return typer.Typer(
        help=text,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        # Coloured tracebacks are unreadable in collected logs.
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
