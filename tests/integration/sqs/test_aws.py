"""Real AWS, where a queue of it is given."""

import os
from datetime import timedelta

import pytest

from mcp_queue.domain.queues import QueueKind
from tests.support.sqs.client import sqs_backend, sqs_spec
from tests.support.tasks import a_task

URL = os.environ.get("TEST_SQS_QUEUE_URL", "")


@pytest.mark.skipif(not URL, reason="TEST_SQS_QUEUE_URL names no queue at AWS")
async def test_a_task_goes_to_aws_and_comes_back() -> None:
    """Sent, received, extended, retried, released and completed; the queue should hold nothing else."""
    spec = sqs_spec("work", URL, kind=QueueKind.STANDARD, visibility_timeout=timedelta(seconds=60))
    async with sqs_backend(spec) as backend:
        queue = backend.queue("work")
        task = a_task("t-1", payload={"text": "naïve 雪 \u0000"})
        await queue.enqueue(task)
        (delivery,) = await queue.receive(1, timedelta(seconds=20))
        assert task == delivery.task
        await queue.extend(delivery, timedelta(seconds=90))
        await queue.retry(delivery, task.next_attempt(), timedelta(seconds=1))
        (retry,) = await queue.receive(1, timedelta(seconds=20))
        assert task.next_attempt() == retry.task
        await queue.release(retry)
        (again,) = await queue.receive(1, timedelta(seconds=20))
        await queue.complete(again)
