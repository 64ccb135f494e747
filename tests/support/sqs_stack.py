"""Both processes on queues at LocalStack, which ``mcp-queue queues apply`` creates for them."""

import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from aiobotocore.session import AioSession

from tests.support.cli import run_cli
from tests.support.localstack import LocalStack
from tests.support.stack import Stack, make_stack

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

#: Seconds. Short, so that what a killed consumer held is soon visible again.
VISIBILITY_TIMEOUT = 5


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


@contextlib.asynccontextmanager
async def emulator(localstack: LocalStack) -> "AsyncIterator[SQSClient]":
    """Return a client of LocalStack, whatever this process's environment says."""
    session = AioSession()
    session.set_credentials("test", "test")
    async with session.create_client("sqs", region_name="us-east-1", endpoint_url=localstack.url) as sqs:
        yield sqs


async def send_raw(localstack: LocalStack, queue: str, bodies: Sequence[str]) -> None:
    """Send bodies as they are to the SQS queue named ``queue``, as any other client might."""
    async with emulator(localstack) as sqs:
        url = (await sqs.get_queue_url(QueueName=queue))["QueueUrl"]
        for start in range(0, len(bodies), 10):
            entries = [{"Id": str(index), "MessageBody": body} for index, body in enumerate(bodies[start : start + 10])]
            answer = await sqs.send_message_batch(QueueUrl=url, Entries=entries)  # type: ignore[arg-type]  # what is optional there is left out
            assert not answer.get("Failed")


async def read_all(localstack: LocalStack, queue: str) -> list[dict[str, Any]]:
    """Return the bodies of everything that can be received from the SQS queue named ``queue``, which hides it."""
    bodies: list[dict[str, Any]] = []
    async with emulator(localstack) as sqs:
        url = (await sqs.get_queue_url(QueueName=queue))["QueueUrl"]
        while messages := (await sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)).get("Messages"):
            bodies += [json.loads(message["Body"]) for message in messages]
    return bodies
