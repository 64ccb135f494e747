"""``/v1/tasks``: looking tasks up, and cancelling them."""

from dataclasses import replace
from typing import Any

import pytest

from mcp_queue.domain.task import TaskStatus
from tests.support.clock import HOUR, MINUTE, SECOND, START
from tests.support.gateway import GatewayKit
from tests.support.http.application import Answer, call
from tests.support.ledger import LedgerHarness
from tests.support.tasks import a_dead_letter, a_task, an_end, an_execution


async def listed(kit: GatewayKit, query: str) -> list[str]:
    """Return the ids of the tasks that a list shows."""
    answer = await call(kit.app, "GET", f"/v1/tasks?{query}")
    assert 200 == answer.status, answer.body
    return [task["id"] for task in answer.json()["tasks"]]


async def cancel(kit: GatewayKit, task_id: str, **options: Any) -> Answer:
    """Cancel a task."""
    return await call(kit.app, "POST", f"/v1/tasks/{task_id}/cancel", **options)


async def test_task_is_found_as_soon_as_it_was_accepted(remembering: GatewayKit) -> None:
    """The answer's Location leads to the same task, with nothing that came of it yet."""
    task = {"type": "echo", "payload": {"a": 1}, "metadata": {"k": "v"}, "delay": "5m", "group": "g"}
    accepted = await call(remembering.app, "POST", "/v1/queues/tasks/tasks", json=task)
    found = await call(remembering.app, "GET", accepted.headers["location"])
    expected = {**accepted.json(), "result": None, "attempts": [], "dead_letters": []}
    assert (200, expected) == (found.status, found.json())
    assert list(expected) == list(found.json())


async def test_task_shows_what_came_of_it(harness: LedgerHarness, remembering: GatewayKit) -> None:
    """Every attempt, how it ended, and the result of the last."""
    task = a_task("t", max_retries=5)
    second = replace(task, retry_count=1)
    await harness.ledger.executions.record(
        an_end(task, TaskStatus.RETRYING, error="503", response_status=503, next_at=START + MINUTE)
    )
    await harness.ledger.executions.record(an_end(second, started_at=START + MINUTE, result={"done": True}))
    found = (await call(remembering.app, "GET", "/v1/tasks/t")).json()
    attempts = [
        {
            "attempt": 1,
            "started_at": "2026-01-01T00:00:00.000000Z",
            "duration": 2,
            "status": "retrying",
            "error": "503",
            "response_status": 503,
        },
        {
            "attempt": 2,
            "started_at": "2026-01-01T00:01:00.000000Z",
            "duration": 2,
            "status": "completed",
            "error": None,
            "response_status": None,
        },
    ]
    result = {
        "task_id": "t",
        "status": "completed",
        "result": {"done": True},
        "error": None,
        "duration": 2,
        "timestamp": "2026-01-01T00:01:02.000000Z",
    }
    assert ("completed", 1, attempts, result) == (
        found["status"], found["retry_count"], found["attempts"], found["result"],
    )  # fmt: skip


async def test_list_shows_the_newest_first_and_no_payloads(harness: LedgerHarness, remembering: GatewayKit) -> None:
    """What a list shows is a task without what is in it and what came of it."""
    await harness.ledger.tasks.record_enqueued([
        a_task("old", payload="p"), a_task("new", payload="p", created_at=START + SECOND),
    ])  # fmt: skip
    answer = (await call(remembering.app, "GET", "/v1/tasks")).json()
    assert (["new", "old"], None) == ([task["id"] for task in answer["tasks"]], answer["next_cursor"])
    assert not {"payload", "result", "attempts", "dead_letters"} & answer["tasks"][0].keys()


async def test_list_goes_page_by_page(harness: LedgerHarness, remembering: GatewayKit) -> None:
    """The cursor of each page leads to the next, until there is none."""
    await harness.ledger.tasks.record_enqueued([a_task(f"t{number}") for number in range(5)])
    seen: list[str] = []
    path = "/v1/tasks?limit=2"
    for _ in range(3):
        page = (await call(remembering.app, "GET", path)).json()
        seen += [task["id"] for task in page["tasks"]]
        path = f"/v1/tasks?limit=2&cursor={page['next_cursor']}"
    assert (["t4", "t3", "t2", "t1", "t0"], None) == (seen, page["next_cursor"])


async def test_filters_are_joined(harness: LedgerHarness, remembering: GatewayKit) -> None:
    """Every one that is there has to fit."""
    await harness.ledger.tasks.record_enqueued([
        a_task("a", group="g"),
        a_task("b", type="other"),
        a_task("c", queue="orders", created_at=START + HOUR),
    ])  # fmt: skip
    await harness.ledger.executions.record(an_end(a_task("d")))
    for query, expected in {
        "queue=orders": ["c"],
        "type=other": ["b"],
        "status=completed": ["d"],
        "group=g": ["a"],
        "created_after=2026-01-01T00:00:00Z": ["c"],
        "created_before=2026-01-01T01:00:00%2B01:00": [],
        "created_before=2026-01-01T00:30:00Z": ["d", "b", "a"],
        "queue=tasks&type=embedding&status=queued": ["a"],
        "group=%00": [],
    }.items():
        assert expected == await listed(remembering, query), query


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("statsu=queued", "statsu"),
        ("status=done", "status"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=many", "limit"),
        ("cursor=unknown", "cursor"),
        ("created_after=yesterday", "created_after"),
        ("queue=a&queue=b", "queue"),
        ("type=a%20b", "type"),
    ],
)
async def test_question_that_makes_no_sense_is_refused(remembering: GatewayKit, query: str, name: str) -> None:
    """A misspelt filter never passes silently."""
    answer = await call(remembering.app, "GET", f"/v1/tasks?{query}")
    assert (422, ["query", name]) == (answer.status, answer.json()["errors"][0]["loc"])


async def test_waiting_task_is_canceled_at_once(harness: LedgerHarness, remembering: GatewayKit) -> None:
    """It never starts, and the audit log names who cancelled it."""
    await harness.ledger.tasks.record_enqueued([a_task("t")])
    answer = await cancel(remembering, "t")
    assert (200, "canceled", "canceled") == (answer.status, answer.json()["status"], answer.json()["result"]["status"])
    (admission,) = await harness.ledger.executions.start([an_execution(a_task("t"))])
    assert TaskStatus.CANCELED is admission.refused
    (entry,) = (await harness.ledger.audit.list_entries(limit=10)).items
    assert ("cancel", "/v1/tasks/t") == (entry.action, entry.target)


async def test_running_task_is_asked_to_stop(harness: LedgerHarness, remembering: GatewayKit) -> None:
    """Its consumer learns of it; until it stops it runs."""
    await harness.ledger.executions.start([an_execution(a_task("t"))])
    answer = await cancel(remembering, "t", json={})
    assert (202, "running") == (answer.status, answer.json()["status"])
    assert {"t"} == await harness.ledger.tasks.cancel_requests(["t"])


@pytest.mark.parametrize("status", [TaskStatus.COMPLETED, TaskStatus.DEAD_LETTERED, TaskStatus.EXPIRED])
async def test_task_that_has_ended_cannot_be_canceled(
    harness: LedgerHarness, remembering: GatewayKit, status: TaskStatus
) -> None:
    """The attempt changes nothing and leaves no audit entry."""
    await harness.ledger.executions.record(an_end(a_task("t"), status))
    answer = await cancel(remembering, "t")
    assert (409, "task_already_ended") == (answer.status, answer.json()["code"])
    assert () == (await harness.ledger.audit.list_entries(limit=10)).items


async def test_cancel_takes_no_members(remembering: GatewayKit) -> None:
    """An option that the call does not have is refused."""
    assert 422 == (await cancel(remembering, "t", json={"force": True})).status


@pytest.mark.parametrize("task_id", ["nobody", "%00"])
async def test_unknown_task_is_not_found(remembering: GatewayKit, task_id: str) -> None:
    """It can neither be shown nor cancelled."""
    for answer in (await call(remembering.app, "GET", f"/v1/tasks/{task_id}"), await cancel(remembering, task_id)):
        assert (404, "task_not_found") == (answer.status, answer.json()["code"])


async def test_dead_letter_is_a_task_that_can_be_found(harness: LedgerHarness, remembering: GatewayKit) -> None:
    """Its status says so, and its result why."""
    await harness.ledger.dead_letters.store_dead_letters([a_dead_letter(a_task("t"), failure_reason="it broke")])
    assert ["t"] == await listed(remembering, "status=dead_lettered")
    found = (await call(remembering.app, "GET", "/v1/tasks/t")).json()
    assert ("dead_lettered", "it broke") == (found["status"], found["result"]["error"])


async def test_task_shows_its_redrive_history(harness: LedgerHarness, remembering: GatewayKit) -> None:
    """Each time it was dead-lettered, why, and what became of that dead letter."""
    dead_letters, task = harness.ledger.dead_letters, a_task("t")
    await dead_letters.store_dead_letters([a_dead_letter(task, failure_reason="first")])
    await harness.clock.advance(HOUR)
    redriven = await call(remembering.app, "POST", "/v1/queues/tasks/dlq/tasks/t/redrive")
    again = a_dead_letter(replace(task, redrive_count=1), failure_reason="second", failed_at=START + 2 * HOUR)
    await dead_letters.store_dead_letters([again])

    shown = (await call(remembering.app, "GET", "/v1/tasks/t")).json()["dead_letters"]

    assert 200 == redriven.status
    expected: list[dict[str, Any]] = [
        {
            "redrive_count": 0,
            "failure_reason": "first",
            "failed_at": "2026-01-01T00:00:00.000000Z",
            "state": "redriven",
            "closed_at": "2026-01-01T01:00:00.000000Z",
            "closed_by": "anonymous",
        },
        {
            "redrive_count": 1,
            "failure_reason": "second",
            "failed_at": "2026-01-01T02:00:00.000000Z",
            "state": "waiting",
            "closed_at": None,
            "closed_by": None,
        },
    ]
    assert expected == shown
    assert [list(members) for members in expected] == [list(members) for members in shown]


async def test_deeply_nested_result_is_shown(harness: LedgerHarness, remembering: GatewayKit) -> None:
    """A handler may return what no client may send."""
    result: Any = "deep"
    for _ in range(400):
        result = [result]
    await harness.ledger.executions.record(an_end(a_task("t"), result=result))

    found = await call(remembering.app, "GET", "/v1/tasks/t")

    assert (200, result) == (found.status, found.json()["result"]["result"])


async def test_without_a_ledger_tasks_cannot_be_looked_up(kit: GatewayKit) -> None:
    """The answer says what is missing."""
    for method, path in (("GET", "/v1/tasks"), ("GET", "/v1/tasks/t"), ("POST", "/v1/tasks/t/cancel")):
        answer = await call(kit.app, method, path)
        assert (501, "ledger_disabled") == (answer.status, answer.json()["code"])


async def test_ledger_that_is_down_asks_to_come_back(harness: LedgerHarness, remembering: GatewayKit) -> None:
    """The same request may succeed later."""
    harness.ledger._database.set_away("the test says so")
    answer = await call(remembering.app, "GET", "/v1/tasks/t")
    assert (503, "backend_unavailable", "1") == (answer.status, answer.json()["code"], answer.headers["retry-after"])
