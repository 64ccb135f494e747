"""``dlq`` against a real HTTP server."""

import json
from typing import Any

import pytest
from aiohttp import web

from tests.support.processes.cli import PretendedGateway, Received, problem

DLQ = "/v1/queues/tasks/dlq"
LETTER = {
    "id": "t-1",
    "type": "order.paid",
    "failure_reason": "the callback answered 503",
    "failed_at": "2026-01-01T00:00:00.000000Z",
    "original_queue": "tasks",
    "attempts": 4,
    "response_status": 503,
    "redrive_count": 0,
    "metadata": {"team": "a"},
}
ATTEMPT = {
    "attempt": 4,
    "started_at": "2026-01-01T00:00:00.000000Z",
    "duration": 0.5,
    "status": "dead_lettered",
    "error": "the callback answered 503",
    "response_status": 503,
}


def bodies(gateway: PretendedGateway) -> list[Any]:
    """Return what was posted."""
    return [json.loads(request.body) for request in gateway.requests if request.body]


def answering(*answers: dict[str, Any], status: int = 200) -> Any:
    """Return what gives one answer after the other, the last again and again."""
    left = list(answers)

    def answer(_: Received) -> web.Response:
        return web.json_response(left.pop(0) if len(left) > 1 else left[0], status=status)

    return answer


async def test_dead_letters_are_a_table(gateway: PretendedGateway) -> None:
    """Filters go to the gateway, page by page."""
    query = "?reason=answered+503&limit=2"
    gateway.on("GET", f"{DLQ}/tasks{query}", answering({"tasks": [LETTER], "next_cursor": "c"}))
    gateway.on("GET", f"{DLQ}/tasks{query}&cursor=c", answering({"tasks": [LETTER, LETTER], "next_cursor": None}))

    done = await gateway.run_cli("dlq", "list", "tasks", "--reason", "answered 503", "--limit", "2")

    assert 0 == done.exit_code, done.err
    head, *lines = done.out.splitlines()
    assert ["Task", "Type", "Failed", "Attempts", "Answer", "Reason"] == head.split()
    assert 2 == len(lines)
    assert ["t-1", "order.paid", "2026-01-01T00:00:00.000000Z", "4", "503", "the"] == lines[0].split()[:6]


async def test_one_dead_letter_shows_payload_and_attempts(gateway: PretendedGateway) -> None:
    """Ids of any form are found; JSON is what the gateway answered."""
    dead_letter = {**LETTER, "payload": {"n": 1}, "history": [ATTEMPT]}
    gateway.on("GET", f"{DLQ}/tasks/t%201", answering(dead_letter))

    done = await gateway.run_cli("dlq", "show", "tasks", "t 1")

    assert '{"n": 1}' in done.out
    assert "Attempt" in done.out
    assert dead_letter == json.loads((await gateway.run_cli("dlq", "show", "tasks", "t 1", "--json")).out)


async def test_redrive_by_ids_asks_nothing(gateway: PretendedGateway) -> None:
    """Whoever types ids has looked."""
    gateway.on("POST", f"{DLQ}/redrive", answering({"matched": 2, "redriven": 2, "failed": []}))

    done = await gateway.run_cli("dlq", "redrive", "tasks", "a", "b")

    assert (0, "Redrove 2 dead letters of tasks, 0 refused.\n") == (done.exit_code, done.out)
    assert [{"ids": ["a", "b"], "dry_run": False}] == bodies(gateway)


async def test_redrive_of_unknown_ids_is_a_failure(gateway: PretendedGateway) -> None:
    """A typing mistake is no success."""
    gateway.on("POST", f"{DLQ}/redrive", answering({"matched": 1, "redriven": 1, "failed": []}))

    done = await gateway.run_cli("dlq", "redrive", "tasks", "a", "nope")

    assert (1, "Redrove 1 dead letter of tasks, 0 refused.\n") == (done.exit_code, done.out)
    assert "1 of the ids are of no dead letter of tasks\n" == done.err


async def test_redrive_by_filter_says_first_how_many(gateway: PretendedGateway) -> None:
    """The answer no ends the command."""
    gateway.on("POST", f"{DLQ}/redrive", answering({"matched": 1200, "redriven": 0, "failed": []}))

    done = await gateway.run_cli("dlq", "redrive", "tasks", "--type", "order.paid", stdin=b"n\n")

    assert 1 == done.exit_code
    assert "Redrive 1,200 dead letters of tasks?" in done.out
    assert [{"filter": {"type": "order.paid"}, "dry_run": True}] == bodies(gateway)


async def test_refused_dead_letters_are_told_of(gateway: PretendedGateway) -> None:
    """Each on its line, and by the exit code."""
    refusal = {"id": "m", "code": "invalid_task", "detail": "no task"}
    gateway.on("POST", f"{DLQ}/redrive", answering({"matched": 2, "redriven": 1, "failed": [refusal], "sampled": True}))

    done = await gateway.run_cli("dlq", "redrive", "tasks", "--all", "--yes")

    assert (1, "m: invalid_task: no task\n") == (done.exit_code, done.err)
    assert "Redrove 1 dead letter of tasks, 1 refused. There may be others that were not found.\n" == done.out


async def test_redrive_in_the_background_is_watched_to_its_end(gateway: PretendedGateway) -> None:
    """The bar is for terminals; what is printed is how it ended."""
    redrive = {"id": "r", "status": "running", "matched": 500, "redriven": 0, "failed": 0}
    gateway.on("POST", f"{DLQ}/redrive", answering(redrive, status=202))
    ended = {**redrive, "status": "completed", "redriven": 500}
    gateway.on("GET", "/v1/redrives/r", answering({**redrive, "redriven": 200}, ended))

    done = await gateway.run_cli("dlq", "redrive", "tasks", "--all", "--max-per-second", "100", "-y")

    assert (0, "Redrove 500 dead letters of tasks, 0 refused.\n", "") == (done.exit_code, done.out, done.err)
    assert [{"all": True, "max_per_second": 100, "dry_run": False}] == bodies(gateway)


async def test_redrive_that_was_canceled_says_so(gateway: PretendedGateway) -> None:
    """JSON is the last state of it."""
    redrive = {"id": "r", "status": "canceled", "matched": 500, "redriven": 20, "failed": 0}
    gateway.on("POST", f"{DLQ}/redrive", answering(redrive, status=202))

    done = await gateway.run_cli("dlq", "redrive", "tasks", "--all", "--yes")
    assert "The redrive was canceled." in done.out
    assert redrive == json.loads((await gateway.run_cli("dlq", "redrive", "tasks", "--all", "--yes", "--json")).out)


async def test_dry_run_changes_nothing(gateway: PretendedGateway) -> None:
    """It only counts."""
    gateway.on("POST", f"{DLQ}/redrive", answering({"matched": 3, "redriven": 0, "failed": []}))

    done = await gateway.run_cli("dlq", "redrive", "tasks", "--all", "--dry-run")

    assert "3 dead letters of tasks would be redriven.\n" == done.out
    assert [{"all": True, "dry_run": True}] == bodies(gateway)


@pytest.mark.parametrize("arguments", [[], ["a", "--all"], ["--all", "--type", "x"]])
async def test_redrive_says_exactly_which(gateway: PretendedGateway, arguments: list[str]) -> None:
    """Nothing is sent before that is clear."""
    done = await gateway.run_cli("dlq", "redrive", "tasks", *arguments)

    assert 2 == done.exit_code
    assert [] == gateway.requests


async def test_dead_letters_are_deleted_one_by_one(gateway: PretendedGateway) -> None:
    """The first that is not there ends the command."""
    gateway.on("DELETE", f"{DLQ}/tasks/a", lambda _: web.Response(status=204))
    gateway.on("DELETE", f"{DLQ}/tasks/b", problem(404, "task_not_found", "no such letter"))

    done = await gateway.run_cli("dlq", "delete", "tasks", "a", "--yes")
    assert (0, "Deleted 1 dead letter of tasks.\n") == (done.exit_code, done.out)
    done = await gateway.run_cli("dlq", "delete", "tasks", "b", stdin=b"y\n")
    assert (1, "task_not_found: no such letter\n") == (done.exit_code, done.err)


async def test_purge_is_confirmed_by_the_name(gateway: PretendedGateway) -> None:
    """``--yes`` asks nobody; without it, no is an answer."""
    gateway.on("POST", f"{DLQ}/purge", answering({"purged": 7}, {"purged": None}))

    assert 1 == (await gateway.run_cli("dlq", "purge", "tasks", stdin=b"n\n")).exit_code
    assert [] == gateway.requests
    done = await gateway.run_cli("dlq", "purge", "tasks", "--yes")
    assert "Purged 7 dead letters of tasks.\n" == done.out
    assert "Purged the dead letters of tasks.\n" == (await gateway.run_cli("dlq", "purge", "tasks", "-y")).out
    assert {"confirm": "tasks"} == bodies(gateway)[0]
