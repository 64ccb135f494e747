"""Other SQS clients: what they write is read, what we write they read."""

import json
from datetime import timedelta

from tests.support.sqs.client import create_queue, sqs_backend, sqs_client, sqs_spec
from tests.support.sqs.localstack import LocalStack
from tests.support.tasks import a_task
from tests.support.tools import npm_scripts, run_node


async def test_a_task_that_sqs_producer_wrote_is_read(localstack: LocalStack) -> None:
    """In the wire form; of its members only the type is required."""
    async with sqs_client() as sqs:
        url = await create_queue(sqs)
    written = {"type": "embedding", "priority": 2, "payload": {"text": "größer 雪"}, "metadata": {"from": "node"}}
    arguments = (url, json.dumps(written))
    await run_node(npm_scripts() / "produce.mjs", *arguments, variables=localstack.environment())
    async with sqs_backend(sqs_spec("work", url)) as backend:
        (delivery,) = await backend.queue("work").receive(1, timedelta(seconds=5))
        await backend.queue("work").complete(delivery)
    task = delivery.task
    assert task is not None
    assert (delivery.message_id, "embedding", 2, {"text": "größer 雪"}, {"from": "node"}) == (
        task.id,
        task.type,
        task.priority,
        task.payload,
        task.metadata,
    )


async def test_a_task_that_we_wrote_is_read_by_sqs_consumer(localstack: LocalStack) -> None:
    """Body and attributes."""
    async with sqs_client() as sqs:
        url = await create_queue(sqs)
    async with sqs_backend(sqs_spec("work", url)) as backend:
        await backend.queue("work").enqueue(a_task("t-1", type="echo", priority=3, payload={"text": "größer 雪"}))
    read = json.loads(await run_node(npm_scripts() / "consume.mjs", url, variables=localstack.environment()))
    assert ("t-1", "echo", {"text": "größer 雪"}) == tuple(read["body"][name] for name in ("id", "type", "payload"))
    assert ("echo", "3") == tuple(read["attributes"][name]["StringValue"] for name in ("Type", "Priority"))
