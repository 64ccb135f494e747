"""What the ledger is for, with both processes: keys that hold, tasks that wait, and a database that goes away."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bench.postgres import postgres_server
from bench.processes import Service
from mcp_queue.adapters.clock import SystemClock
from mcp_queue.adapters.ledger.ledger import open_ledger
from mcp_queue.domain.schedules import Misfire, Schedule
from tests.support.ledger import migrated_database, postgres_url, shared_postgres
from tests.support.metrics import LedgerCounts
from tests.support.processes.cli import run_cli
from tests.support.processes.stack import Operator, Stack, another, make_stack, operator_of
from tests.support.waiting import eventually, pause

KEYS = 20
REQUESTS = 200
SCHEDULES = 15
PATIENCE = 30.0


@pytest.fixture(params=["sqlite", "postgres"])
async def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """Return the URL of a ledger: the default one, which the processes make themselves, or one on a server."""
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path / 'var' / 'ledger.db'}"
    else:
        async with postgres_url(request.config) as url:
            yield url


@pytest.fixture
async def stack(tmp_path: Path, ledger: str) -> AsyncIterator[Stack]:
    """Return both processes, not started yet; all that were are stopped at the end."""
    prepared = make_stack(tmp_path, LEDGER_URL=ledger)
    try:
        yield prepared
    finally:
        await asyncio.gather(*(service.stop() for service in prepared.services))


@dataclass
class Storm:
    """Clients that want one task for each key, whatever happens to the gateways.

    ``half_way`` is set when ``enough`` of them have theirs.
    """

    gateways: list[Service]
    enough: int
    answers: int = 0
    half_way: asyncio.Event = field(default_factory=asyncio.Event)
    ids: dict[str, set[str]] = field(default_factory=dict)

    async def client(self, session: aiohttp.ClientSession, number: int) -> None:
        """Post until a task is accepted: to the other gateway where one is gone, later where one says so."""
        key, tries = f"key-{number % KEYS}", number
        task = {"type": "test.ok", "payload": {"key": key}}
        while True:
            gateway = self.gateways[tries % len(self.gateways)]
            try:
                async with session.post(
                    f"{gateway.url}/v1/queues/tasks/tasks", json=task, headers={"Idempotency-Key": key}
                ) as response:
                    body = await response.json()
            except aiohttp.ClientError:
                tries += 1
                continue
            if response.status == 202:
                self.ids.setdefault(key, set()).add(body["id"])
                self.answers += 1
                if self.answers >= self.enough:
                    self.half_way.set()
                return
            assert response.status in {409, 503}, body
            await pause(min(float(response.headers["Retry-After"]), 1))


@pytest.mark.timeout(180)
@pytest.mark.parametrize("enough", [1, REQUESTS // 2])
async def test_storm_on_twenty_keys_makes_twenty_tasks(stack: Stack, enough: int) -> None:
    """Two gateways, two hundred requests at once, one gateway killed half-way: one task for each key, and it ran."""
    storm = Storm([stack.gateway, another(stack, stack.gateway)], enough)
    await asyncio.gather(*(service.start() for service in stack.services))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session, asyncio.TaskGroup() as group:
        for number in range(REQUESTS):
            group.create_task(storm.client(session, number))
        await storm.half_way.wait()
        await storm.gateways[0].kill()

    assert KEYS == len(storm.ids)
    assert {1} == {len(ids) for ids in storm.ids.values()}, storm.ids
    ids = set.union(*storm.ids.values())
    stack.gateway = storm.gateways[1]
    async with operator_of(stack) as operator:
        await eventually(lambda: all_completed(operator, ids), PATIENCE, "all tasks completed")
        assert ids == {task["id"] for task in await operator.all_pages("/v1/tasks", "tasks")}
    assert ids == {effect["id"] for effect in stack.effects()}


async def all_completed(operator: Operator, ids: Collection[str]) -> bool:
    """Whether every one of these tasks is completed."""
    return {"completed"} == {(await operator.get(f"/v1/tasks/{task_id}"))["status"] for task_id in ids}


async def status_is(operator: Operator, task_id: str, status: str) -> bool:
    """Whether the task stands there."""
    return bool(status == (await operator.get(f"/v1/tasks/{task_id}"))["status"])


async def submitted(operator: Operator, **members: Any) -> dict[str, Any]:
    """Submit a task and return it."""
    task: dict[str, Any] = await operator.post("/v1/queues/tasks/tasks", {"type": "test.ok", **members})
    return task


def effects_of(stack: Stack, task: dict[str, Any]) -> list[str]:
    """Return what the handler of a task left, in order."""
    return [effect["what"] for effect in stack.effects() if effect["id"] == task["id"]]


async def test_delayed_task_is_scheduled_until_it_is_due(stack: Stack) -> None:
    """The embedded queue holds it, the ledger says so, and it runs when its time has come."""
    await asyncio.gather(stack.gateway.start(), stack.consumer.start())
    async with operator_of(stack) as operator:
        task = await submitted(operator, delay="2s")
        found = await operator.get(f"/v1/tasks/{task['id']}")
        assert ("scheduled", "scheduled", []) == (task["status"], found["status"], effects_of(stack, task))
        await eventually(partial(status_is, operator, task["id"], "completed"), PATIENCE, "it ran")
    (effect,) = stack.effects()
    assert datetime.fromisoformat(task["scheduled_for"]).timestamp() <= effect["at"]


async def test_tick_runs_once_however_many_processes_there_are(stack: Stack, ledger: str) -> None:
    """A gateway and two consumers all look for due ticks."""
    await stack.gateway.start()
    await asyncio.gather(stack.consumer.start(), another(stack, stack.consumer).start())
    clock = SystemClock()
    async with open_ledger(ledger, clock=clock, metrics=LedgerCounts()) as opened, operator_of(stack) as operator:
        due = clock.now()
        for number in range(SCHEDULES):
            await opened.schedules.put(yearly(f"s{number}", due))
        await eventually(lambda: ran(operator), PATIENCE, "every schedule ran")
        tasks = await operator.all_pages("/v1/tasks", "tasks")
        assert SCHEDULES == len(tasks)
        await eventually(lambda: all_completed(operator, [task["id"] for task in tasks]), PATIENCE, "every task ran")
    assert {(task["id"], 1) for task in tasks} == set(Counter(effect["id"] for effect in stack.effects()).items())


def yearly(name: str, due: datetime) -> Schedule:
    """Return a schedule with one tick that is due, and none for a long time after it."""
    cron = f"{due.minute} {due.hour} {due.day} {due.month} *"
    once = Misfire.RUN_ONCE
    return Schedule(name=name, cron=cron, queue="tasks", task={"type": "test.ok"}, misfire=once, next_run_at=due)


async def ran(operator: Operator) -> bool:
    """Whether every schedule had its tick."""
    schedules = await operator.all_pages("/v1/schedules", "schedules")
    return SCHEDULES == len(schedules) and all(schedule["last_run_at"] for schedule in schedules)


async def test_canceled_task_never_starts_though_its_consumer_was_off(stack: Stack) -> None:
    """The message still comes; the ledger says what was decided meanwhile."""
    await stack.gateway.start()
    async with operator_of(stack) as operator:
        canceled, other = await submitted(operator), await submitted(operator)
        assert "canceled" == (await operator.post(f"/v1/tasks/{canceled['id']}/cancel", {}))["status"]
        await stack.consumer.start()
        await eventually(partial(status_is, operator, other["id"], "completed"), PATIENCE, "the other ran")
        await eventually(lambda: empty(operator), PATIENCE, "its message is gone")
        assert await status_is(operator, canceled["id"], "canceled")
    assert [] == effects_of(stack, canceled)


async def empty(operator: Operator) -> bool:
    """Whether nothing lies in the queue."""
    stats = await operator.get("/v1/queues/tasks/stats")
    return (0, 0) == (stats["approximate_messages"], stats["inflight_messages"])


async def test_running_task_is_stopped_when_it_is_canceled(stack: Stack) -> None:
    """Its async handler is cancelled at its next await, and it does not come again."""
    await asyncio.gather(stack.gateway.start(), stack.consumer.start())
    async with operator_of(stack) as operator:
        task = await submitted(operator, type="test.endless")
        await eventually(partial(status_is, operator, task["id"], "running"), PATIENCE, "it runs")
        assert "running" == (await operator.post(f"/v1/tasks/{task['id']}/cancel", {}))["status"]
        await eventually(partial(status_is, operator, task["id"], "canceled"), PATIENCE, "it is canceled")
        await eventually(lambda: empty(operator), PATIENCE, "its message is gone")
    assert ["started", "stopped"] == effects_of(stack, task)


@pytest.mark.parametrize("command", ["gateway", "consumer"])
async def test_database_without_our_tables_is_an_error_at_the_start(
    request: pytest.FixtureRequest, tmp_path: Path, command: str
) -> None:
    """The message says what to do."""
    server = shared_postgres(request.config)
    url = server.url(await server.create_database())
    done = await run_cli(command, LEDGER_URL=url, QUEUE_DATA_DIR=str(tmp_path))
    assert 1 == done.exit_code
    assert "run `mcp-queue ledger migrate`" in done.err.splitlines()[-1]
    assert "Traceback" not in done.err


async def test_database_that_does_not_answer_at_the_start_is_no_error(tmp_path: Path, unused_tcp_port: int) -> None:
    """Both processes do their work without it, and say so."""
    stack = make_stack(tmp_path, LEDGER_URL=f"postgresql+asyncpg://nobody@127.0.0.1:{unused_tcp_port}/none")
    try:
        await asyncio.gather(stack.gateway.start(), stack.consumer.start())
        assert await ready_as(stack, "degraded")
        async with operator_of(stack) as operator:
            task = await submitted(operator)
        await eventually(partial(succeeded, stack, [task]), PATIENCE, "it ran")
    finally:
        await asyncio.gather(*(service.stop() for service in stack.services))


@pytest.mark.timeout(120)
async def test_ledger_that_goes_away_and_comes_back_stops_no_task(tmp_path: Path) -> None:
    """Enqueueing and consuming go on, only keys and questions wait; afterwards everything is there."""
    with postgres_server() as server:
        stack = make_stack(tmp_path, LEDGER_URL=server.url(await migrated_database(server)))
        try:
            await asyncio.gather(stack.gateway.start(), stack.consumer.start())
            async with operator_of(stack) as operator:
                before = await submitted(operator)
                await eventually(partial(status_is, operator, before["id"], "completed"), PATIENCE, "the first ran")
                server.stop()
                during = [await submitted(operator) for _ in range(5)]
                during.append(await submitted(operator, type="test.flaky"))
                await eventually(partial(succeeded, stack, during), PATIENCE, "tasks run without the ledger")
                await eventually(partial(ready_as, stack, "degraded"), PATIENCE, "both processes say so")
                await assert_refused(operator, before)
                server.start()
                await eventually(partial(ready_as, stack, "ok"), PATIENCE, "both processes have it back")
                for task in during:
                    await eventually(partial(status_is, operator, task["id"], "completed"), PATIENCE, "it is told")
                flaky = await operator.get(f"/v1/tasks/{during[-1]['id']}")
                assert ["retrying", "completed"] == [attempt["status"] for attempt in flaky["attempts"]]
                assert 202 == await keyed(operator)
        finally:
            await asyncio.gather(*(service.stop() for service in stack.services))


async def succeeded(stack: Stack, tasks: Collection[dict[str, Any]]) -> bool:
    """Whether the handler of each task has succeeded."""
    return all("ok" in effects_of(stack, task) for task in tasks)


async def ready_as(stack: Stack, status: str) -> bool:
    """Whether both processes are ready, with this to say of themselves."""
    answers = []
    async with aiohttp.ClientSession() as session:
        for service in (stack.gateway, stack.consumer):
            async with session.get(f"{service.url}/readyz") as response:
                assert 200 == response.status
                answers.append((await response.json())["status"])
    return [status, status] == answers


async def keyed(operator: Operator) -> int:
    """Return the status of the answer to a request with an idempotency key."""
    headers = {"Idempotency-Key": "k"}
    async with operator.session.post("/v1/queues/tasks/tasks", json={"type": "test.ok"}, headers=headers) as response:
        assert response.status == 202 or "Retry-After" in response.headers
        return response.status


async def assert_refused(operator: Operator, task: dict[str, Any]) -> None:
    """What needs the ledger is refused for now."""
    assert 503 == await keyed(operator)
    async with operator.session.get(f"/v1/tasks/{task['id']}") as response:
        assert 503 == response.status
