"""What callers see of tasks: payloads need a scope of their own, and keys may be bound to queues."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mcp_queue.domain.dead_letters.dead_letter import DeadLetter
from mcp_queue.domain.operators.audit import AuditEntry, DestinationReport
from mcp_queue.domain.operators.keys import KeyScope
from mcp_queue.domain.task import TaskStatus
from mcp_queue.gateway.server.auth import Authenticator
from mcp_queue.services.schedules.schedules import NewSchedule
from tests.support.clock import START
from tests.support.gateway import GatewayKit, api_key, bearer
from tests.support.http.application import Answer, call
from tests.support.ledger import ledger_harness, sqlite_url
from tests.support.tasks import a_dead_letter, a_task, an_end, an_execution

SECRET = "4111-1111"
PAYLOAD = {"card": SECRET}
KEYS = (
    api_key("all", KeyScope.ADMIN, name="root"),
    api_key("read", KeyScope.READ, name="watcher"),
    api_key("see", KeyScope.READ, KeyScope.PAYLOADS, name="support"),
    api_key("operate", KeyScope.OPERATE, name="robot"),
    api_key("mend", KeyScope.OPERATE, KeyScope.PAYLOADS, name="mechanic"),
    api_key("tasks", KeyScope.ADMIN, name="tenant", queues={"tasks"}),
)


@pytest.fixture
async def kit(tmp_path: Path) -> AsyncIterator[GatewayKit]:
    """Return a gateway with keys and a ledger."""
    async with sqlite_url(tmp_path) as url, ledger_harness(url) as harness:
        yield GatewayKit(harness=harness, authenticator=Authenticator(KEYS), audit=harness.ledger.audit)


async def ask(kit: GatewayKit, key: str, operation: str, **members: Any) -> Answer:
    """Return the answer to an operation such as ``GET /v1/tasks`` with the key."""
    method, path = operation.split(" ")
    return await call(kit.app, method, path, headers=bearer(key), **members)


async def completed(kit: GatewayKit, task_id: str, queue: str = "tasks") -> None:
    """Remember a task with a payload and a result."""
    assert kit.harness is not None
    task = a_task(task_id, queue=queue, payload=PAYLOAD)
    await kit.harness.ledger.tasks.record_enqueued([task])
    await kit.harness.ledger.executions.start([an_execution(task)])
    await kit.harness.ledger.executions.record(an_end(task, TaskStatus.COMPLETED, result={"charged": SECRET}))


async def dead_lettered(kit: GatewayKit, dead_letter: DeadLetter) -> str:
    """Store a dead letter; return its path."""
    assert kit.harness is not None
    await kit.harness.ledger.dead_letters.store_dead_letters([dead_letter])
    return f"/v1/queues/tasks/dlq/tasks/{dead_letter.task_id}"


async def test_task_shows_its_payload_to_the_scope_alone(kit: GatewayKit) -> None:
    """Without it payload and result are null, whatever they were, and the answer says so."""
    await completed(kit, "t1")

    full, less = [(await ask(kit, key, "GET /v1/tasks/t1")).json() for key in ("see", "read")]

    assert (PAYLOAD, {"charged": SECRET}) == (full["payload"], full["result"]["result"])
    assert "redacted" not in full
    assert {**full, "payload": None, "result": {**full["result"], "result": None}, "redacted": True} == less


async def test_list_of_tasks_shows_no_payload_at_all(kit: GatewayKit) -> None:
    """Not even to who may see it."""
    await completed(kit, "t1")

    for key in ("see", "read"):
        assert SECRET.encode() not in (await ask(kit, key, "GET /v1/tasks")).body


async def test_cancel_shows_no_payload_without_the_scope(kit: GatewayKit) -> None:
    """An operator that cancels a task gets it back without what is in it."""
    assert kit.harness is not None
    await kit.harness.ledger.tasks.record_enqueued([a_task("t1", payload=PAYLOAD)])

    canceled = await ask(kit, "operate", "POST /v1/tasks/t1/cancel")

    assert (200, None, True) == (canceled.status, canceled.json()["payload"], canceled.json()["redacted"])


async def test_dead_letter_shows_its_payload_to_the_scope_alone(kit: GatewayKit) -> None:
    """The reason why it failed is there for everybody who may read."""
    path = await dead_lettered(kit, a_dead_letter(a_task(payload=PAYLOAD)))

    full, less = [(await ask(kit, key, f"GET {path}")).json() for key in ("see", "read")]

    assert (PAYLOAD, "it broke") == (full["payload"], full["failure_reason"])
    assert {**full, "payload": None, "redacted": True} == less


HOOK, ORIGIN = f"https://hooks.example/{SECRET}?token={SECRET}", "https://hooks.example:443"


async def test_callback_url_is_cut_to_its_origin_without_the_scope(kit: GatewayKit) -> None:
    """Path and query may hold secrets: in tasks, dead letters and schedules, one by one and in lists."""
    await stored_with(kit, HOOK)

    for path, member in SHOWN_URLS.items():
        full, less = [(await ask(kit, key, f"GET {path}")).json() for key in ("see", "read")]
        assert [HOOK, ORIGIN] == [found(member, answer) for answer in (full, less)], path


async def test_callback_url_that_leads_nowhere_is_hidden(kit: GatewayKit) -> None:
    """Nobody can say which part of it is the host."""
    await stored_with(kit, f"{SECRET}:/hook")

    for path, member in SHOWN_URLS.items():
        assert found(member, (await ask(kit, "read", f"GET {path}")).json()) is None, path


SHOWN_URLS = {
    "/v1/tasks": ("tasks", 0, "callback_url"),
    "/v1/tasks/t1": ("callback_url",),
    "/v1/queues/tasks/dlq/tasks": ("tasks", 0, "callback_url"),
    "/v1/queues/tasks/dlq/tasks/t1": ("callback_url",),
    "/v1/schedules": ("schedules", 0, "task", "callback_url"),
    "/v1/schedules/nightly": ("task", "callback_url"),
}


async def stored_with(kit: GatewayKit, url: str) -> None:
    """Remember a task, its dead letter and a schedule, each with a callback URL."""
    assert kit.harness is not None
    task = a_task("t1", callback_url=url)
    await kit.harness.ledger.tasks.record_enqueued([task])
    await dead_lettered(kit, a_dead_letter(task))
    new = NewSchedule(cron="0 3 * * *", queue="tasks", task={"type": "echo"})
    schedule, _ = await kit.scheduling.put("nightly", new)
    await kit.harness.ledger.schedules.put(replace(schedule, task={**schedule.task, "callback_url": url}))


def found(member: tuple[str | int, ...], answer: Any) -> Any:
    """Return the part of ``answer`` at ``member``."""
    for step in member:
        answer = answer[step]
    return answer


@pytest.mark.parametrize("key", ["see", "read", "operate"])
async def test_name_of_a_key_is_for_admins(kit: GatewayKit, key: str) -> None:
    """The audit log, which names them too, is for admins alone."""
    path = await dead_lettered(kit, a_dead_letter(a_task("t1")))
    assert 200 == (await ask(kit, "mend", f"POST {path}/redrive")).status
    operation = "POST /v1/tasks/t1/cancel" if key == "operate" else "GET /v1/tasks/t1"

    [less] = (await ask(kit, key, operation)).json()["dead_letters"]
    [full] = (await ask(kit, "all", "GET /v1/tasks/t1")).json()["dead_letters"]

    assert "mechanic" == full["closed_by"]
    assert {**full, "closed_by": None} == less


async def test_body_that_is_no_task_is_a_payload(kit: GatewayKit) -> None:
    """What could not be read may hold anything."""
    poison = DeadLetter(
        task_id="m1", redrive_count=0, queue="tasks", failure_reason="no JSON", failed_at=START, body=SECRET
    )
    path = await dead_lettered(kit, poison)

    assert SECRET == (await ask(kit, "see", f"GET {path}")).json()["body"]
    less = await ask(kit, "read", f"GET {path}")
    assert SECRET.encode() not in less.body
    assert less.json()["redacted"]


async def test_redrive_shows_no_payload_without_the_scope(kit: GatewayKit) -> None:
    """A key that may only operate sends the dead letter back unseen."""
    answer = await ask(
        kit, "operate", f"POST {await dead_lettered(kit, a_dead_letter(a_task(payload=PAYLOAD)))}/redrive"
    )

    assert (200, None) == (answer.status, answer.json()["payload"])
    (delivery,) = await kit.tasks.receive(1, timedelta(0))
    assert PAYLOAD == (delivery.task and delivery.task.payload)


async def test_redrive_to_another_receiver_needs_the_scope(kit: GatewayKit) -> None:
    """Otherwise an operator would have the payload sent to a server of his own."""
    redrive = f"POST {await dead_lettered(kit, a_dead_letter(a_task(payload=PAYLOAD)))}/redrive"
    elsewhere = {"callback_url": "https://attacker.example/"}

    refused = await ask(kit, "operate", redrive, json=elsewhere)
    assert (403, "forbidden") == (refused.status, refused.json()["code"])
    assert 200 == (await ask(kit, "mend", redrive, json=elsewhere)).status


async def test_schedule_shows_its_payload_to_the_scope_alone(kit: GatewayKit) -> None:
    """By itself, in the list, and in the task of a run."""
    await kit.scheduling.put(
        "nightly", NewSchedule(cron="0 3 * * *", queue="tasks", task={"type": "echo", "payload": PAYLOAD})
    )

    assert PAYLOAD == (await ask(kit, "see", "GET /v1/schedules/nightly")).json()["task"]["payload"]
    for key, operation in (
        ("read", "GET /v1/schedules/nightly"),
        ("read", "GET /v1/schedules"),
        ("operate", "POST /v1/schedules/nightly/run"),
    ):
        answer = await ask(kit, key, operation)
        assert SECRET.encode() not in answer.body, operation
        assert b'"redacted":true' in answer.body, operation


async def test_bound_key_lists_tasks_of_its_queues(kit: GatewayKit) -> None:
    """The others are neither shown nor counted: pages are as long as asked for."""
    for number in range(3):
        await completed(kit, f"o{number}", "orders")
        await completed(kit, f"t{number}", "tasks")

    page = (await ask(kit, "tasks", "GET /v1/tasks?limit=2")).json()
    rest = (await ask(kit, "tasks", f"GET /v1/tasks?limit=2&cursor={page['next_cursor']}")).json()

    assert (["t2", "t1"], ["t0"]) == tuple([task["id"] for task in part["tasks"]] for part in (page, rest))
    assert 403 == (await ask(kit, "tasks", "GET /v1/tasks?queue=orders")).status
    assert 422 == (await ask(kit, "tasks", "GET /v1/tasks?limit=1_0")).status
    assert 6 == len((await ask(kit, "all", "GET /v1/tasks")).json()["tasks"])


@pytest.mark.parametrize("operation", ["GET /v1/tasks/{id}", "POST /v1/tasks/{id}/cancel"])
async def test_bound_key_reaches_tasks_of_its_queues(kit: GatewayKit, operation: str) -> None:
    """Another queue's task is not touched, and looks as if there were none."""
    assert kit.harness is not None
    tasks = [a_task("mine"), a_task("theirs", queue="orders")]
    await kit.harness.ledger.tasks.record_enqueued(tasks)

    answers = [await ask(kit, "tasks", operation.replace("{id}", name)) for name in ("mine", "theirs", "none")]

    assert [200, 404, 404] == [answer.status for answer in answers]
    assert answers[1].json()["detail"] == answers[2].json()["detail"]
    theirs = await kit.harness.ledger.tasks.get("theirs")
    assert TaskStatus.QUEUED is (theirs and theirs.status)


async def test_bound_key_reaches_schedules_of_its_queues(kit: GatewayKit) -> None:
    """Neither by their names, nor by moving one from or to another queue."""
    new = {queue: {"cron": "0 3 * * *", "queue": queue, "task": {"type": "echo"}} for queue in ("tasks", "orders")}
    for name, queue in (("a", "orders"), ("b", "tasks"), ("c", "orders")):
        assert 201 == (await ask(kit, "all", f"PUT /v1/schedules/{name}", json=new[queue])).status

    listed = (await ask(kit, "tasks", "GET /v1/schedules")).json()
    assert ["b"] == [schedule["name"] for schedule in listed["schedules"]]
    tries: list[tuple[str, str | None, int]] = [
        ("GET /v1/schedules/a", None, 403),
        ("POST /v1/schedules/a/run", None, 403),
        ("DELETE /v1/schedules/a", None, 403),
        ("PUT /v1/schedules/a", "tasks", 403),
        ("PUT /v1/schedules/b", "orders", 403),
        ("PUT /v1/schedules/b", "tasks", 200),
        ("DELETE /v1/schedules/b", None, 204),
    ]
    for operation, target, status in tries:
        body = {} if target is None else {"json": new[target]}
        assert status == (await ask(kit, "tasks", operation, **body)).status, operation


async def test_audit_names_the_key_and_shows_bound_keys_their_queues(kit: GatewayKit) -> None:
    """Who did it is the name of the key, not what it was sent with."""
    for key, queue in (("operate", "orders"), ("tasks", "tasks")):
        assert 200 == (await ask(kit, key, f"POST /v1/queues/{queue}/pause")).status
    assert kit.harness is not None
    of_no_queue = AuditEntry(at=START, actor="root", action="cancel", target="/v1/redrives/1")
    await kit.harness.ledger.audit.append(of_no_queue)

    everything, own = [(await ask(kit, key, "GET /v1/audit")).json()["entries"] for key in ("all", "tasks")]

    assert ["root", "tenant", "robot"] == [entry["actor"] for entry in everything]
    assert [("tenant", "/v1/queues/tasks")] == [(entry["actor"], entry["target"]) for entry in own]


async def test_bound_key_reaches_no_destination(kit: GatewayKit) -> None:
    """They are shared by all queues: who stops one stops the tasks of others."""
    name = "https%3A%2F%2Fexample.com%3A443"
    for operation in (
        "GET /v1/destinations",
        f"POST /v1/destinations/{name}/pause",
        f"POST /v1/destinations/{name}/resume",
    ):
        assert 403 == (await ask(kit, "tasks", operation)).status


async def test_destination_is_paused_and_resumed_by_its_name(kit: GatewayKit) -> None:
    """Any spelling of its URL means it; who did it stands in the audit log."""
    assert kit.harness is not None
    destinations = kit.harness.ledger.destinations
    figures = {"calls": 3, "failures": 1, "open_until": None, "in_flight": 0, "waiting": 2, "deferred": 5}
    report = DestinationReport(
        name="https://example.com:443", consumer="c1", state="open", reported_at=START, figures=figures
    )
    await destinations.publish([report])

    paused = await ask(kit, "operate", "POST /v1/destinations/https://EXAMPLE.com/hooks/pause")
    listed = await ask(kit, "read", "GET /v1/destinations")
    resumed = await ask(kit, "operate", "POST /v1/destinations/https://example.com:443/resume")

    expected = {
        "name": "https://example.com:443",
        "paused": True,
        "consumers": [{"consumer": "c1", "state": "open", "reported_at": "2026-01-01T00:00:00.000000Z", **figures}],
    }
    assert (200, expected) == (paused.status, paused.json())
    assert {"destinations": [expected], "next_cursor": None} == listed.json()
    assert (200, False) == (resumed.status, resumed.json()["paused"])
    actions = [
        (entry["action"], entry["target"]) for entry in (await ask(kit, "all", "GET /v1/audit")).json()["entries"]
    ]
    assert [
        ("resume", "/v1/destinations/https://example.com:443"),
        ("pause", "/v1/destinations/https://example.com:443"),
    ] == actions


async def test_destination_without_recent_calls_is_forgotten(kit: GatewayKit) -> None:
    """What consumers told half a minute ago is shown; what they told before is not."""
    assert kit.harness is not None
    report = DestinationReport(name="billing", consumer="c1", state="closed", reported_at=START, figures={})
    await kit.harness.ledger.destinations.publish([report])

    await kit.clock.advance(timedelta(seconds=31))

    assert [] == (await ask(kit, "read", "GET /v1/destinations")).json()["destinations"]


@pytest.mark.parametrize("name", ["biling", "https://", "ftp://example.com", "https://a:b@"])
async def test_destination_that_is_none_is_not_found(kit: GatewayKit, name: str) -> None:
    """A misspelt name would silently stop nothing; the name of a route is a destination."""
    for action in ("pause", "resume"):
        assert 404 == (await ask(kit, "operate", f"POST /v1/destinations/{name}/{action}")).status
        assert 200 == (await ask(kit, "operate", f"POST /v1/destinations/billing/{action}")).status


async def test_destinations_need_the_ledger() -> None:
    """Without one nothing is shared: 501 says so."""
    kit = GatewayKit()
    for method, path in (("GET", ""), ("POST", "/billing/pause"), ("POST", "/billing/resume")):
        answer = await call(kit.app, method, f"/v1/destinations{path}")
        assert (501, "ledger_disabled") == (answer.status, answer.json()["code"])
