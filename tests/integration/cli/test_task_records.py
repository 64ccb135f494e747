"""``tasks show``, ``tasks list`` and ``tasks cancel`` against a real HTTP server."""

import json
from typing import Any

from aiohttp import web

from tests.support.processes.cli import PretendedGateway, problem

TASK: dict[str, Any] = {
    "id": "t-1",
    "queue": "tasks",
    "type": "echo",
    "priority": 0,
    "status": "completed",
    "metadata": {"k": "v"},
    "created_at": "2026-01-01T00:00:00Z",
    "retry_count": 1,
    "payload": {"a": [1]},
    "result": {"task_id": "t-1", "status": "completed", "result": {"b": 2}, "error": None},
    "attempts": [
        {
            "attempt": 1,
            "started_at": "2026-01-01T00:00:01Z",
            "duration": 0.5,
            "status": "retrying",
            "error": "[503] try later",
            "response_status": 503,
        }
    ],
}


def page(*tasks: str, cursor: str | None = None) -> web.Response:
    """Return a part of a list as the gateway answers it."""
    return web.json_response({"tasks": [{**TASK, "id": task} for task in tasks], "next_cursor": cursor})


async def test_shown_task_has_its_attempts_and_its_result(gateway: PretendedGateway) -> None:
    """People see one member a line, then a table of attempts."""
    gateway.on("GET", "/v1/tasks/t-1", web.json_response(TASK))

    done = await gateway.run_cli("tasks", "show", "t-1")

    lines = [line.split() for line in done.out.splitlines()]
    assert ["status", "completed"] in lines
    assert ["result", '{"b":', "2}"] in lines
    assert ["1", "2026-01-01T00:00:01Z", "0.5", "retrying", "503", "[503]", "try", "later"] == lines[-1]


async def test_shown_task_is_for_programs_too(gateway: PretendedGateway) -> None:
    """JSON holds what the gateway answered."""
    gateway.on("GET", "/v1/tasks/t-1", web.json_response(TASK))

    assert TASK == json.loads((await gateway.run_cli("tasks", "show", "t-1", "--json")).out)


async def test_task_that_has_not_run_has_no_attempts(gateway: PretendedGateway) -> None:
    """What is not there yet is a dash."""
    gateway.on("GET", "/v1/tasks/t-1", web.json_response({**TASK, "result": None, "attempts": []}))

    done = await gateway.run_cli("tasks", "show", "t-1")

    assert ["error", "-"] == done.out.splitlines()[-1].split()


async def test_list_passes_the_filters_on(gateway: PretendedGateway) -> None:
    """Each option is one filter of the API."""
    query = "queue=tasks&type=echo&status=queued&group=g&created_after=2026-01-01T00:00:00Z"
    gateway.on("GET", f"/v1/tasks?{query}&created_before=2026-02-01T00:00:00Z&limit=50", page("t-1"))
    options = ["--queue", "tasks", "--type", "echo", "--status", "queued", "--group", "g"]
    options += ["--created-after", "2026-01-01T00:00:00Z", "--created-before", "2026-02-01T00:00:00Z"]

    done = await gateway.run_cli("tasks", "list", *options)

    assert ["t-1", "tasks", "echo", "completed", "2026-01-01T00:00:00Z", "1"] == done.out.splitlines()[1].split()


async def test_list_ends_at_the_limit(gateway: PretendedGateway) -> None:
    """Pages are asked for only as long as there is room."""
    gateway.on("GET", "/v1/tasks?limit=200", page("a", "b", cursor="c"))
    gateway.on("GET", "/v1/tasks?limit=200&cursor=c", page("c", "d", cursor="e"))

    done = await gateway.run_cli("tasks", "list", "--limit", "300", "--json")
    assert 1 == done.exit_code  # the page after the last one known

    gateway.on("GET", "/v1/tasks?limit=3", page("a", "b", cursor="c"))
    gateway.on("GET", "/v1/tasks?limit=3&cursor=c", page("c", "d", cursor="e"))

    done = await gateway.run_cli("tasks", "list", "--limit", "3", "--json")
    assert ["a", "b", "c"] == [task["id"] for task in json.loads(done.out)]


async def test_cancel_says_what_becomes_of_the_task(gateway: PretendedGateway) -> None:
    """One that runs is asked, one that waits is canceled."""
    gateway.on("POST", "/v1/tasks/t-1/cancel", web.json_response({**TASK, "status": "canceled"}))
    gateway.on("POST", "/v1/tasks/t-2/cancel", web.json_response({**TASK, "status": "running"}, status=202))

    assert "t-1 is canceled.\n" == (await gateway.run_cli("tasks", "cancel", "t-1")).out
    assert "t-2 is asked to stop" in (await gateway.run_cli("tasks", "cancel", "t-2")).out


async def test_refusal_is_one_line(gateway: PretendedGateway) -> None:
    """The code of the problem and what it says."""
    gateway.on("POST", "/v1/tasks/a%20b/cancel", problem(409, "task_already_ended", "The task has already ended."))

    done = await gateway.run_cli("tasks", "cancel", "a b")

    assert (1, "task_already_ended: The task has already ended.\n") == (done.exit_code, done.err)
