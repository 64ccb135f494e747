"""What the ledger adds to SQS, as LocalStack has it: delays, deduplication that answers, and purges that hold."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.http.receiver import Answer, Receiver
from tests.support.processes.stack import Operator, Stack, operator_of, stack_on_sqs
from tests.support.sqs.localstack import of_session
from tests.support.waiting import eventually

#: Seconds. The first test of a cold machine installs LocalStack.
pytestmark = pytest.mark.timeout(300)

QUEUES = (
    {"name": "tasks", "type": "standard", "visibility_timeout": 30},
    {"name": "orders", "type": "fifo"},
    {"name": "dlq", "type": "standard"},
)
PATIENCE = 30.0


@pytest.fixture
async def stack(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stack]:
    """Return both processes, running, with the default ledger."""
    async with stack_on_sqs(tmp_path, of_session(request.config), QUEUES) as (prepared, _):
        await asyncio.gather(prepared.gateway.start(), prepared.consumer.start())
        yield prepared


async def submitted(operator: Operator, queue: str, **members: Any) -> dict[str, Any]:
    """Submit a task and return it."""
    task: dict[str, Any] = await operator.post(f"/v1/queues/{queue}/tasks", {"type": "test.ok", **members})
    return task


async def ended(operator: Operator, *tasks: dict[str, Any], status: str = "completed") -> None:
    """Return when each of these tasks has this status."""

    async def all_ended() -> bool:
        return {status} == {(await operator.get(f"/v1/tasks/{task['id']}"))["status"] for task in tasks}

    await eventually(all_ended, PATIENCE, f"every task {status}")


async def test_delayed_fifo_task_takes_its_place_when_it_is_due(stack: Stack) -> None:
    """SQS knows no delay on FIFO queues: the ledger holds it, and the group goes on meanwhile."""
    async with operator_of(stack) as operator:
        delayed = await submitted(operator, "orders", group="g", delay="3s")
        at_once = await submitted(operator, "orders", group="g")
        found = await operator.get(f"/v1/tasks/{delayed['id']}")
        assert ("scheduled", "scheduled") == (delayed["status"], found["status"])
        await ended(operator, at_once, delayed)
    assert [at_once["id"], delayed["id"]] == [effect["id"] for effect in stack.effects()]


async def test_delay_beyond_what_sqs_holds_can_be_canceled(stack: Stack) -> None:
    """It waits in the ledger, nothing of it is in the queue."""
    async with operator_of(stack) as operator:
        task = await submitted(operator, "tasks", delay="20m")
        stats = await operator.get("/v1/queues/tasks/stats")
        assert (0, 0) == (stats["approximate_messages"], stats["delayed_messages"])
        assert "canceled" == (await operator.post(f"/v1/tasks/{task['id']}/cancel", {}))["status"]


async def test_duplicate_learns_of_the_first_task(stack: Stack) -> None:
    """SQS drops it without a word; the ledger knows the first, delayed tasks included."""
    async with operator_of(stack) as operator:
        first = await submitted(operator, "orders", deduplication_id="d", delay="2s")
        second = await submitted(operator, "orders", deduplication_id="d")
        assert (first["id"], True) == (second["id"], second["deduplicated"])
        await ended(operator, first)
    assert 1 == len(stack.effects())


async def test_purged_task_that_ran_is_not_sent_again(stack: Stack) -> None:
    """Its attempt fails after the purge: it ends canceled, and for a minute the queue takes nothing."""
    async with Receiver() as receiver, operator_of(stack) as operator:
        receiver.script("/busy", Answer(status=503, delay=4))
        running = await submitted(operator, "tasks", callback_url=receiver.url("/busy"))
        waiting = await submitted(operator, "tasks", delay="5m")
        await ended(operator, running, status="running")
        await operator.post("/v1/queues/tasks/purge", {"confirm": "tasks"})
        await ended(operator, running, waiting, status="canceled")
        attempts = (await operator.get(f"/v1/tasks/{running['id']}"))["attempts"]
        assert [("canceled", 503)] == [(attempt["status"], attempt["response_status"]) for attempt in attempts]
        assert 503 == await status_of_post(operator)
        await operator.post("/v1/queues/orders/tasks", {"type": "test.ok"})


async def status_of_post(operator: Operator) -> int:
    """Return the status of the answer to one more task for the purged queue."""
    async with operator.session.post("/v1/queues/tasks/tasks", json={"type": "test.ok"}) as response:
        assert 0 < int(response.headers["Retry-After"]) <= 60
        return response.status
