"""``schedules`` against a real HTTP server."""

import json
from typing import Any

from aiohttp import web

from tests.support.processes.cli import PretendedGateway

NIGHTLY: dict[str, Any] = {
    "name": "nightly",
    "cron": "0 3 * * *",
    "timezone": "Europe/Berlin",
    "queue": "tasks",
    "task": {"type": "echo"},
    "paused": False,
    "misfire": "skip",
    "next_run_at": "2026-01-01T02:00:00Z",
    "last_run_at": None,
}


async def test_schedules_are_a_table(gateway: PretendedGateway) -> None:
    """A line for each says when it runs next."""
    gateway.on("GET", "/v1/schedules", lambda _: web.json_response({"schedules": [NIGHTLY], "next_cursor": None}))

    done = await gateway.run_cli("schedules", "list")

    cells = ["nightly", "0", "3", "*", "*", "*", "Europe/Berlin", "tasks", "echo", "no", "2026-01-01T02:00:00Z", "-"]
    assert cells == done.out.splitlines()[1].split()
    assert [NIGHTLY] == json.loads((await gateway.run_cli("schedules", "list", "--json")).out)


async def test_shown_schedule_is_json(gateway: PretendedGateway) -> None:
    """Its task has any form."""
    gateway.on("GET", "/v1/schedules/nightly", web.json_response(NIGHTLY))

    assert NIGHTLY == json.loads((await gateway.run_cli("schedules", "show", "nightly")).out)


async def test_put_sends_the_whole_schedule(gateway: PretendedGateway) -> None:
    """What is not given has the defaults of the API."""
    gateway.on("PUT", "/v1/schedules/nightly", lambda _: web.json_response(NIGHTLY, status=201))
    given = ["--cron", "0 3 * * *", "--queue", "tasks", "--task", '{"type": "echo"}']

    done = await gateway.run_cli("schedules", "put", "nightly", *given)
    paused = await gateway.run_cli(
        "schedules", "put", "nightly", *given, "--timezone", "Europe/Berlin", "--misfire", "run_once", "--paused"
    )

    body = {"cron": "0 3 * * *", "queue": "tasks", "task": {"type": "echo"}}
    assert [
        {**body, "timezone": "UTC", "misfire": "skip", "paused": False},
        {**body, "timezone": "Europe/Berlin", "misfire": "run_once", "paused": True},
    ] == [json.loads(request.body) for request in gateway.requests]
    assert ("nightly runs next at 2026-01-01T02:00:00Z.\n", "nightly is paused.\n") == (done.out, paused.out)


async def test_task_that_is_no_json_is_not_sent(gateway: PretendedGateway) -> None:
    """The mistake is named before anybody is asked."""
    done = await gateway.run_cli("schedules", "put", "n", "--cron", "* * * * *", "--queue", "tasks", "--task", "{")

    assert (2, []) == (done.exit_code, gateway.requests)
    assert "--task" in done.err


async def test_deleted_schedule_has_no_answer_to_show(gateway: PretendedGateway) -> None:
    """The gateway says no more than that it is gone."""
    gateway.on("DELETE", "/v1/schedules/nightly", lambda _: web.Response(status=204))

    assert "Removed nightly.\n" == (await gateway.run_cli("schedules", "delete", "nightly")).out


async def test_run_names_the_task(gateway: PretendedGateway) -> None:
    """So that it can be followed."""
    task = {"id": "t-1", "status": "queued", "queue": "tasks"}
    gateway.on("POST", "/v1/schedules/nightly/run", web.json_response(task, status=202))

    assert "t-1 is queued in tasks\n" == (await gateway.run_cli("schedules", "run", "nightly")).out
