"""Commands that show, list and cancel tasks."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from mcp_queue.cli.client.calls import call_gateway, list_some
from mcp_queue.cli.client.paths import api_path

_Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the task.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def show(task_id: _Id, *, as_json: _Json = False) -> None:
    """Show a task, its attempts and its result."""
    from mcp_queue.cli.output import print_json

    task = call_gateway(lambda gateway: gateway.get(api_path("tasks", task_id)))
    if as_json:
        print_json(task)
    else:
        _print_task(task)


def list_tasks(
    *,
    queue: Annotated[str | None, typer.Option(metavar="QUEUE", help="Only tasks of this queue.")] = None,
    task_type: Annotated[str | None, typer.Option("--type", metavar="TYPE", help="Only tasks of this type.")] = None,
    status: Annotated[
        str | None, typer.Option(metavar="STATUS", help="Only tasks that stand there, such as queued or completed.")
    ] = None,
    group: Annotated[str | None, typer.Option(metavar="GROUP", help="Only tasks of this group.")] = None,
    created_after: Annotated[str | None, typer.Option(metavar="TIME", help="Only younger ones (RFC 3339).")] = None,
    created_before: Annotated[str | None, typer.Option(metavar="TIME", help="Only older ones (RFC 3339).")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    as_json: _Json = False,
) -> None:
    """List tasks, the newest first."""
    from mcp_queue.cli.output import print_json, print_table

    filters = {
        "queue": queue,
        "type": task_type,
        "status": status,
        "group": group,
        "created_after": created_after,
        "created_before": created_before,
    }
    query = {name: value for name, value in filters.items() if value is not None}
    tasks = list_some(api_path("tasks"), "tasks", query, limit)
    if as_json:
        print_json(tasks)
        return
    members = ("id", "queue", "type", "status", "created_at", "retry_count")
    titles = ("Task", "Queue", "Type", "Status", "Created", "Retries")
    print_table(titles, [[task[member] for member in members] for task in tasks], numbers=titles[5:])


def cancel(task_id: _Id) -> None:
    """Withdraw a task: one that waits never starts, one that runs is asked to stop."""
    task = call_gateway(lambda gateway: gateway.post(api_path("tasks", task_id, "cancel")))
    asked = "is asked to stop; a callback under way is let finish" if task["status"] == "running" else "is canceled"
    typer.echo(f"{task_id} {asked}.")


def _print_task(task: dict[str, Any]) -> None:
    from json import dumps

    from mcp_queue.cli.output import print_table

    shown = {name: value for name, value in task.items() if name not in {"payload", "metadata", "result", "attempts"}}
    result = task["result"] or {}
    print_table(
        ["Member", "Value"],
        [
            *shown.items(),
            ("metadata", dumps(task["metadata"])),
            ("payload", dumps(task["payload"])),
            ("result", dumps(result.get("result"))),
            ("error", result.get("error")),
        ],
    )
    print_attempts(task["attempts"])


def print_attempts(attempts: Sequence[dict[str, Any]]) -> None:
    """Print a table of attempts, if there are any."""
    from mcp_queue.cli.output import console, print_table

    if attempts:
        console().print()
        members = ("attempt", "started_at", "duration", "status", "response_status", "error")
        titles = ("Attempt", "Started", "Seconds", "Ended", "Answer", "Error")
        rows = [[attempt[member] for member in members] for attempt in attempts]
        print_table(titles, rows, numbers=("Attempt", "Seconds", "Answer"))
