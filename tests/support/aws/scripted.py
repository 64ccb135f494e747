"""A backend on a server that plays no queue at all: every answer is one that the test scripted."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.queues import QueueKind
from mcp_queue.ports import Queue
from tests.support.aws.faults import FaultProxy, Reply, fault_proxy
from tests.support.metrics import CountedCalls
from tests.support.sqs.client import sqs_backend, sqs_spec

#: Nobody listens there: a call that no test scripted fails.
_NOWHERE = "http://127.0.0.1:9"
ACCOUNT = "111122223333"


@dataclass(frozen=True)
class Scripted:
    """One queue whose SQS answers as the test says."""

    proxy: FaultProxy
    queue: Queue
    metrics: CountedCalls

    async def receive(self, **members: Any) -> Delivery:
        """Receive a message that the server makes up."""
        self.proxy.inject("ReceiveMessage", Reply({"Messages": [message(**members)]}))
        (delivery,) = await self.queue.receive(1, self.queue.spec.visibility_timeout)
        return delivery


def message(**members: Any) -> dict[str, Any]:
    """Return a message as SQS delivers it; ``members`` replace the defaults."""
    return {
        "MessageId": "00000000-0000-4000-8000-000000000001",
        "ReceiptHandle": "AQEB",
        "Body": '{"type": "echo", "id": "t-1"}',
        "Attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1767225600000"},
        **members,
    }


@asynccontextmanager
async def scripted_queue(*, fifo: bool = False, **attributes: str) -> AsyncIterator[Scripted]:
    """Provide a queue named ``work``; ``attributes`` are added to those that its server tells."""
    name = "work.fifo" if fifo else "work"
    kind = {"FifoQueue": "true"} if fifo else {}
    arn = f"arn:aws:sqs:us-east-1:{ACCOUNT}:{name}"
    metrics = CountedCalls()
    url = f"https://sqs.us-east-1.amazonaws.com/{ACCOUNT}/{name}"
    spec = sqs_spec("work", url, kind=QueueKind.FIFO if fifo else QueueKind.STANDARD)
    async with fault_proxy(_NOWHERE) as proxy:
        told = proxy.inject("GetQueueAttributes", Reply({"Attributes": {"QueueArn": arn, **kind, **attributes}}))
        async with sqs_backend(spec, region="us-east-1", endpoint_url=proxy.url, metrics=metrics) as backend:
            told.schedule = lambda: False
            proxy.start_counting()
            metrics.calls.clear()
            yield Scripted(proxy, backend.queue("work"), metrics)
