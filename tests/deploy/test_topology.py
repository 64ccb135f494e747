"""The compose stack as plain processes: the example works through it, and its dashboards show it."""

import asyncio
import contextlib
import itertools
import json
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.http.receiver import Answer, Receiver
from tests.support.ledger import shared_postgres
from tests.support.monitoring import Prometheus, queries, running_prometheus
from tests.support.processes.stack import Stack, running_stack
from tests.support.sqs.localstack import LocalStack, running_localstack
from tests.support.tools import ROOT, output_of, program
from tests.support.waiting import eventually, pause

#: Until every query has data: two scrapes of each series, and a rule's turn after them.
DATA_LIMIT = 45.0

pytestmark = pytest.mark.timeout(120)


@dataclass(frozen=True)
class Topology:
    """Everything that runs, but what only shows: Grafana and the trace backend."""

    stack: Stack
    prometheus: Prometheus


@contextlib.asynccontextmanager
async def running_topology(directory: Path, localstack: LocalStack, ledger_url: str) -> AsyncIterator[Topology]:
    """Create the queues, migrate the ledger, and start gateway, consumer and Prometheus, in the order of the stack."""
    aws = localstack.environment()
    deploy = ROOT / "deploy" / "localstack"
    output_of(sys.executable, deploy / "create-bucket.py", env=aws)
    configured = {**aws, "QUEUE_CONFIG": str(deploy / "mcp-queue.yaml")}
    output_of(sys.executable, "-m", "mcp_queue", "queues", "apply", cwd=ROOT, env=configured)
    output_of(sys.executable, "-m", "mcp_queue", "ledger", "migrate", cwd=ROOT, env={"LEDGER_URL": ledger_url})
    settings = (deploy / "mcp-queue.yaml").read_text()
    # A drain awaits open polls, which would keep the tests waiting.
    variables = {**aws, "LEDGER_URL": ledger_url, "SQS_WAIT_TIME_SECONDS": "1s"}
    async with running_stack(directory, settings, **variables) as stack:
        targets = {f"mcp-queue-{one.name}": one.url.removeprefix("http://") for one in stack.services}
        async with running_prometheus(directory, targets) as prometheus:
            yield Topology(stack, prometheus)


@pytest.fixture
async def topology(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Topology]:
    """The running stack, with an SQS and a database of its own."""
    server = shared_postgres(request.config)
    database = await server.create_database()
    try:
        with running_localstack() as sqs:
            async with running_topology(tmp_path, sqs, server.url(database)) as running:
                yield running
    finally:
        await server.drop_database(database)


async def test_the_examples_work_through_it(topology: Topology) -> None:
    """Each page's curl is answered with 202; the task is executed and can be looked up; Prometheus has counted it."""
    program("curl")
    commands = [command.replace("http://127.0.0.1:8080", topology.stack.gateway.url) for command in examples()]
    answers = [json.loads(await asyncio.to_thread(output_of, "sh", "-c", command)) for command in commands]

    async with aiohttp.ClientSession(topology.stack.gateway.url) as session:
        for task in answers:
            assert {"hello": "world"} == (await completed(session, task["id"]))["result"]["result"]

    async def counted() -> bool:
        total = 'sum(mcp_queue_tasks_completed_total{queue="tasks", task_type="echo", status="completed"})'
        return [float(len(answers))] == await topology.prometheus.samples(total)

    await eventually(counted, 20, "Prometheus has scraped the consumer")


def examples() -> list[str]:
    """Return the first command that submits a task on each page that begins with one."""
    pages = [page for page in (ROOT / "README.md", ROOT / "docs" / "quick-start.md") if page.exists()]
    pattern = re.compile(r"^curl http://127\.0\.0\.1:8080/v1/queues/.*?[^\\]$", flags=re.DOTALL | re.MULTILINE)
    return [found[0] for page in pages if (found := pattern.search(page.read_text()))]


async def completed(session: aiohttp.ClientSession, task_id: str) -> dict[str, Any]:
    """Return the task as the gateway shows it once it is completed."""
    seen: dict[str, Any] = {}

    async def look() -> bool:
        async with session.get(f"/v1/tasks/{task_id}") as answer:
            seen.update(await answer.json())
        return bool(seen["status"] == "completed")

    await eventually(look, 20, "the task is completed")
    return seen


async def test_every_query_of_the_dashboards_has_data(topology: Topology) -> None:
    """With tasks of every outcome under way, no panel of either dashboard is empty."""
    async with Receiver() as receiver:
        receiver.script("/broken", Answer(status=500))
        async with under_load(topology, f"http://127.0.0.1:{receiver.port}"):
            missing = dict(queries())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DATA_LIMIT):
                    while missing:
                        missing = await without_data(topology.prometheus, missing)
                        await pause()
    assert {} == missing


async def without_data(prometheus: Prometheus, wanted: dict[str, str]) -> dict[str, str]:
    """Return those of the queries that have no data yet."""
    return {place: query for place, query in wanted.items() if not await prometheus.samples(query)}


@contextlib.asynccontextmanager
async def under_load(topology: Topology, receiver: str) -> AsyncIterator[None]:
    """Submit tasks of every kind, again and again, while the context is open."""
    load = asyncio.create_task(submit(topology.stack.gateway.url, receiver))
    try:
        yield
    finally:
        load.cancel()
        await asyncio.wait([load])
    assert load.cancelled(), load.exception()


async def submit(gateway: str, receiver: str) -> None:
    """Submit a task of one kind after the other, each with some that take a while, so that some have to wait."""
    kinds: list[dict[str, Any]] = [
        {"type": "echo"},
        {"type": "echo", "delay": "2s"},
        {"type": "test.flaky"},
        {"type": "test.broken"},
        {"type": "hook", "callback_url": f"{receiver}/fine"},
        {"type": "hook", "callback_url": f"{receiver}/broken", "max_retries": 1},
    ]
    async with aiohttp.ClientSession(gateway) as session:
        for kind in itertools.cycle(kinds):
            await accepted(session, "/v1/queues/tasks/tasks/batch", {"tasks": [kind, *[{"type": "test.slow"}] * 4]})
            await accepted(session, "/v1/queues/priority-tasks/tasks", {"type": "echo"})
            await pause()


async def accepted(session: aiohttp.ClientSession, path: str, body: object) -> None:
    """Post ``body``, and expect that everything in it is accepted."""
    async with session.post(path, json=body) as answer:
        assert 202 == answer.status, await answer.text()
