"""Commands that show, pause, purge and create queues."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mcp_queue.cli.client.calls import call_gateway, list_all
from mcp_queue.cli.client.paths import api_path, queue_path
from mcp_queue.cli.context import load_settings

if TYPE_CHECKING:
    from mcp_queue.adapters.sqs.setup.apply import Plan
    from mcp_queue.cli.client.http import GatewayClient

_Name = Annotated[str, typer.Argument(metavar="QUEUE", help="Name of the queue.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def list_queues(*, as_json: _Json = False) -> None:
    """List the queues."""
    from mcp_queue.cli.output import print_json, print_table

    queues = _list()
    if as_json:
        print_json(queues)
        return
    members = ("name", "kind", "backend", "dead_letter_queue", "paused")
    titles = ("Queue", "Kind", "Backend", "Dead letters to", "Paused")
    print_table(titles, [[queue[member] for member in members] for queue in queues])


def stats(
    queue: Annotated[str | None, typer.Argument(metavar="[QUEUE]", help="Name of the queue; all without one.")] = None,
    *,
    as_json: _Json = False,
) -> None:
    """Show what lies in a queue, or in every queue. Counts on SQS are approximate."""
    from mcp_queue.cli.output import print_json, print_table

    names = [queue] if queue else [item["name"] for item in _list()]
    found = call_gateway(lambda gateway: _stats(gateway, names))
    if as_json:
        print_json(found)
        return
    titles = ("Queue", "Waiting", "In flight", "Delayed", "Oldest", "Dead letters", "Paused")
    print_table(titles, [_stats_row(stats) for stats in found], numbers=titles[1:6])


def pause(queue: _Name) -> None:
    """Stop consumers from receiving from a queue; enqueueing goes on."""
    _post(queue, "pause")
    typer.echo(f"Paused {queue}: consumers stop within 5 s.")


def resume(queue: _Name) -> None:
    """Let consumers receive from a queue again."""
    _post(queue, "resume")
    typer.echo(f"Resumed {queue}: consumers start within 5 s.")


def purge(
    queue: _Name, *, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False
) -> None:
    """Cancel every waiting, delayed and scheduled task of a queue. There is no way back."""
    if not yes:
        typer.confirm(f"Cancel every waiting task of {queue}?", abort=True)
    purged = _post(queue, "purge", {"confirm": queue})["purged"]
    typer.echo(f"Purged {queue}." if purged is None else f"Purged {queue}: {purged} tasks canceled.")


def apply(
    *, dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be changed.")] = False
) -> None:
    """Create the queues of the configuration at SQS, or correct those that differ. Nothing is deleted.

    A queue that is given by its URL or ARN is corrected, but not created. Talks to SQS and to no gateway.
    """
    import asyncio

    from mcp_queue.cli.errors import CommandError
    from mcp_queue.domain.errors import QueueSetupError
    from mcp_queue.wiring.sqs_setup import apply_to_sqs

    try:
        plans = asyncio.run(apply_to_sqs(load_settings(), dry_run=dry_run))
    except QueueSetupError as error:
        raise CommandError(str(error)) from error
    would = "would be " if dry_run else ""
    for plan in plans:
        done = f"{would}{'created' if plan.new else 'changed'}" if plan.changes else "as configured"
        typer.echo("\n".join([f"{plan.name} ({plan.address}): {done}", *_change_lines(plan)]))


def move(
    source: Annotated[str, typer.Argument(metavar="FROM", help="The queue's name in the embedded queue's file.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="A configured queue.")],
) -> None:
    """Move what waits in the embedded queue's file to a queue of the configuration, delayed tasks included.

    For a queue that was moved to SQS, or taken out of the configuration. Works on the file and talks to no gateway.
    Tasks that run are left out: repeat the command when they have ended.
    """
    import asyncio

    from mcp_queue.cli.errors import CommandError
    from mcp_queue.domain.errors import QueueError
    from mcp_queue.wiring.leftovers import move_messages

    try:
        outcome = asyncio.run(move_messages(load_settings(), source, target))
    except QueueError as error:
        raise CommandError(str(error)) from error
    typer.echo(f"Moved {outcome.moved} messages from {source} to {target}.")
    for message_id, refusal in outcome.refused.items():
        typer.echo(f"{message_id} stays: {refusal}", err=True)
    if outcome.refused:
        raise typer.Exit(1)


def _list() -> list[Any]:
    return list_all(api_path("queues"), "queues")


async def _stats(gateway: "GatewayClient", names: list[str]) -> list[Any]:
    return [await gateway.get(queue_path(name, "stats")) for name in names]


def _post(queue: str, action: str, body: object = None) -> Any:
    return call_gateway(lambda gateway: gateway.post(queue_path(queue, action), body))


def _change_lines(plan: "Plan") -> list[str]:
    width = max((len(change.name) for change in plan.changes), default=0)
    return [
        f"  {change.name:<{width}}  {change.before or 'not set'} -> {change.after}"
        if not plan.new
        else f"  {change.name:<{width}}  {change.after}"
        for change in plan.changes
    ]


def _stats_row(stats: dict[str, Any]) -> list[object]:
    return [
        stats["queue_name"],
        stats["approximate_messages"],
        stats["inflight_messages"],
        stats["delayed_messages"],
        _age(stats["oldest_message_age"]),
        stats["dead_letters"],
        stats["paused"],
    ]


def _age(seconds: float | None) -> str | None:
    from datetime import timedelta

    from mcp_queue.config.schema.values import format_duration

    return None if seconds is None else format_duration(timedelta(seconds=round(seconds)))
