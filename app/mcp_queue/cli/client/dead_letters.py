"""Commands that list, redrive and delete dead letters."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mcp_queue.cli.client.calls import call_gateway, list_some
from mcp_queue.cli.client.paths import queue_path
from mcp_queue.cli.client.task_records import print_attempts
from mcp_queue.cli.errors import CommandError

if TYPE_CHECKING:
    from mcp_queue.cli.client.http import GatewayClient

_Queue = Annotated[str, typer.Argument(metavar="QUEUE", help="Name of the queue that the tasks came from.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
_Type = Annotated[str | None, typer.Option("--type", metavar="TYPE", help="Only tasks of this type.")]
_Reason = Annotated[str | None, typer.Option(metavar="TEXT", help="Only where the reason has this in it.")]
_After = Annotated[str | None, typer.Option(metavar="TIME", help="Only what failed after this (RFC 3339).")]
_Before = Annotated[str | None, typer.Option(metavar="TIME", help="Only what failed before this (RFC 3339).")]


def list_dead_letters(
    queue: _Queue,
    *,
    task_type: _Type = None,
    reason: _Reason = None,
    failed_after: _After = None,
    failed_before: _Before = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    as_json: _Json = False,
) -> None:
    """List dead letters, the newest first. Looking changes nothing."""
    from mcp_queue.cli.output import print_json, print_table

    chosen = _filter(task_type, reason, failed_after, failed_before)
    dead_letters = list_some(queue_path(queue, "dlq", "tasks"), "tasks", chosen, limit)
    if as_json:
        print_json(dead_letters)
        return
    members = ("id", "type", "failed_at", "attempts", "response_status", "failure_reason")
    titles = ("Task", "Type", "Failed", "Attempts", "Answer", "Reason")
    rows = [[dead_letter[member] for member in members] for dead_letter in dead_letters]
    print_table(titles, rows, numbers=("Attempts", "Answer"))


def show(
    queue: _Queue,
    task_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the task.")],
    *,
    as_json: _Json = False,
) -> None:
    """Show one dead letter with its payload and its attempts."""
    from mcp_queue.cli.output import print_json

    dead_letter = call_gateway(lambda gateway: gateway.get(queue_path(queue, "dlq", "tasks", task_id)))
    if as_json:
        print_json(dead_letter)
    else:
        _print_dead_letter(dead_letter)


def redrive(
    queue: _Queue,
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Ids of the tasks.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Every dead letter of the queue.")] = False,
    task_type: _Type = None,
    reason: _Reason = None,
    failed_after: _After = None,
    failed_before: _Before = None,
    max_per_second: Annotated[
        float | None, typer.Option(metavar="NUMBER", min=0.01, help="Redrive in the background, at this rate.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
    yes: _Yes = False,
    as_json: _Json = False,
) -> None:
    """Send dead letters back to their queue: some by their ids, those that a filter fits, or --all.

    A redrive in the background is watched to its end; interrupted, it goes on. The exit code is 1 where some were
    refused, or not found.
    """
    chosen = _filter(task_type, reason, failed_after, failed_before)
    selection = _selection(ids, chosen, everything=everything)
    if max_per_second is not None:
        selection["max_per_second"] = max_per_second
    if not yes and not dry_run and not ids:
        count = _redrive(queue, {**selection, "dry_run": True})["matched"]
        typer.confirm(f"Redrive {_dead_letters(count)} of {queue}?", abort=True)
    outcome = _redrive(queue, {**selection, "dry_run": dry_run})
    _report(queue, outcome, dry_run=dry_run, as_json=as_json)
    unknown = len(set(ids or ())) - (outcome["matched"] or 0)
    if unknown > 0:
        message = f"{unknown} of the ids are of no dead letter of {queue}"
        raise CommandError(message)


def delete(
    queue: _Queue,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of the tasks.")],
    *,
    yes: _Yes = False,
) -> None:
    """Delete dead letters for good."""
    if not yes:
        typer.confirm(f"Delete {_dead_letters(len(ids))} of {queue}? There is no way back.", abort=True)
    call_gateway(lambda gateway: _delete(gateway, queue, ids))
    typer.echo(f"Deleted {_dead_letters(len(ids))} of {queue}.")


def purge(queue: _Queue, *, yes: _Yes = False) -> None:
    """Delete every dead letter of a queue for good."""
    if not yes:
        typer.confirm(f"Delete every dead letter of {queue}? There is no way back.", abort=True)
    answer = call_gateway(lambda gateway: gateway.post(queue_path(queue, "dlq", "purge"), {"confirm": queue}))
    purged = answer["purged"]
    typer.echo(
        f"Purged the dead letters of {queue}." if purged is None else f"Purged {_dead_letters(purged)} of {queue}."
    )


def _filter(*values: str | None) -> dict[str, str]:
    names = ("type", "reason", "failed_after", "failed_before")
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}


def _selection(ids: list[str] | None, chosen: dict[str, str], *, everything: bool) -> dict[str, Any]:
    ways: dict[str, Any] = {"ids": ids, "filter": chosen, "all": everything}
    given = {name: value for name, value in ways.items() if value}
    if len(given) != 1:
        raise typer.BadParameter("name IDs, or a filter such as --reason, or --all: one of the three")
    return given


def _dead_letters(count: int) -> str:
    return "1 dead letter" if count == 1 else f"{count:,} dead letters"


def _report(queue: str, outcome: dict[str, Any], *, dry_run: bool, as_json: bool) -> None:
    from mcp_queue.cli.output import print_json

    refused = outcome["failed"]
    number = len(refused) if isinstance(refused, list) else refused
    if as_json:
        print_json(outcome)
    elif dry_run:
        typer.echo(f"{_dead_letters(outcome['matched'])} of {queue} would be redriven.")
    else:
        for refusal in refused if isinstance(refused, list) else ():
            typer.echo(f"{refusal['id']}: {refusal['code']}: {refusal['detail']}", err=True)
        state = f" The redrive was {outcome['status']}." if outcome.get("status", "completed") != "completed" else ""
        more = " There may be others that were not found." if outcome.get("sampled") else ""
        typer.echo(f"Redrove {_dead_letters(outcome['redriven'])} of {queue}, {number} refused.{state}{more}")
    if number and not dry_run:
        raise typer.Exit(1)


def _redrive(queue: str, selection: dict[str, Any]) -> Any:
    from mcp_queue.cli.client.redrive_progress import watch

    async def redrive(gateway: "GatewayClient") -> Any:
        answer = await gateway.post(queue_path(queue, "dlq", "redrive"), selection)
        return await watch(gateway, answer) if "id" in answer else answer

    return call_gateway(redrive)


async def _delete(gateway: "GatewayClient", queue: str, ids: Sequence[str]) -> None:
    for task_id in ids:
        await gateway.delete(queue_path(queue, "dlq", "tasks", task_id))


def _print_dead_letter(dead_letter: dict[str, Any]) -> None:
    from json import dumps

    from mcp_queue.cli.output import print_table

    written = ("payload", "metadata", "history")
    rows: list[Sequence[object]] = [(name, value) for name, value in dead_letter.items() if name not in written]
    rows += [(name, dumps(dead_letter[name])) for name in written[:2]]
    print_table(["Member", "Value"], rows)
    print_attempts(dead_letter["history"])
