"""A thousand tasks of every kind for both processes, and the account of what became of each."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.support.http.receiver import Answer, Receiver
from tests.support.processes.stack import Stack

#: Chosen once, so that a failing run can be repeated.
SEED = 20260131


@dataclass
class Plan:
    """A thousand tasks and what is expected of each."""

    tasks: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    succeed_in_process: set[str] = field(default_factory=set)
    succeed_by_callback: set[str] = field(default_factory=set)
    dead_letter: set[str] = field(default_factory=set)
    kinds: dict[str, str] = field(default_factory=dict)  #: what each is: its type, and where it is sent
    poison: int = 50

    def add(self, queue: str, expected: set[str], **members: Any) -> None:
        """Plan one task, known by the mark in its metadata."""
        mark = f"m{sum(map(len, self.tasks.values()))}"
        expected.add(mark)
        path = members.get("callback_url", "").rpartition("/")[2]
        self.kinds[mark] = f"{members['type']} {path}".strip()
        metadata = {"mark": mark}
        self.tasks.setdefault(queue, []).append({"payload": {"mark": mark}, "metadata": metadata, **members})


def plan_thousand(receiver: Receiver) -> Plan:
    """Plan 950 tasks of all kinds; fifty poison messages make it a thousand."""
    plan = Plan()
    ok, called, dead = plan.succeed_in_process, plan.succeed_by_callback, plan.dead_letter
    for number in range(250):
        plan.add("tasks", ok, type="test.ok" if number % 2 else "test.sync")
    for number in range(100):
        plan.add("work", ok, type="test.ok", priority=number % 4)
    for _ in range(50):
        plan.add("tasks", ok, type="test.slow")
        plan.add("tasks", ok, type="test.flaky")
        plan.add("tasks", ok, type="test.ok", delay="1500ms")
        plan.add("tasks", dead, type="test.broken")
        plan.add("tasks", dead, type="test.exhausting", max_retries=2)
        plan.add("tasks", dead, type="test.nobody")
        plan.add("tasks", called, type="test.remote", callback_url=receiver.url("/flaky"))
        plan.add("tasks", dead, type="test.remote", callback_url=receiver.url("/gone"))
    for _ in range(150):
        plan.add("tasks", called, type="test.remote", callback_url=receiver.url("/ok"))
    for number in range(50):
        plan.add("orders", ok, type="test.ok", group=f"g{number % 5}")
    return plan


@asynccontextmanager
async def running_receiver() -> AsyncIterator[Receiver]:
    """Run a receiver that takes /ok, fails three times in four on /flaky's first requests, and refuses /gone."""
    async with Receiver() as running:
        running.script("/flaky", *([Answer(status=503), Answer()] * 20), Answer())
        running.script("/gone", Answer(status=410))
        yield running


async def enqueue_all(stack: Stack, plan: Plan) -> None:
    """Post every queue's tasks as a batch; all are accepted."""
    async with aiohttp.ClientSession(stack.gateway.url) as session:
        for queue, tasks in plan.tasks.items():
            async with session.post(f"/v1/queues/{queue}/tasks/batch", json={"tasks": tasks}) as response:
                body = await response.json()
                assert (response.status, body["accepted"]) == (202, len(tasks)), body


async def all_settled(stack: Stack) -> bool:
    """Whether nothing waits, runs or is delayed any more."""
    async with aiohttp.ClientSession(stack.gateway.url) as session:
        for queue in ("tasks", "orders", "work"):
            async with session.get(f"/v1/queues/{queue}/stats") as response:
                stats = await response.json()
            if stats["approximate_messages"] or stats["inflight_messages"] or stats["delayed_messages"]:
                return False
    return True


def succeeded_in_process(stack: Stack) -> Counter[str]:
    """Count the successful executions of each mark."""
    return Counter(effect["payload"]["mark"] for effect in stack.effects() if effect["what"] == "ok")


def delivered(receiver: Receiver) -> set[str]:
    """Return the marks that callbacks brought."""
    bodies = (request.body for request in receiver.requests if request.path in {"/ok", "/flaky"})
    return {json.loads(body)["payload"]["mark"] for body in bodies}


async def account(stack: Stack, plan: Plan, receiver: Receiver) -> None:
    """Every task ran as planned, and nothing else did."""
    assert set(succeeded_in_process(stack)) == plan.succeed_in_process
    assert delivered(receiver) == plan.succeed_by_callback


async def account_with_ledger(stack: Stack, plan: Plan, *, exactly: bool) -> None:
    """Every task says how it ended: its status, its attempts and its result. Dead letters wait in the ledger.

    Where consumers were killed, attempts may be there that nobody planned (``exactly`` is false).
    """
    async with aiohttp.ClientSession(stack.gateway.url) as session:
        found = [task async for task in listed(session, "/v1/tasks")]
        tasks = {task["metadata"]["mark"]: task for task in found}
        assert plan.dead_letter == {mark for mark, task in tasks.items() if task["status"] == "dead_lettered"}
        succeeded = plan.succeed_in_process | plan.succeed_by_callback
        assert succeeded == {mark for mark, task in tasks.items() if task["status"] == "completed"}
        assert plan.kinds.keys() == tasks.keys()
        assert len(plan.kinds) == len(found)
        for mark, task in tasks.items():
            async with session.get(f"/v1/tasks/{task['id']}") as response:
                assert_ended(await response.json(), plan.kinds[mark], exactly=exactly)
        dead_letters = [
            dead_letter
            for queue in plan.tasks
            async for dead_letter in listed(session, f"/v1/queues/{queue}/dlq/tasks")
        ]
    marks = [dead_letter["metadata"]["mark"] for dead_letter in dead_letters if dead_letter["type"] is not None]
    assert sorted(plan.dead_letter) == sorted(marks)
    assert len(plan.dead_letter) + plan.poison == len(dead_letters)
    assert all(
        dead_letter["failure_reason"] and dead_letter["original_queue"] in plan.tasks for dead_letter in dead_letters
    )


async def listed(session: aiohttp.ClientSession, path: str) -> AsyncIterator[dict[str, Any]]:
    """Yield every task of a list, page by page."""
    query = {"limit": "200"}
    while True:
        async with session.get(path, params=query) as response:
            page = await response.json()
            assert 200 == response.status, page
        for task in page["tasks"]:
            yield task
        if page["next_cursor"] is None:
            return
        query["cursor"] = page["next_cursor"]


#: How the attempts of each kind end when nobody is killed, with a part of the last error; the flaky receiver decides
#: itself how often.
ENDS: dict[str, tuple[list[str], str]] = {
    "test.ok": (["completed"], ""),
    "test.sync": (["completed"], ""),
    "test.slow": (["completed"], ""),
    "test.flaky": (["retrying", "completed"], ""),
    "test.remote ok": (["completed"], ""),
    "test.broken": (["dead_lettered"], "this never works"),
    "test.exhausting": (["retrying", "retrying", "dead_lettered"], "not this time (attempt 3 of 3)"),
    "test.nobody": (["dead_lettered"], "no handler"),
    "test.remote gone": (["dead_lettered"], "410"),
}


def assert_ended(task: dict[str, Any], kind: str, *, exactly: bool) -> None:
    """A task ended as its kind ends."""
    result, attempts = task["result"], task["attempts"]
    if not exactly and not attempts and task["status"] == "dead_lettered":
        return  # its consumer was killed between sending the dead letter and recording the attempt
    *earlier, last = [attempt["status"] for attempt in attempts]
    assert (task["id"], task["status"], task["status"]) == (result["task_id"], result["status"], last), task
    assert {"retrying"} >= set(earlier), task
    assert sorted({attempt["attempt"] for attempt in attempts}) == [attempt["attempt"] for attempt in attempts], task
    if kind == "test.ok":
        assert {"done": task["id"]} == result["result"], task
    if kind == "test.remote flaky":
        assert {503} >= {attempt["response_status"] for attempt in attempts[:-1]}, task
        return
    ends, error = ENDS[kind]
    assert ends[-1] == last, task
    assert error in (result["error"] or ""), task
    if exactly:
        assert ends == [*earlier, last], task
        assert all(attempt["duration"] >= 0 for attempt in attempts), task
    if kind == "test.remote gone":
        assert 410 == attempts[-1]["response_status"], task


async def all_recorded(stack: Stack, plan: Plan) -> bool:
    """Whether the ledger knows the end of every task, and every dead letter."""
    async with aiohttp.ClientSession(stack.gateway.url) as session:
        ended = 0
        for status in ("completed", "dead_lettered"):
            ended += len([task async for task in listed(session, f"/v1/tasks?status={status}")])
        async with session.get("/v1/queues/tasks/dlq") as response:
            dead_letters = (await response.json())["approximate_messages"]
        async with session.get("/v1/queues/dlq/stats") as response:
            stats = await response.json()
    left = stats["approximate_messages"] + stats["inflight_messages"]
    return (ended, dead_letters, left) == (len(plan.kinds), len(plan.dead_letter) + plan.poison, 0)


async def progressed(stack: Stack, share: float) -> bool:
    """Whether that many tasks have succeeded in process."""
    return len(succeeded_in_process(stack)) >= share


def assert_groups_in_order(stack: Stack) -> None:
    """FIFO groups ran in the order of their enqueueing."""
    for group in {f"g{number}" for number in range(5)}:
        marks = [int(effect["payload"]["mark"][1:]) for effect in stack.effects() if effect["group"] == group]
        assert marks == sorted(marks)
        assert len(marks) == 10
