"""Puts the commands together."""

import sys
from typing import Annotated

import typer

from mcp_queue.cli.client import dead_letters, queues, schedules, task_records, tasks
from mcp_queue.cli.errors import CommandError
from mcp_queue.cli.processes import commands as services
from mcp_queue.cli.setup import configuration, keys, ledger

_HELP = """\
An HTTP task queue in front of Amazon SQS, with an embedded queue that needs nothing installed.

Settings come from the environment and from the YAML file that QUEUE_CONFIG names; \
[bold]mcp-queue config check[/bold] shows them.
"""
_SERVICES = "Run it"
_CLIENT = "Talk to a running gateway, at MCP_QUEUE_URL with the key MCP_QUEUE_KEY"
_SET_UP = "Set it up"


def main() -> None:
    """Run the command that ``sys.argv`` names."""
    # QUEUE_HANDLERS may name modules of the working directory; behind all else, they replace nothing of the product.
    sys.path.append("")
    try:
        build()(prog_name="mcp-queue")
    except CommandError as error:
        typer.echo(error, err=True)
        sys.exit(error.exit_code)
    except OSError as error:  # nothing more can be printed, for one
        typer.echo(error, err=True)
        sys.exit(1)


def build() -> typer.Typer:
    """Return every command."""
    app = _group(_HELP)
    app.callback()(_root)
    app.command(rich_help_panel=_SERVICES)(services.dev)
    app.command(rich_help_panel=_SERVICES)(services.gateway)
    app.command(rich_help_panel=_SERVICES)(services.consumer)

    work = _group("Submit tasks and follow them.")
    work.command()(tasks.enqueue)
    work.command("list")(task_records.list_tasks)
    work.command()(task_records.show)
    work.command()(task_records.cancel)
    app.add_typer(work, name="tasks", rich_help_panel=_CLIENT)

    line = _group("See and steer queues.")
    line.command("list")(queues.list_queues)
    line.command()(queues.stats)
    line.command()(queues.pause)
    line.command()(queues.resume)
    line.command()(queues.purge)
    line.command()(queues.apply)
    app.add_typer(line, name="queues", rich_help_panel=_CLIENT)

    dlq = _group("See dead letters, send them again, delete them.")
    dlq.command("list")(dead_letters.list_dead_letters)
    dlq.command()(dead_letters.show)
    dlq.command()(dead_letters.redrive)
    dlq.command()(dead_letters.delete)
    dlq.command()(dead_letters.purge)
    app.add_typer(dlq, name="dlq", rich_help_panel=_CLIENT)

    plan = _group("See and change recurring tasks.")
    plan.command("list")(schedules.list_schedules)
    plan.command()(schedules.show)
    plan.command()(schedules.put)
    plan.command()(schedules.delete)
    plan.command()(schedules.run)
    app.add_typer(plan, name="schedules", rich_help_panel=_CLIENT)

    config = _group("Look at settings.")
    config.command()(configuration.check)
    config.command()(configuration.example)
    config.command()(configuration.manual)
    app.add_typer(config, name="config", rich_help_panel=_SET_UP)
    access = _group("Let others in.")
    access.command()(keys.create)
    # With a callback, a single command still goes by its name.
    access.callback()(lambda: None)
    app.add_typer(access, name="keys", rich_help_panel=_SET_UP)
    database = _group("Tend the ledger's database.")
    database.command()(ledger.migrate)
    # With a callback, a single command still goes by its name.
    database.callback()(lambda: None)
    app.add_typer(database, name="ledger", rich_help_panel=_SET_UP)
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
        # A traceback in colours is no use to whoever collects the logs.
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
