"""Gateway and consumer while SQS refuses, throttles or lacks something, each as a process of its own."""

import json
import re
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.support.aws.faults import DENIED, NO_QUEUE, THROTTLED, fault_proxy, first
from tests.support.aws.processes import Processes, processes_behind_faults
from tests.support.aws.wire import SqsError
from tests.support.processes.cli import run_cli
from tests.support.sqs.client import emulator
from tests.support.sqs.localstack import LocalStack
from tests.support.waiting import eventually, pause

TASKS = {"name": "tasks", "type": "standard"}
ORDERS = {"name": "orders", "type": "fifo", "dead_letter_queue": "orders-dlq"}
DLQ = {"name": "dlq", "type": "standard"}
ORDERS_DLQ = {"name": "orders-dlq", "type": "fifo"}


class TestGateway:
    """What clients and Kubernetes see."""

    @pytest.mark.xfail(strict=True, reason="the mark of a purge stays whatever SQS answers")
    async def test_a_refused_purge_closes_no_queue(self, tmp_path: Path, localstack: LocalStack) -> None:
        """SQS drops nothing then, so that the queue takes tasks as before."""
        async with processes_behind_faults(tmp_path, localstack, [TASKS, DLQ]) as processes:
            await processes.stack.gateway.start()
            processes.proxy.inject("PurgeQueue", DENIED)
            refused = await processes.post("/v1/queues/tasks/purge", {"confirm": "tasks"})
            assert 503 == refused.status, refused.text
            enqueued = await processes.post("/v1/queues/tasks/tasks", {"type": "test.ok"})
        assert 202 == enqueued.status, enqueued.text

    @pytest.mark.xfail(strict=True, reason="an attempt that fails after a refused purge ends its task as canceled")
    async def test_a_refused_purge_cancels_no_running_task(self, tmp_path: Path, localstack: LocalStack) -> None:
        """Its retry is sent as ever."""
        async with processes_behind_faults(tmp_path, localstack, [TASKS, DLQ]) as processes:
            await processes.start()
            processes.proxy.inject("PurgeQueue", DENIED)
            # Its attempts are a second apart: the purge is refused after the first of them.
            task = await processes.enqueue("tasks", "test.stumbling", payload={"failures": 4}, max_retries=5)
            await eventually(lambda: _ran(processes, "failed", 1), 20, "the first attempt fails")
            await processes.post("/v1/queues/tasks/purge", {"confirm": "tasks"})
            await processes.becomes(task, "completed", "canceled")
            assert "completed" == await processes.status(task)

    @pytest.mark.parametrize("error", [NO_QUEUE, DENIED, THROTTLED], ids=["gone", "denied", "throttled"])
    async def test_the_gateway_is_ready_while_a_task_queue_answers(
        self, tmp_path: Path, localstack: LocalStack, error: SqsError
    ) -> None:
        """Sends work, whatever happened to a dead-letter queue."""
        queues = [TASKS, ORDERS, DLQ, ORDERS_DLQ]
        async with processes_behind_faults(tmp_path, localstack, queues) as processes:
            await processes.stack.gateway.start()
            processes.proxy.inject("GetQueueAttributes", error, queue="orders-dlq")
            await processes.enqueue("tasks")
            ready = await processes.get("/readyz")
        assert 200 == ready.status, ready.text

    @pytest.mark.xfail(strict=True, reason="the text of SQS is passed on, which names roles and accounts")
    async def test_an_error_answer_names_no_role(self, tmp_path: Path, localstack: LocalStack) -> None:
        """A client learns that it may try later, and no more."""
        async with processes_behind_faults(tmp_path, localstack, [TASKS, DLQ]) as processes:
            await processes.stack.gateway.start()
            processes.proxy.inject("SendMessageBatch", DENIED)
            refused = await processes.post("/v1/queues/tasks/tasks", {"type": "test.ok"})
        assert 503 == refused.status
        assert not re.search("arn:aws|assumed-role|111122223333", refused.text), refused.text

    async def test_stats_show_neither_policy_nor_key(self, tmp_path: Path, localstack: LocalStack) -> None:
        """They are the operator's, and name accounts."""
        async with processes_behind_faults(tmp_path, localstack, [TASKS, DLQ]) as processes:
            await processes.stack.gateway.start()
            name = processes.names["tasks"]
            policy = {"Version": "2012-10-17", "Statement": []}
            async with emulator(localstack) as sqs:
                url = (await sqs.get_queue_url(QueueName=name))["QueueUrl"]
                attributes = {"Policy": json.dumps(policy), "KmsMasterKeyId": "alias/tasks"}
                await sqs.set_queue_attributes(QueueUrl=url, Attributes=attributes)  # type: ignore[arg-type]  # names of attributes are literals there
            stats = await processes.get("/v1/queues/tasks/stats")
        assert set() == {"Policy", "KmsMasterKeyId"} & stats.body["attributes"].keys()

    async def test_a_deduplication_id_counts_within_its_group(self, tmp_path: Path, localstack: LocalStack) -> None:
        """The queues that are created have ``DeduplicationScope`` messageGroup."""
        async with processes_behind_faults(tmp_path, localstack, [TASKS, ORDERS, DLQ, ORDERS_DLQ]) as processes:
            await processes.stack.gateway.start()
            tasks = [await processes.enqueue("orders", group=group, deduplication_id="d-1") for group in ("a", "b")]
            assert 2 == len(set(tasks))


class TestConsumer:
    """What runs, and what waits."""

    async def test_a_dead_letter_queue_that_takes_nothing_stops_no_other_queue(
        self, tmp_path: Path, localstack: LocalStack
    ) -> None:
        """Settling has a bound; then the slots are free for others."""
        other = {"name": "other", "type": "standard", "dead_letter_queue": "other-dlq"}
        queues = [TASKS, DLQ, other, {"name": "other-dlq", "type": "standard"}]
        async with processes_behind_faults(tmp_path, localstack, queues, QUEUE_WORKER_COUNT="2") as processes:
            await processes.start()
            processes.proxy.inject("SendMessageBatch", DENIED, queue="-dlq")
            for _ in range(4):
                await processes.enqueue("tasks", "test.broken")
            await eventually(lambda: _ran(processes, "failed", 2), 20, "both slots have a task to settle")
            task = await processes.enqueue("other")
            await processes.becomes(task, "completed", seconds=40)

    @pytest.mark.xfail(
        strict=True, reason="every process asks for the counts of every queue each 10 s, and each probe too"
    )
    async def test_an_idle_consumer_does_little_but_poll(self, tmp_path: Path, localstack: LocalStack) -> None:
        """Depth is asked once a minute while nobody looks, and probes use what is known."""
        queues = [TASKS, DLQ, ORDERS, ORDERS_DLQ]
        async with processes_behind_faults(tmp_path, localstack, queues, SQS_WAIT_TIME_SECONDS="20") as processes:
            await processes.stack.consumer.start()
            journal = processes.proxy.start_counting()
            await pause(25)
        assert journal.count("GetQueueAttributes") <= len(queues), journal.by_operation()

    async def test_a_little_traffic_costs_little(self, tmp_path: Path, localstack: LocalStack) -> None:
        """Twenty tasks a second cost 2.3 requests each: deletes wait up to 200 ms where a duplicate would do no harm.

        On a machine too busy for that pace, deletes may come as often as five times a second all the same.
        """
        async with processes_behind_faults(tmp_path, localstack, [TASKS, DLQ]) as processes:
            await processes.start()
            await processes.enqueue("tasks")
            await eventually(lambda: _ran(processes, "ok", 1), 20, "the first task is done")
            journal, began = processes.proxy.start_counting(), time.monotonic()
            for _ in range(100):
                await processes.enqueue("tasks")
                await pause(0.04)
            await eventually(lambda: _ran(processes, "ok", 101), 20, "every task is done")
            await eventually(lambda: _deleted(processes, 100), 20, "every message is deleted")
            seconds = time.monotonic() - began
        used = sum(
            journal.count(operation) for operation in ("SendMessageBatch", "ReceiveMessage", "DeleteMessageBatch")
        )
        assert used <= 200 + max(30, 5 * seconds), journal.by_operation()


class TestApply:
    """``mcp-queue queues apply``."""

    async def test_a_queue_that_is_not_visible_at_once_is_waited_for(self, localstack: LocalStack) -> None:
        """SQS says for a while that a queue it has created does not exist."""
        prefix = f"t{uuid4().hex[:10]}"
        async with fault_proxy(localstack.url) as proxy:
            proxy.inject("GetQueueAttributes", NO_QUEUE, first(2), queue="-dlq")
            names = {"SQS_QUEUE_URL": f"{prefix}-tasks", "SQS_DLQ_URL": f"{prefix}-dlq"}
            variables: dict[str, Any] = {**localstack.environment(), **names, "AWS_ENDPOINT_URL": proxy.url}
            done = await run_cli("queues", "apply", **variables)
        assert 0 == done.exit_code, done.err


async def _ran(processes: Processes, what: str, number: int) -> bool:
    return len(processes.ran(what)) >= number


async def _deleted(processes: Processes, number: int) -> bool:
    requests = processes.proxy.journal.of("DeleteMessageBatch")
    return sum(len(request["Entries"]) for request in requests) >= number
