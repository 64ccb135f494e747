"""Operator, gateway and consumer, each with no more rights than the Terraform module gives to its role."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from aiobotocore.session import AioSession

from bench.processes import Service
from tests.support.aws.emulators import aws_environment
from tests.support.aws.iam import Account, roles_of
from tests.support.aws.iam_proxy import IamProxy, iam_proxy
from tests.support.processes.cli import run_cli
from tests.support.processes.stack import Stack, make_stack
from tests.support.sqs.localstack import LocalStack, of_session
from tests.support.tools import ROOT
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(300)

MEBIBYTE = 1024 * 1024
PATIENCE = 40.0
_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Setup:
    """The processes, and the proxy that knows what was refused to them."""

    stack: Stack
    proxy: IamProxy

    async def post(self, path: str, body: object) -> Any:
        """Post to the gateway."""
        async with (
            aiohttp.ClientSession(self.stack.gateway.url) as session,
            session.post(path, data=BytesIO(json.dumps(body).encode()), headers=_JSON) as response,
        ):
            assert response.ok, await response.text()
            return await response.json()

    async def get(self, path: str) -> Any:
        """Ask the gateway."""
        async with aiohttp.ClientSession(self.stack.gateway.url) as session, session.get(path) as response:
            assert 200 == response.status, await response.text()
            return await response.json()

    async def ran(self, number: int) -> bool:
        """Whether so many executions succeeded."""
        return number <= len([effect for effect in self.stack.effects() if effect["what"] == "ok"])


@contextlib.asynccontextmanager
async def set_up(directory: Path, localstack: LocalStack, ledger: dict[str, str]) -> AsyncIterator[Setup]:
    """Let the operator create queues, and start gateway and consumer behind the proxy."""
    prefix = f"mcp-queue-{uuid4().hex[:10]}-"
    queues: list[dict[str, Any]] = [
        {"name": "tasks", "type": "standard", "url": f"{prefix}tasks"},
        {"name": "orders", "type": "fifo", "dead_letter_queue": "orders-dlq", "url": f"{prefix}orders.fifo"},
        {"name": "dlq", "type": "standard", "url": f"{prefix}dlq"},
        {"name": "orders-dlq", "type": "fifo", "url": f"{prefix}orders-dlq.fifo"},
    ]
    account = Account(
        tasks=[f"{prefix}tasks", f"{prefix}orders.fifo"],
        dead_letters=[f"{prefix}dlq", f"{prefix}orders-dlq.fifo"],
        bucket=f"{prefix}payloads",
        prefix="mcp-queue-",
    )
    session = AioSession()
    session.set_credentials("test", "test")
    async with session.create_client("s3", region_name="us-east-1", endpoint_url=localstack.url) as s3:
        await s3.create_bucket(Bucket=account.bucket)
    queues = [{"payload_bucket": account.bucket, "max_task_bytes": 4 * MEBIBYTE, **queue} for queue in queues]
    roles = roles_of(ROOT / "deploy" / "terraform", account, {"without_ledger": "LEDGER_URL" in ledger})
    async with iam_proxy(localstack.url, roles, account) as proxy:
        config = json.dumps({"queue": {"sqs": {"queues": queues}}})  # JSON is YAML
        stack = make_stack(directory, config, SQS_WAIT_TIME_SECONDS="1", MAX_TASK_BYTES=str(4 * MEBIBYTE), **ledger)
        stack.gateway = _in_role(stack.gateway, "gateway", proxy.url)
        stack.consumer = _in_role(stack.consumer, "consumer", proxy.url)
        operator: dict[str, Any] = {**stack.gateway.environment, **aws_environment(proxy.url, key="operator")}
        applied = await run_cli("queues", "apply", **operator)
        assert 0 == applied.exit_code, applied.err
        try:
            await asyncio.gather(stack.gateway.start(), stack.consumer.start())
            yield Setup(stack, proxy)
        finally:
            await asyncio.gather(stack.gateway.kill(), stack.consumer.kill())


def _in_role(service: Service, role: str, url: str) -> Service:
    return replace(service, environment={**service.environment, **aws_environment(url, key=role)})


@pytest.mark.parametrize("ledger", [{}, {"LEDGER_URL": "none"}], ids=["with a ledger", "without a ledger"])
async def test_the_roles_of_the_terraform_module_are_enough(
    tmp_path: Path, pytestconfig: pytest.Config, ledger: dict[str, str]
) -> None:
    """Tasks run, retry, keep their order, die, are listed, redriven and purged, and nothing is refused on the way."""
    async with set_up(tmp_path, of_session(pytestconfig), ledger) as setup:
        await setup.post("/v1/queues/tasks/tasks", {"type": "test.ok"})
        await setup.post("/v1/queues/tasks/tasks", {"type": "test.flaky"})
        await setup.post("/v1/queues/tasks/tasks", {"type": "test.digest", "payload": "x" * 2 * MEBIBYTE})
        for number in range(3):
            await setup.post("/v1/queues/orders/tasks", {"type": "test.ok", "group": "g", "payload": number})
        await setup.post("/v1/queues/tasks/tasks", {"type": "test.broken"})
        await eventually(lambda: setup.ran(6), PATIENCE, "every task that can succeed has")

        async def died() -> bool:
            return bool((await setup.get("/v1/queues/tasks/dlq/tasks"))["tasks"])

        await eventually(died, PATIENCE, "the broken task is a dead letter")
        await setup.post("/v1/queues/tasks/dlq/redrive", {"all": True})
        await setup.get("/v1/queues/tasks/stats")
        await setup.post("/v1/queues/tasks/purge", {"confirm": "tasks"})
    assert [] == setup.proxy.refused


async def test_a_right_that_is_missing_is_noticed(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """The proxy refuses: an unknown key may do nothing, and the gateway deletes no messages."""
    localstack = of_session(pytestconfig)
    account = Account(tasks=["work"], dead_letters=[])
    async with iam_proxy(localstack.url, roles_of(ROOT / "deploy" / "terraform", account), account) as proxy:
        for key in ("nobody", "gateway"):
            session = AioSession()
            session.set_credentials(key, "test")
            async with session.create_client("sqs", region_name="us-east-1", endpoint_url=proxy.url) as sqs:
                with pytest.raises(sqs.exceptions.ClientError, match="sqs:deletemessage"):
                    await sqs.delete_message(QueueUrl="https://sqs/000000000000/work", ReceiptHandle="h")
    assert ["nobody", "gateway"] == [key for key, _ in proxy.refused]
