"""The command that submits tasks."""

from typing import Annotated, Any, BinaryIO

import typer

from mcp_queue.cli.client.calls import call_gateway
from mcp_queue.cli.client.json_options import json_of
from mcp_queue.cli.client.paths import queue_path

_DEFAULT_QUEUE = "tasks"


def enqueue(
    queue: Annotated[
        str | None, typer.Argument(metavar="QUEUE", help="Name of the queue; tasks by default with --file.")
    ] = None,
    task_type: Annotated[str | None, typer.Argument(metavar="TYPE", help="Task type, such as echo.")] = None,
    *,
    file: Annotated[
        typer.FileBinaryRead | None,
        typer.Option(metavar="PATH", help="Submit a file with one task as JSON a line; - is the standard input."),
    ] = None,
    payload: Annotated[str | None, typer.Option(metavar="JSON", help="What the handler or callback gets.")] = None,
    priority: Annotated[int | None, typer.Option(min=0, max=3, help="Level on a priority queue.")] = None,
    metadata: Annotated[
        list[str] | None, typer.Option(metavar="NAME=TEXT", help="Carried along; may be repeated.")
    ] = None,
    delay: Annotated[str | None, typer.Option(metavar="DURATION", help="Run after this, such as 90s.")] = None,
    scheduled_for: Annotated[str | None, typer.Option(metavar="TIME", help="Run at this time (RFC 3339).")] = None,
    expires_at: Annotated[str | None, typer.Option(metavar="TIME", help="Do not start after this time.")] = None,
    max_retries: Annotated[int | None, typer.Option(min=0, max=100, help="Retries after the first attempt.")] = None,
    visibility_timeout: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Time limit of one attempt.")
    ] = None,
    callback_url: Annotated[str | None, typer.Option(metavar="URL", help="Deliver the task to this URL.")] = None,
    group: Annotated[str | None, typer.Option(metavar="GROUP", help="Ordering group on a FIFO queue.")] = None,
    deduplication_id: Annotated[str | None, typer.Option(metavar="ID", help="On FIFO queues only.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="The same key and task again submit nothing new.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Submit one task, or a file of tasks.

    A file is sent in batches. Refused tasks are named by their line on stderr, and make the exit code 1.
    """
    given = {
        "payload": None if payload is None else json_of(payload, "--payload"),
        "priority": priority,
        "metadata": None if metadata is None else dict(_pair(text) for text in metadata),
        "delay": delay,
        "scheduled_for": scheduled_for,
        "expires_at": expires_at,
        "max_retries": max_retries,
        "visibility_timeout": visibility_timeout,
        "callback_url": callback_url,
        "group": group,
        "deduplication_id": deduplication_id,
    }
    task = {name: value for name, value in given.items() if value is not None}
    if file is not None:
        if task_type is not None or task or idempotency_key is not None:
            raise typer.BadParameter("the lines of the file say everything about their tasks", param_hint="--file")
        _enqueue_file(queue or _DEFAULT_QUEUE, file, as_json=as_json)
    elif queue is None or task_type is None:
        raise typer.BadParameter("name a QUEUE and a TYPE, or a --file")
    else:
        _enqueue_one(queue, {"type": task_type, **task}, idempotency_key, as_json=as_json)


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        message = f"{text!r} is not NAME=TEXT"
        raise typer.BadParameter(message, param_hint="--metadata")
    return name, value


def _enqueue_one(queue: str, task: dict[str, Any], idempotency_key: str | None, *, as_json: bool) -> None:
    from mcp_queue.cli.output import print_json

    headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
    accepted = call_gateway(lambda gateway: gateway.post(queue_path(queue, "tasks"), task, headers=headers))
    if as_json:
        print_json(accepted)
    else:
        again = " (submitted before)" if accepted.get("deduplicated") else ""
        typer.echo(f"{accepted['id']} is {accepted['status']} in {accepted['queue']}{again}")


def _enqueue_file(queue: str, file: BinaryIO, *, as_json: bool) -> None:
    from mcp_queue.cli.client.enqueue_file import enqueue_file
    from mcp_queue.cli.output import print_json

    counts = call_gateway(lambda gateway: enqueue_file(gateway, queue, file.name, file))
    if as_json:
        print_json({"accepted": counts.accepted, "failed": counts.failed})
    else:
        typer.echo(f"{counts.accepted} tasks submitted to {queue}, {counts.failed} refused")
    if counts.failed:
        raise typer.Exit(1)
