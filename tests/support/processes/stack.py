"""Both processes of the product as a user starts them, and the operator who asks their gateway."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp

from bench.processes import Service, free_port, gateway_and_consumer
from tests.support.processes.cli import run_cli
from tests.support.sqs.localstack import LocalStack

#: Seconds. Short, so that what a killed consumer held is soon visible again.
VISIBILITY_TIMEOUT = 5


@dataclass
class Stack:
    """A gateway and a consumer that share a data directory, and the file in which test handlers leave their lines."""

    directory: Path
    gateway: Service
    consumer: Service
    effects_file: Path
    services: list[Service] = field(default_factory=list)

    def effects(self) -> list[dict[str, Any]]:
        """Return what the test handlers left, in order."""
        if not self.effects_file.exists():
            return []
        return [json.loads(line) for line in self.effects_file.read_text().splitlines()]


@contextlib.asynccontextmanager
async def running_stack(directory: Path, config: str | None = None, **variables: str) -> AsyncIterator[Stack]:
    """Start gateway and consumer in ``directory``, configured by the YAML text ``config`` and ``variables``."""
    stack = make_stack(directory, config, **variables)
    try:
        await asyncio.gather(stack.gateway.start(), stack.consumer.start())
        yield stack
    finally:
        await asyncio.gather(*(service.stop() for service in stack.services))


def make_stack(directory: Path, config: str | None = None, **variables: str) -> Stack:
    """Prepare gateway and consumer without starting them."""
    effects = directory / "effects.jsonl"
    settings = {
        "QUEUE_HANDLERS": "tests.support.processes.handlers",
        "QUEUE_RETRY_BASE_DELAY": "50ms",
        "CALLBACK_ALLOWED_NETWORKS": "127.0.0.0/8",
        "TEST_EFFECTS": str(effects),
        **{name: value for name, value in os.environ.items() if name.startswith(("COVERAGE", "COV_"))},
        **variables,
    }
    if config is not None:
        path = directory / "queue.yaml"
        path.write_text(config)
        settings["QUEUE_CONFIG"] = str(path)
    gateway, consumer = gateway_and_consumer(directory, **settings)
    return Stack(directory, gateway, consumer, effects, [gateway, consumer])


def another(stack: Stack, service: Service) -> Service:
    """Return a second process like ``service``."""
    port = free_port()
    variable = f"{service.name.upper()}_PORT"
    log = stack.directory / f"{service.name}-{len(stack.services)}.log"
    twin = replace(service, port=port, environment={**service.environment, variable: str(port)}, log=log)
    stack.services.append(twin)
    return twin


@contextlib.asynccontextmanager
async def stack_on_sqs(
    directory: Path, localstack: LocalStack, queues: Sequence[Mapping[str, Any]], **variables: str
) -> AsyncIterator[tuple[Stack, Mapping[str, str]]]:
    """Create ``queues`` under names of their own; yield the processes, not started, and each queue's SQS name.

    What was started is stopped at the end.
    """
    prefix = f"t{uuid4().hex[:10]}-"
    names = {
        queue["name"]: f"{prefix}{queue['name']}{'.fifo' if queue['type'] == 'fifo' else ''}"
        for queue in queues
        if queue["type"] != "priority"
    }
    entries = [
        {"visibility_timeout": VISIBILITY_TIMEOUT, **queue, **_url(names.get(queue["name"]))} for queue in queues
    ]
    stack = make_stack(
        directory,
        json.dumps({"queue": {"sqs": {"queues": entries}}}),  # JSON is YAML
        **{"SQS_WAIT_TIME_SECONDS": "1", **localstack.environment(), **variables},
    )
    settings: dict[str, Any] = {**stack.gateway.environment}
    applied = await run_cli("queues", "apply", **settings)
    assert 0 == applied.exit_code, applied.err
    try:
        yield stack, names
    finally:
        for service in stack.services:
            await service.stop()


def _url(name: str | None) -> dict[str, str]:
    return {} if name is None else {"url": name}


@dataclass(frozen=True)
class Operator:
    """Calls the gateway of a stack; every answer has to be a success."""

    session: aiohttp.ClientSession

    async def get(self, path: str, **query: str) -> Any:
        """Return the JSON answer to a GET."""
        async with self.session.get(path, params=query) as response:
            body = await response.json()
            assert 200 == response.status, body
            return body

    async def post(self, path: str, body: object) -> Any:
        """Return the JSON answer to a POST."""
        async with self.session.post(path, json=body) as response:
            answer = await response.json()
            assert 2 == response.status // 100, answer
            return answer

    async def all_pages(self, path: str, member: str, **query: str) -> list[Any]:
        """Return every element of a list."""
        found: list[Any] = []
        query = {**query, "limit": "200"}
        while True:
            page = await self.get(path, **query)
            found += page[member]
            if page["next_cursor"] is None:
                return found
            query["cursor"] = page["next_cursor"]

    async def metric(self, line: str) -> float | None:
        """Return the value of the metric whose line begins with ``line``."""
        async with self.session.get("/metrics") as response:
            for text in (await response.text()).splitlines():
                if text.startswith(f"{line} "):
                    return float(text.rpartition(" ")[2])
        return None


@contextlib.asynccontextmanager
async def operator_of(stack: Stack) -> AsyncIterator[Operator]:
    """Provide an operator of ``stack``."""
    async with aiohttp.ClientSession(stack.gateway.url) as session:
        yield Operator(session)
