"""Dead letters from the failure to the repair, with both processes."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mcp_queue.adapters.clock import SystemClock
from mcp_queue.adapters.ledger.ledger import open_ledger
from tests.support.http.receiver import Answer, Receiver
from tests.support.ledger import migrated_database, shared_postgres
from tests.support.metrics import LedgerCounts
from tests.support.processes.stack import Operator, Stack, make_stack, operator_of, stack_on_sqs
from tests.support.sqs.localstack import of_session
from tests.support.tasks import a_dead_letter, a_task
from tests.support.waiting import eventually

DLQ = "/v1/queues/tasks/dlq"
QUEUES: list[Mapping[str, Any]] = [
    {"name": "tasks", "type": "standard", "visibility_timeout": 5, "max_receive_count": 10},
    {"name": "dlq", "type": "standard", "visibility_timeout": 5},
]
NUMBER = 500
OTHERS = 7
RATE = 100
PATIENCE = 60.0


@pytest.fixture
async def ledger_url(request: pytest.FixtureRequest) -> AsyncIterator[str | None]:
    """Return the URL of an empty PostgreSQL database, or nothing for the default file."""
    if request.param == "sqlite":
        yield None
        return
    server = shared_postgres(request.config)
    name = await migrated_database(server)
    try:
        yield server.url(name)
    finally:
        await server.drop_database(name)


@contextlib.asynccontextmanager
async def prepared(
    request: pytest.FixtureRequest, directory: Path, backend: str, ledger_url: str | None
) -> AsyncIterator[Stack]:
    """Provide processes that are not started; they are stopped at the end."""
    variables = {"QUEUE_WORKER_COUNT": "20", **({} if ledger_url is None else {"LEDGER_URL": ledger_url})}
    if backend == "sqs":
        async with stack_on_sqs(directory, of_session(request.config), QUEUES, **variables) as (stack, _):
            yield stack
        return
    stack = make_stack(directory, json.dumps({"queue": {"sqs": {"queues": QUEUES}}}), **variables)
    try:
        yield stack
    finally:
        for service in stack.services:
            await service.stop()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("backend", "ledger_url"),
    [("sqlite", "sqlite"), ("sqlite", "postgres"), ("sqs", "sqlite"), ("sqs", "postgres")],
    indirect=["ledger_url"],
)
async def test_five_hundred_dead_letters_are_repaired_though_the_consumer_is_killed(
    request: pytest.FixtureRequest, tmp_path: Path, backend: str, ledger_url: str | None
) -> None:
    """A receiver breaks and is mended; every task it refused is redriven at a rate, and ends completed."""
    async with prepared(request, tmp_path, backend, ledger_url) as stack, Receiver() as receiver:
        receiver.script("/hook", Answer(status=410))
        await asyncio.gather(stack.gateway.start(), stack.consumer.start())
        async with operator_of(stack) as operator:
            ids = await submit(operator, receiver)
            await eventually(lambda: waiting(operator, NUMBER + OTHERS), PATIENCE, "everything is dead-lettered")
            await inspect(operator, ids)
            receiver.script("/hook", Answer())
            redrive = await redrive_while_killing(stack, operator)
            assert ("completed", NUMBER, NUMBER, 0) == (
                redrive["status"],
                redrive["matched"],
                redrive["redriven"],
                redrive["failed"],
            )
            await eventually(lambda: completed(operator, ids), PATIENCE, "every task is completed")
            await clear(operator)
        assert ids <= {json.loads(request.body)["id"] for request in receiver.requests}


async def submit(operator: Operator, receiver: Receiver) -> set[str]:
    """Submit tasks for the broken receiver, and some that fail otherwise; return the ids of the former."""
    called = {"type": "order.paid", "callback_url": receiver.url("/hook"), "payload": {"order": 1}}
    answer = await operator.post("/v1/queues/tasks/tasks/batch", {"tasks": [called] * NUMBER})
    others = await operator.post("/v1/queues/tasks/tasks/batch", {"tasks": [{"type": "test.broken"}] * OTHERS})
    assert (0, 0) == (answer["failed"], others["failed"])
    return {result["id"] for result in answer["results"]}


async def waiting(operator: Operator, number: int) -> bool:
    """Whether so many dead letters wait, all of them in the ledger."""
    listed = await operator.all_pages(f"{DLQ}/tasks", "tasks")
    counted = (await operator.get(DLQ))["approximate_messages"]
    return [number, number] == [len(listed), counted]


async def inspect(operator: Operator, ids: set[str]) -> None:
    """Find the refused tasks by a filter, with why and what was answered."""
    dead_letters = await operator.all_pages(f"{DLQ}/tasks", "tasks", reason="ANSWERED 410", type="order.paid")
    assert ids == {dead_letter["id"] for dead_letter in dead_letters}
    assert {("the callback answered 410", 410, 1, "tasks")} == {
        (
            dead_letter["failure_reason"],
            dead_letter["response_status"],
            dead_letter["attempts"],
            dead_letter["original_queue"],
        )
        for dead_letter in dead_letters
    }
    one = await operator.get(f"{DLQ}/tasks/{dead_letters[0]['id']}")
    assert ({"order": 1}, [410]) == (one["payload"], [attempt["response_status"] for attempt in one["history"]])


async def redrive_while_killing(stack: Stack, operator: Operator) -> dict[str, object]:
    """Redrive what was refused, kill the consumer on the way, and return how the redrive ended."""
    selection = {"filter": {"reason": "answered 410"}, "max_per_second": RATE}
    redrive = await operator.post(f"{DLQ}/redrive", selection)
    path = f"/v1/redrives/{redrive['id']}"

    async def reached(number: int) -> bool:
        return bool((await operator.get(path))["redriven"] >= number)

    await eventually(lambda: reached(NUMBER // 5), PATIENCE, "a part is redriven")
    await stack.consumer.kill()
    await stack.consumer.start()

    async def ended() -> bool:
        return bool((await operator.get(path))["status"] != "running")

    # Had the killed process been the one that worked on it, another takes it over after a minute.
    await eventually(ended, 120, "the redrive has ended")
    return dict(await operator.get(path))


async def completed(operator: Operator, ids: set[str]) -> bool:
    """Whether all of these tasks are completed."""
    found = await operator.all_pages("/v1/tasks", "tasks", queue="tasks", type="order.paid")
    assert ids == {task["id"] for task in found}
    return {"completed": len(ids)} == Counter(task["status"] for task in found)


async def clear(operator: Operator) -> None:
    """Delete the rest: nothing waits any more, by every figure, and the audit log knows who did what."""
    assert OTHERS == (await operator.get(DLQ))["approximate_messages"]
    assert {"purged": OTHERS} == await operator.post(f"{DLQ}/purge", {"confirm": "tasks"})
    assert 0 == (await operator.get(DLQ))["approximate_messages"]
    assert 0 == (await operator.get("/v1/queues/tasks/stats"))["dead_letters"]
    assert 0 == await operator.metric('mcp_dlq_depth{queue="tasks"}')
    entries = (await operator.get("/v1/audit"))["entries"]
    assert [("anonymous", "purge", DLQ, OTHERS), ("anonymous", "redrive", DLQ, NUMBER)] == [
        (entry["actor"], entry["action"], entry["target"], entry["count"]) for entry in entries
    ]


SOME, MANY = 2_000, 8_000
PAYLOAD = "x" * 8192
#: What the gateway may grow by while it handles another 64 MB of dead letters, in KiB.
MOST_GROWTH = 10 * 1024


@pytest.mark.timeout(180)
async def test_ten_thousand_dead_letters_take_no_more_memory_than_two_thousand(tmp_path: Path) -> None:
    """They are listed and redriven a page at a time, however many there are."""
    stack = make_stack(tmp_path, json.dumps({"queue": {"sqs": {"queues": QUEUES}}}))
    await fill(tmp_path / "var" / "ledger.db")
    await stack.gateway.start()
    try:
        async with operator_of(stack) as operator:
            await list_and_redrive(operator, "some", SOME)
            before = peak_memory(stack)
            await list_and_redrive(operator, "many", MANY)
            assert peak_memory(stack) - before < MOST_GROWTH
            assert SOME + MANY == (await operator.get("/v1/queues/tasks/stats"))["approximate_messages"]
    finally:
        await stack.gateway.stop()


async def list_and_redrive(operator: Operator, task_type: str, number: int) -> None:
    """List all dead letters of a type, page by page, then redrive them in the background."""
    assert number == len(await operator.all_pages(f"{DLQ}/tasks", "tasks", type=task_type))
    redrive = await operator.post(f"{DLQ}/redrive", {"filter": {"type": task_type}})

    async def ended() -> bool:
        return bool((await operator.get(f"/v1/redrives/{redrive['id']}"))["status"] == "completed")

    await eventually(ended, 120, "all are redriven")
    assert [] == (await operator.get(f"{DLQ}/tasks", type=task_type))["tasks"]


async def fill(path: Path) -> None:
    """Store dead letters in a new ledger."""
    path.parent.mkdir(parents=True)
    clock = SystemClock()
    async with open_ledger(f"sqlite+aiosqlite:///{path}", clock=clock, metrics=LedgerCounts()) as ledger:
        for task_type, number in (("some", SOME), ("many", MANY)):
            for _ in range(0, number, 500):
                tasks = [a_task(type=task_type, payload=PAYLOAD) for _ in range(500)]
                failed_at = clock.now() - timedelta(minutes=1)
                await ledger.dead_letters.store_dead_letters(
                    [a_dead_letter(task, failed_at=failed_at) for task in tasks]
                )


def peak_memory(stack: Stack) -> int:
    """Return the most that the gateway ever held, in KiB."""
    assert stack.gateway.process is not None
    lines = Path(f"/proc/{stack.gateway.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
