"""Gateway and consumer behind a fault proxy, which they take for SQS."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.aws.faults import FaultProxy, fault_proxy
from tests.support.processes.stack import Stack, stack_on_sqs
from tests.support.sqs.localstack import LocalStack
from tests.support.waiting import eventually


@dataclass(frozen=True)
class Reply:
    """An answer of the gateway."""

    status: int
    body: Any
    text: str


@dataclass(frozen=True)
class Processes:
    """Both processes, not started, the proxy in front of SQS, and each queue's name there."""

    stack: Stack
    proxy: FaultProxy
    names: Mapping[str, str]

    async def start(self) -> None:
        """Start both."""
        await asyncio.gather(self.stack.gateway.start(), self.stack.consumer.start())

    async def post(self, path: str, body: object) -> Reply:
        """Post to the gateway."""
        async with (
            aiohttp.ClientSession(self.stack.gateway.url) as session,
            session.post(path, json=body) as response,
        ):
            return Reply(response.status, await response.json(), await response.text())

    async def get(self, path: str) -> Reply:
        """Ask the gateway."""
        async with aiohttp.ClientSession(self.stack.gateway.url) as session, session.get(path) as response:
            return Reply(response.status, await response.json(), await response.text())

    async def enqueue(self, queue: str, task_type: str = "test.ok", **members: Any) -> str:
        """Enqueue a task; return its id."""
        reply = await self.post(f"/v1/queues/{queue}/tasks", {"type": task_type, **members})
        assert 202 == reply.status, reply.text
        return str(reply.body["id"])

    async def status(self, task_id: str) -> str:
        """Return a task's status."""
        return str((await self.get(f"/v1/tasks/{task_id}")).body["status"])

    async def becomes(self, task_id: str, *statuses: str, seconds: float = 20) -> None:
        """Return when a task has one of ``statuses``."""

        async def has_become() -> bool:
            return await self.status(task_id) in statuses

        await eventually(has_become, seconds, f"{task_id} is {' or '.join(statuses)}")

    def ran(self, what: str = "ok") -> list[str]:
        """Return the ids of the tasks whose handlers left ``what``."""
        return [effect["id"] for effect in self.stack.effects() if effect["what"] == what]


@asynccontextmanager
async def processes_behind_faults(
    directory: Path, localstack: LocalStack, queues: Sequence[Mapping[str, Any]], **variables: str
) -> AsyncIterator[Processes]:
    """Create ``queues``, prepare the processes, and end what was started of them."""
    async with (
        fault_proxy(localstack.url) as proxy,
        stack_on_sqs(directory, localstack, queues, **{"AWS_ENDPOINT_URL": proxy.url, **variables}) as (stack, names),
    ):
        proxy.start_counting()
        try:
            yield Processes(stack, proxy, names)
        finally:
            proxy.heal()
            # Nobody needs what a drain saves.
            await asyncio.gather(*(service.kill() for service in stack.services))
