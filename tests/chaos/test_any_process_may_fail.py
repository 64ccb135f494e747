"""Clients go on while processes are killed, ended and frozen at random; then everything is accounted for.

``make chaos`` lets it last for ten minutes. ``CHAOS_SEED`` repeats the order of the faults, not their timing.
"""

import asyncio
import contextlib
import logging
import os
import random
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from bench.postgres import PostgresServer, postgres_server
from bench.processes import Service
from tests.support.ledger import migrated_database
from tests.support.processes.stack import Operator, Stack, another, make_stack, operator_of
from tests.support.waiting import eventually, pause

logger = logging.getLogger(__name__)

SECONDS = float(os.environ.get("CHAOS_SECONDS", "12"))
SEED = int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(10**6)))
#: A claim on an idempotency key whose gateway was killed lapses after 30 s; then what was started has to end.
PATIENCE = 90.0
CLIENTS = 8
#: Longer than a lease: what wakes up again finds its tasks with somebody else.
FROZEN_SECONDS = 4.0
QUEUES = """
queue:
  sqs:
    queues:
      - {name: tasks, type: standard, visibility_timeout: 3, max_receive_count: 20}
      - {name: orders, type: fifo, visibility_timeout: 3}
      - {name: dlq, type: standard, visibility_timeout: 3}
"""
KINDS = ("test.ok", "test.sync", "test.slow", "test.flaky", "test.broken", "delayed", "ordered", "ordered")


@dataclass
class Clients:
    """They post one task after the other, each until it is accepted, and note which id its key was given."""

    gateways: list[Service]
    end: asyncio.Event = field(default_factory=asyncio.Event)
    kinds: dict[str, str] = field(default_factory=dict)  #: by task id
    orders: dict[str, list[str]] = field(default_factory=dict)  #: of each group, ids in the order of acceptance

    async def run(self, number: int) -> None:
        """Post until the end."""
        dice, count = random.Random(f"{SEED} {number}"), 0
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
            while not self.end.is_set():
                kind, count = dice.choice(KINDS), count + 1
                task_id = await self._accepted(session, f"{number}-{count}", *_task(kind, f"g{number}"))
                assert task_id not in self.kinds, "two keys have one task"
                self.kinds[task_id] = kind
                if kind == "ordered":
                    self.orders.setdefault(f"g{number}", []).append(task_id)

    async def _accepted(self, session: aiohttp.ClientSession, key: str, queue: str, task: dict[str, object]) -> str:
        tries = 0
        while True:
            url = f"{self.gateways[tries % len(self.gateways)].url}/v1/queues/{queue}/tasks"
            tries += 1
            try:
                async with session.post(url, json=task, headers={"Idempotency-Key": key}) as response:
                    body = await response.json()
            except (aiohttp.ClientError, TimeoutError):
                await pause()
                continue
            if response.status == 202:
                return str(body["id"])
            assert response.status in {409, 503}, body
            await pause(min(float(response.headers["Retry-After"]), 1))


def _task(kind: str, group: str) -> tuple[str, dict[str, object]]:
    if kind == "ordered":
        return "orders", {"type": "test.ok", "group": group}
    if kind == "delayed":
        return "tasks", {"type": "test.ok", "delay": "1s"}
    return "tasks", {"type": kind}


@dataclass
class Weather:
    """One fault after the other, at random."""

    services: list[Service]
    server: PostgresServer | None
    dice: random.Random = field(default_factory=lambda: random.Random(SEED))
    past: list[str] = field(default_factory=list)

    async def run(self) -> None:
        """Let faults happen until the time is over; then everything runs."""
        deadline = asyncio.get_running_loop().time() + SECONDS
        while asyncio.get_running_loop().time() < deadline:
            service = self.dice.choice(self.services)
            faults = [self._kill, self._end, self._freeze]
            fault = self.dice.choice(faults if self.server is None else [*faults, self._restart_database])
            self.past.append(f"{fault.__name__} {service.name}")
            await fault(service)

    async def _kill(self, service: Service) -> None:
        await service.kill()
        await service.start()

    async def _end(self, service: Service) -> None:
        assert await service.stop() == 0
        await service.start()

    async def _freeze(self, service: Service) -> None:
        assert service.process is not None
        service.process.send_signal(signal.SIGSTOP)
        await pause(FROZEN_SECONDS)
        service.process.send_signal(signal.SIGCONT)
        await self._all_is_written()

    async def _restart_database(self, _: Service) -> None:
        assert self.server is not None
        # Not by a crash: that may take observations of its last half second, which no client was told of.
        self.server.stop()
        await pause(1)
        self.server.start()
        await self._all_is_written()

    async def _all_is_written(self) -> None:
        """Let processes write what they kept in memory while somebody held up the ledger: a kill would take it."""

        async def written() -> bool:
            async with aiohttp.ClientSession() as session:
                return all([await _has_written(session, service) for service in self.services])

        await eventually(written, PATIENCE, "everything is in the ledger")


async def _has_written(session: aiohttp.ClientSession, service: Service) -> bool:
    with contextlib.suppress(aiohttp.ClientError):
        async with session.get(f"{service.url}/readyz") as response:
            ready = (await response.json())["status"] == "ok"
        async with session.get(f"{service.url}/metrics") as response:
            return ready and "mcp_queue_ledger_backlog 0.0" in await response.text()
    return False


@contextlib.asynccontextmanager
async def running(stack: Stack) -> AsyncIterator[list[Service]]:
    """Run two gateways and two consumers."""
    services = [stack.gateway, stack.consumer, another(stack, stack.gateway), another(stack, stack.consumer)]
    try:
        await stack.gateway.start()  # whoever is first makes the files
        await asyncio.gather(*(service.start() for service in services[1:]))
        yield services
    finally:
        await asyncio.gather(*(service.kill() for service in services))


@pytest.mark.timeout(SECONDS + 4 * PATIENCE)
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
async def test_whatever_fails_every_task_ends_as_it_should(tmp_path: Path, database: str) -> None:
    """One task for each key; none is lost, none runs that was not asked for, groups keep their order."""
    with contextlib.ExitStack() as contexts:
        server, variables = None, {}
        if database == "postgres":
            server = contexts.enter_context(postgres_server(durable=True))
            variables = {"LEDGER_URL": server.url(await migrated_database(server))}
        stack = make_stack(tmp_path, QUEUES, **variables)
        async with running(stack) as services:
            clients = Clients([service for service in services if service.name == "gateway"])
            weather = Weather(services, server)
            async with asyncio.TaskGroup() as group:
                for number in range(CLIENTS):
                    group.create_task(clients.run(number))
                await weather.run()
                clients.end.set()
            async with operator_of(stack) as operator:
                told = f"seed {SEED}, {len(clients.kinds)} tasks, {weather.past}"
                with contextlib.suppress(AssertionError):  # what has not ended is told of below
                    await eventually(partial(all_ended, operator, clients), PATIENCE, "everything has ended")
                await account(operator, stack, clients, told)
                logger.info(told)


async def all_ended(operator: Operator, clients: Clients) -> bool:
    """Whether every accepted task has ended, and every queue is empty."""
    for queue in ("tasks", "orders", "dlq"):
        stats = await operator.get(f"/v1/queues/{queue}/stats")
        if stats["approximate_messages"] or stats["inflight_messages"] or stats["delayed_messages"]:
            return False
    ended = [
        task
        for status in ("completed", "dead_lettered")
        for task in await operator.all_pages("/v1/tasks", "tasks", status=status)
    ]
    return len(ended) >= len(clients.kinds)


async def account(operator: Operator, stack: Stack, clients: Clients, told: str) -> None:
    """Compare what was accepted with what the ledger says and with what the handlers did."""
    statuses = {task["id"]: task["status"] for task in await operator.all_pages("/v1/tasks", "tasks")}
    broken = {task_id for task_id, kind in clients.kinds.items() if kind == "test.broken"}
    expected = {task_id: "dead_lettered" if task_id in broken else "completed" for task_id in clients.kinds}
    wrong = {task_id: status for task_id, status in statuses.items() if status != expected.get(task_id)}
    assert (expected.keys(), {}) == (statuses.keys(), wrong), told
    dead_letters = [
        dead_letter["id"]
        for queue in ("tasks", "orders")
        for dead_letter in await operator.all_pages(f"/v1/queues/{queue}/dlq/tasks", "tasks")
    ]
    assert sorted(broken) == sorted(dead_letters)
    succeeded = list(dict.fromkeys(effect["id"] for effect in stack.effects() if effect["what"] == "ok"))
    assert set(clients.kinds) - broken == set(succeeded)
    for group, ids in clients.orders.items():
        assert ids == [task_id for task_id in succeeded if task_id in set(ids)], group
