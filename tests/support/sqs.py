"""Queues at an emulator, and backends on them."""

import json
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from random import random
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from aiobotocore.session import AioSession

from mcp_queue.adapters.clock import SystemClock
from mcp_queue.adapters.sqs.backend import SqsBackend
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import Backend, QueueKind, QueueSpec

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient


class CountedCalls:
    """Metrics that remember."""

    def __init__(self) -> None:
        """Start at nothing."""
        self.calls: list[tuple[str, str]] = []
        self.batches: list[tuple[str, int]] = []

    def sqs_call(self, operation: str, outcome: str) -> None:
        """Remember a call."""
        self.calls.append((operation, outcome))

    def sqs_batch(self, operation: str, entries: int) -> None:
        """Remember a batch."""
        self.batches.append((operation, entries))

    def outcomes(self, operation: str) -> list[str]:
        """Return how the calls of ``operation`` ended."""
        return [outcome for name, outcome in self.calls if name == operation]


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
