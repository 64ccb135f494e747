"""``queues`` against a real HTTP server."""

import json
from typing import Any

from aiohttp import web

from tests.support.processes.cli import PretendedGateway, problem

TASKS = {"name": "tasks", "kind": "standard", "backend": "sqlite", "dead_letter_queue": "dlq", "paused": False}
DLQ = {"name": "dlq", "kind": "standard", "backend": "sqlite", "dead_letter_queue": None, "paused": False}


def stats(name: str, **members: Any) -> web.Response:
    """Return the stats of a queue as the gateway answers them."""
    counts = dict.fromkeys(("approximate_messages", "inflight_messages", "delayed_messages"), 0)
    unknown = dict.fromkeys(("oldest_message_age", "dead_letters"))
    return web.json_response({"queue_name": name, "paused": False, **counts, **unknown, **members})


def list_queues_on(gateway: PretendedGateway) -> None:
    """Let the list of queues come in two pages."""
    gateway.on("GET", "/v1/queues", lambda _: web.json_response({"queues": [TASKS], "next_cursor": "c"}))
    gateway.on("GET", "/v1/queues?cursor=c", lambda _: web.json_response({"queues": [DLQ], "next_cursor": None}))


async def test_queues_are_listed_page_by_page(gateway: PretendedGateway) -> None:
    """A table has a line for each."""
    list_queues_on(gateway)

    done = await gateway.run_cli("queues", "list")

    assert 0 == done.exit_code
    assert [
        ["Queue", "Kind", "Backend", "Dead", "letters", "to", "Paused"],
        ["tasks", "standard", "sqlite", "dlq", "no"],
        ["dlq", "standard", "sqlite", "-", "no"],
    ] == [line.split() for line in done.out.splitlines()]


async def test_lists_are_for_programs_too(gateway: PretendedGateway) -> None:
    """JSON holds what the gateway answered."""
    list_queues_on(gateway)

    assert [TASKS, DLQ] == json.loads((await gateway.run_cli("queues", "list", "--json")).out)


async def test_stats_of_every_queue_are_a_table(gateway: PretendedGateway) -> None:
    """What is not known is a dash, never 0."""
    list_queues_on(gateway)
    waiting = stats("tasks", approximate_messages=1200, oldest_message_age=75.4, dead_letters=2, paused=True)
    gateway.on("GET", "/v1/queues/tasks/stats", waiting)
    gateway.on("GET", "/v1/queues/dlq/stats", stats("dlq"))

    done = await gateway.run_cli("queues", "stats")

    assert [["tasks", "1200", "0", "0", "1m15s", "2", "yes"], ["dlq", "0", "0", "0", "-", "-", "no"]] == [
        line.split() for line in done.out.splitlines()[1:]
    ]


async def test_stats_of_one_queue_ask_for_that_one(gateway: PretendedGateway) -> None:
    """Nobody needs the list to look at one queue."""
    gateway.on("GET", "/v1/queues/tasks/stats", stats("tasks"))

    done = await gateway.run_cli("queues", "stats", "tasks", "--json")

    assert ["tasks"] == [found["queue_name"] for found in json.loads(done.out)]
    assert 1 == len(gateway.requests)


async def test_a_queue_is_paused_and_resumed(gateway: PretendedGateway) -> None:
    """Both calls send no body."""
    for action in ("pause", "resume"):
        gateway.on("POST", f"/v1/queues/tasks/{action}", lambda _: web.json_response({}))

    assert 0 == (await gateway.run_cli("queues", "pause", "tasks")).exit_code
    assert 0 == (await gateway.run_cli("queues", "resume", "tasks")).exit_code
    assert [("/v1/queues/tasks/pause", b""), ("/v1/queues/tasks/resume", b"")] == [
        (request.path, request.body) for request in gateway.requests
    ]


async def test_a_purge_is_confirmed_by_the_name(gateway: PretendedGateway) -> None:
    """``--yes`` asks nobody; the request names the queue once more."""
    gateway.on("POST", "/v1/queues/tasks/purge", lambda _: web.json_response({"purged": 7}))

    done = await gateway.run_cli("queues", "purge", "tasks", "--yes")

    assert "Purged tasks: 7 tasks canceled.\n" == done.out
    assert {"confirm": "tasks"} == json.loads(gateway.requests[0].body)


async def test_a_purge_that_is_not_confirmed_does_nothing(gateway: PretendedGateway) -> None:
    """The answer no ends the command."""
    done = await gateway.run_cli("queues", "purge", "tasks", stdin=b"n\n")

    assert 1 == done.exit_code
    assert [] == gateway.requests


async def test_a_purge_of_a_backend_that_does_not_count_says_no_number(gateway: PretendedGateway) -> None:
    """SQS does not say how many there were."""
    gateway.on("POST", "/v1/queues/tasks/purge", lambda _: web.json_response({"purged": None}))

    assert "Purge" in (await gateway.run_cli("queues", "purge", "tasks", stdin=b"y\n")).out


async def test_a_call_that_needs_the_ledger_says_so(gateway: PretendedGateway) -> None:
    """The gateway's own words are passed on."""
    gateway.on("POST", "/v1/queues/tasks/pause", problem(501, "ledger_disabled", "pausing needs the ledger"))

    done = await gateway.run_cli("queues", "pause", "tasks")

    assert (1, "ledger_disabled: pausing needs the ledger\n") == (done.exit_code, done.err)
