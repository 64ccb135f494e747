"""Commands that show and change schedules."""

from typing import Annotated, Any, Literal

import typer

from mcp_queue.cli.client.calls import call_gateway, list_all
from mcp_queue.cli.client.json_options import json_of
from mcp_queue.cli.client.paths import api_path

_Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the schedule.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def list_schedules(*, as_json: _Json = False) -> None:
    """List the schedules."""
    from mcp_queue.cli.output import print_json, print_table

    schedules = list_all(api_path("schedules"), "schedules")
    if as_json:
        print_json(schedules)
        return
    titles = ("Schedule", "Cron", "Time zone", "Queue", "Type", "Paused", "Next run", "Last run")
    print_table(titles, [_row(schedule) for schedule in schedules])


def show(name: _Name) -> None:
    """Show a schedule as JSON."""
    from mcp_queue.cli.output import print_json

    print_json(call_gateway(lambda gateway: gateway.get(api_path("schedules", name))))


def put(
    name: _Name,
    *,
    cron: Annotated[str, typer.Option(help='When: minute, hour, day, month, weekday, such as "0 3 * * *".')],
    queue: Annotated[str, typer.Option(help="Queue of its tasks.")],
    task: Annotated[str, typer.Option(metavar="JSON", help="""The task, such as '{"type": "echo"}'.""")],
    timezone: Annotated[str, typer.Option(help="Time zone of cron, such as Europe/Berlin.")] = "UTC",
    misfire: Annotated[
        Literal["skip", "run_once"], typer.Option(help="What comes of ticks that were missed while nothing ran.")
    ] = "skip",
    paused: Annotated[bool, typer.Option("--paused", help="Store it, but let no tick run.")] = False,
) -> None:
    """Store a schedule, in place of the one of that name if there is one."""
    body = {
        "cron": cron,
        "timezone": timezone,
        "queue": queue,
        "task": json_of(task, "--task"),
        "misfire": misfire,
        "paused": paused,
    }
    schedule = call_gateway(lambda gateway: gateway.put(api_path("schedules", name), body))
    typer.echo(f"{name} is paused." if paused else f"{name} runs next at {schedule['next_run_at']}.")


def delete(name: _Name) -> None:
    """Remove a schedule; tasks that came of it stay."""
    call_gateway(lambda gateway: gateway.delete(api_path("schedules", name)))
    typer.echo(f"Removed {name}.")


def run(name: _Name) -> None:
    """Submit the task of a schedule now; its ticks go on as before."""
    task = call_gateway(lambda gateway: gateway.post(api_path("schedules", name, "run")))
    typer.echo(f"{task['id']} is {task['status']} in {task['queue']}")


def _row(schedule: dict[str, Any]) -> list[object]:
    members = ("name", "cron", "timezone", "queue")
    later = ("paused", "next_run_at", "last_run_at")
    return [*(schedule[member] for member in members), schedule["task"]["type"], *(schedule[item] for item in later)]
