"""Queues at LocalStack: making them, writing and reading them as any other client does, and backends on them."""

import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from random import random
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from aiobotocore.session import AioSession

from mcp_queue.adapters.clock import SystemClock
from mcp_queue.adapters.sqs.backend import SqsBackend
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import Backend, QueueKind, QueueSpec
from tests.support.metrics import CountedCalls
from tests.support.sqs.localstack import LocalStack

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient


def sqs_client() -> "AbstractAsyncContextManager[SQSClient]":
    """Return a client of the emulator that the environment names, to be entered."""
    return AioSession().create_client("sqs")


async def create_queue(
    sqs: "SQSClient",
    name: str | None = None,
    *,
    fifo: bool = False,
    dead_letters: str | None = None,
    max_receive_count: int = 3,
    attributes: Mapping[str, str] | None = None,
) -> str:
    """Create a queue under a name of its own; return its URL. ``dead_letters`` is the URL its redrive policy names."""
    wanted = dict(attributes or {})
    if fifo:
        wanted["FifoQueue"] = "true"
    if dead_letters is not None:
        policy = {"deadLetterTargetArn": await arn_of(sqs, dead_letters), "maxReceiveCount": max_receive_count}
        wanted["RedrivePolicy"] = json.dumps(policy)
    queue_name = f"{name or 'queue'}-{uuid4().hex[:12]}{'.fifo' if fifo else ''}"
    answer = await sqs.create_queue(QueueName=queue_name, Attributes=wanted)  # type: ignore[arg-type]  # names of attributes are literals there
    return answer["QueueUrl"]


async def arn_of(sqs: "SQSClient", url: str) -> str:
    """Return the ARN of the queue at ``url``."""
    answer = await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return answer["Attributes"]["QueueArn"]


def sqs_spec(name: str, url: str, **members: Any) -> QueueSpec:
    """Return the spec of a queue at SQS; ``members`` replace the defaults."""
    kind = QueueKind.FIFO if url.endswith(".fifo") else QueueKind.STANDARD
    return QueueSpec(name=name, url=url, backend=Backend.SQS, **({"kind": kind} | members))


def sqs_backend(*specs: QueueSpec, **members: Any) -> SqsBackend:
    """Return a backend on the emulator that the environment names, to be entered."""
    defaults: dict[str, Any] = {
        "clock": SystemClock(),
        "random": random,
        "serializer": JsonTaskSerializer(),
        "metrics": CountedCalls(),
        "worker_count": 10,
    }
    return SqsBackend(specs, **(defaults | members))


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
