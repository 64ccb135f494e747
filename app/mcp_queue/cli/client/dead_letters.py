"""Commands about dead letters."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from mcp_queue.cli.context import load_client
from mcp_queue.cli.errors import CommandError

_Queue = Annotated[str, typer.Argument(metavar="QUEUE", help="Name of the queue that the tasks came from.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
_Type = Annotated[str | None, typer.Option("--type", metavar="TYPE", help="Only tasks of this type.")]
_Reason = Annotated[str | None, typer.Option(metavar="TEXT", help="Only where the reason has this in it.")]
_After = Annotated[str | None, typer.Option(metavar="TIME", help="Only what failed after this (RFC 3339).")]
_Before = Annotated[str | None, typer.Option(metavar="TIME", help="Only what failed before this (RFC 3339).")]
#: Longest page that the gateway gives out.
_PAGE = 200


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
    dead_letters = asyncio.run(_list(queue, chosen, limit))
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

    dead_letter = asyncio.run(_get(queue, task_id))
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
        count = asyncio.run(_redrive(queue, {**selection, "dry_run": True}))["matched"]
        typer.confirm(f"Redrive {_dead_letters(count)} of {queue}?", abort=True)
    outcome = asyncio.run(_redrive(queue, {**selection, "dry_run": dry_run}))
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
    asyncio.run(_delete(queue, ids))
    typer.echo(f"Deleted {_dead_letters(len(ids))} of {queue}.")


def purge(queue: _Queue, *, yes: _Yes = False) -> None:
    """Delete every dead letter of a queue for good."""
    if not yes:
        typer.confirm(f"Delete every dead letter of {queue}? There is no way back.", abort=True)
    purged = asyncio.run(_purge(queue))["purged"]
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


async def _list(queue: str, chosen: dict[str, str], limit: int) -> list[Any]:
    from mcp_queue.cli.client.http import GatewayClient, queue_path

    dead_letters: list[Any] = []
    async with GatewayClient(load_client()) as gateway:
        path, size = queue_path(queue, "dlq", "tasks"), str(min(limit, _PAGE))
        async for dead_letter in gateway.pages(path, "tasks", **chosen, limit=size):
            dead_letters.append(dead_letter)
            if len(dead_letters) == limit:
                break
    return dead_letters


async def _get(queue: str, task_id: str) -> Any:
    from mcp_queue.cli.client.http import GatewayClient

    async with GatewayClient(load_client()) as gateway:
        return await gateway.get(_path(queue, task_id))


async def _redrive(queue: str, selection: dict[str, Any]) -> Any:
    from mcp_queue.cli.client.http import GatewayClient, queue_path
    from mcp_queue.cli.client.redrive_progress import watch

    async with GatewayClient(load_client()) as gateway:
        answer = await gateway.post(queue_path(queue, "dlq", "redrive"), selection)
        return await watch(gateway, answer) if "id" in answer else answer


async def _delete(queue: str, ids: Sequence[str]) -> None:
    from mcp_queue.cli.client.http import GatewayClient

    async with GatewayClient(load_client()) as gateway:
        for task_id in ids:
            await gateway.delete(_path(queue, task_id))


async def _purge(queue: str) -> Any:
    from mcp_queue.cli.client.http import GatewayClient, queue_path

    async with GatewayClient(load_client()) as gateway:
        return await gateway.post(queue_path(queue, "dlq", "purge"), {"confirm": queue})


def _path(queue: str, task_id: str) -> str:
    from mcp_queue.cli.client.http import queue_path, quoted

    return queue_path(queue, "dlq", "tasks", quoted(task_id))


def _print_dead_letter(dead_letter: dict[str, Any]) -> None:
    from json import dumps

    from mcp_queue.cli.output import console, print_table

    written = ("payload", "metadata", "history")
    rows: list[Sequence[object]] = [(name, value) for name, value in dead_letter.items() if name not in written]
    rows += [(name, dumps(dead_letter[name])) for name in written[:2]]
    print_table(["Member", "Value"], rows)
    if dead_letter["history"]:
        console().print()
        members = ("attempt", "started_at", "duration", "status", "response_status", "error")
        titles = ("Attempt", "Started", "Seconds", "Ended", "Answer", "Error")
        attempts = [[attempt[member] for member in members] for attempt in dead_letter["history"]]
        print_table(titles, attempts, numbers=("Attempt", "Seconds", "Answer"))
