"""Both processes on SQS, as LocalStack has it."""

import asyncio
import hashlib
import json
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from aiobotocore.session import AioSession

from tests.support.http.receiver import Receiver
from tests.support.processes.stack import Stack, stack_on_sqs
from tests.support.sqs.client import emulator, read_all, send_raw
from tests.support.sqs.localstack import LocalStack, of_session
from tests.support.thousand_tasks import (
    SEED,
    account,
    account_with_ledger,
    all_recorded,
    all_settled,
    assert_groups_in_order,
    enqueue_all,
    plan_thousand,
    progressed,
    running_receiver,
    succeeded_in_process,
)
from tests.support.tools import npm_scripts, run_node
from tests.support.waiting import eventually

#: Seconds. The first test of a cold machine installs LocalStack.
pytestmark = pytest.mark.timeout(300)

DLQ = {"name": "dlq", "type": "standard", "visibility_timeout": 5}
TASKS = {"name": "tasks", "type": "standard"}
MEGABYTE = 1024 * 1024


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Return the receiver that the thousand tasks call."""
    async with running_receiver() as running:
        yield running


@pytest.fixture
def localstack(pytestconfig: pytest.Config) -> LocalStack:
    """Return the session's LocalStack."""
    return of_session(pytestconfig)


async def enqueue(stack: Stack, queue: str, tasks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Post tasks as a batch; return their ids."""
    async with (
        aiohttp.ClientSession(stack.gateway.url) as session,
        session.post(f"/v1/queues/{queue}/tasks/batch", json={"tasks": tasks}) as response,
    ):
        body = await response.json()
        assert 202 == response.status, body
    return [result["id"] for result in body["results"]]


def succeeded(stack: Stack) -> list[dict[str, Any]]:
    """Return the lines of successful executions, in order."""
    return [effect for effect in stack.effects() if effect["what"] == "ok"]


async def has_succeeded(stack: Stack, count: int) -> bool:
    """Whether so many executions succeeded."""
    return len(succeeded(stack)) >= count


class TestPriorityQueue:
    """Three levels over standard queues."""

    QUEUES: tuple[dict[str, Any], ...] = (
        {"name": "work", "type": "priority", "levels": {3: "work-p3", 1: "work-p1", 0: "work-p0"}},
        *({"name": f"work-p{level}", "type": "standard"} for level in (3, 1, 0)),
        DLQ,
    )

    async def test_a_backlog_is_worked_off_from_the_highest_level_down(
        self, tmp_path: Path, localstack: LocalStack
    ) -> None:
        """The low tasks were there first. The slot takes whatever comes first; from then on the order is strict."""
        async with stack_on_sqs(tmp_path, localstack, self.QUEUES, LEDGER_URL="none", QUEUE_WORKER_COUNT="1") as (
            stack,
            _,
        ):
            await stack.gateway.start()
            for level in (0, 1, 3):
                tasks = [{"type": "test.slow", "priority": level, "payload": {"level": level}}] * 8
                await enqueue(stack, "work", tasks)
            await stack.consumer.start()
            await eventually(lambda: has_succeeded(stack, 24), 60, "all levels are worked off")

        levels = [effect["payload"]["level"] for effect in succeeded(stack)]
        assert sorted(levels[1:], reverse=True) == levels[1:]

    async def test_an_empty_high_level_delays_no_low_one(self, tmp_path: Path, localstack: LocalStack) -> None:
        """Its long poll is open for 20 s, beside that of the level which a task comes to."""
        async with stack_on_sqs(
            tmp_path, localstack, self.QUEUES, LEDGER_URL="none", QUEUE_WORKER_COUNT="1", SQS_WAIT_TIME_SECONDS="20"
        ) as (stack, _):
            await asyncio.gather(stack.gateway.start(), stack.consumer.start())
            for number, level in enumerate((0, 1, 3, 0), start=1):
                await enqueue(stack, "work", [{"type": "test.ok", "priority": level}])
                await eventually(partial(has_succeeded, stack, number), 10, f"a task of level {level}")
            await stack.consumer.kill()  # a drain would wait for its polls


class TestFifoQueue:
    """Fifty groups whose tasks fail now and then."""

    GROUPS = 50
    RETRIES = 2

    def tasks(self) -> list[dict[str, Any]]:
        """Return four tasks a group: of every three groups one has a task that fails once, one a hopeless one."""
        tasks: list[dict[str, Any]] = []
        for position in range(4):
            for group in range(self.GROUPS):
                failures = {1: {0: 1, 1: 99}}.get(position, {}).get(group % 3, 0)
                payload = {"failures": failures, "mark": f"{group}-{position}"}
                task = {"type": "test.stumbling", "group": f"g{group}", "payload": payload, "max_retries": self.RETRIES}
                tasks.append(task)
        return tasks

    @pytest.mark.parametrize("policy", ["block", "skip"])
    async def test_groups_keep_their_order_while_tasks_fail(
        self, tmp_path: Path, localstack: LocalStack, policy: str
    ) -> None:
        """A failing task holds its group until it is retried or dead-lettered; with ``skip`` it is gone at once."""
        orders = {"name": "orders", "type": "fifo", "failure_policy": policy}
        async with stack_on_sqs(
            tmp_path, localstack, [TASKS, orders, DLQ], LEDGER_URL="none", QUEUE_WORKER_COUNT="20"
        ) as (stack, names):
            await asyncio.gather(stack.gateway.start(), stack.consumer.start())
            tasks = self.tasks()
            await enqueue(stack, "orders", tasks)
            lost = {task["payload"]["mark"] for task in tasks if task["payload"]["failures"] > self.survived(policy)}
            await eventually(lambda: has_succeeded(stack, len(tasks) - len(lost)), 60, "every other task is done")
            await asyncio.gather(stack.gateway.stop(), stack.consumer.stop())
            dead_letters = await read_all(localstack, names["dlq"])

        assert sorted(lost) == sorted(dead_letter["payload"]["mark"] for dead_letter in dead_letters)
        assert {"orders"} == {dead_letter["metadata"]["original_queue"] for dead_letter in dead_letters}
        done = [effect["payload"]["mark"] for effect in succeeded(stack)]
        assert sorted({task["payload"]["mark"] for task in tasks} - lost) == sorted(done)
        for group in range(self.GROUPS):
            ran = [effect for effect in stack.effects() if effect["group"] == f"g{group}"]
            positions = [int(effect["payload"]["mark"].partition("-")[2]) for effect in ran]
            assert all(earlier <= later for earlier, later in pairwise(positions)), "nothing overtakes a failing task"
        runs = [effect for effect in stack.effects() if effect["payload"]["failures"] == 99]
        assert len(runs) == len(lost) * (self.survived(policy) + 1) if policy == "block" else len(runs)

    def survived(self, policy: str) -> int:
        """Return how many failures a task survives."""
        return self.RETRIES if policy == "block" else 0


class TestMainJob:
    """A thousand tasks of all kinds, with a SQLite ledger."""

    QUEUES: tuple[dict[str, Any], ...] = (
        {**TASKS, "max_receive_count": 10},
        {"name": "orders", "type": "fifo"},
        {"name": "work", "type": "priority", "levels": {3: "work-p3", 1: "work-p1", 0: "work-p0"}},
        *({"name": f"work-p{level}", "type": "standard", "max_receive_count": 10} for level in (3, 1, 0)),
        DLQ,
    )

    @pytest.mark.parametrize("kills", [0, 5])
    async def test_a_thousand_mixed_tasks_end_completed_or_dead_lettered(
        self,
        tmp_path: Path,
        localstack: LocalStack,
        receiver: Receiver,  # the fixture
        kills: int,
    ) -> None:
        """Each is exactly accounted for, also when the consumer is killed at any moment."""
        plan, dice = plan_thousand(receiver), random.Random(SEED)
        async with stack_on_sqs(tmp_path, localstack, self.QUEUES, QUEUE_WORKER_COUNT="20") as (stack, names):
            await send_raw(localstack, names["tasks"], ["{poison"] * plan.poison)
            await asyncio.gather(stack.gateway.start(), stack.consumer.start())
            await enqueue_all(stack, plan)
            for kill in range(1, kills + 1):
                share = (kill * 0.15 + dice.uniform(-0.05, 0.05)) * len(plan.succeed_in_process)
                await eventually(partial(progressed, stack, share), 60, f"progress before kill {kill}")
                await stack.consumer.kill()
                await stack.consumer.start()
            await eventually(lambda: all_settled(stack), 120, "all tasks are settled")
            await eventually(lambda: all_recorded(stack, plan), 60, "all ends are recorded")
            await account_with_ledger(stack, plan, exactly=not kills)
            codes = [await service.stop() for service in stack.services]

        assert [0, 0] == codes
        await account(stack, plan, receiver)
        if not kills:
            assert {1} == set(succeeded_in_process(stack).values())
            assert_groups_in_order(stack)


async def test_what_other_sqs_clients_send_is_executed(tmp_path: Path, localstack: LocalStack) -> None:
    """The npm package ``sqs-producer`` in the wire form, and a message of which only the type is ours."""
    scripts = npm_scripts()
    async with stack_on_sqs(tmp_path, localstack, [TASKS, DLQ], LEDGER_URL="none") as (stack, names):
        await stack.consumer.start()
        task = {"id": "from-node", "type": "test.ok", "priority": 1, "payload": {"n": 1}, "metadata": {"from": "node"}}
        async with emulator(localstack) as sqs:
            url = (await sqs.get_queue_url(QueueName=names["tasks"]))["QueueUrl"]
        await run_node(scripts / "produce.mjs", url, json.dumps(task), variables=localstack.environment())
        await send_raw(localstack, names["tasks"], ['{"type": "test.ok"}'])
        await eventually(lambda: has_succeeded(stack, 2), 20, "both are executed")

    by_payload = {json.dumps(effect["payload"]): effect["id"] for effect in succeeded(stack)}
    assert "from-node" == by_payload['{"n": 1}']
    assert 36 == len(by_payload["null"]), "the message's own id"


async def test_a_payload_of_five_megabytes_reaches_its_handler_whole(tmp_path: Path, localstack: LocalStack) -> None:
    """By way of S3, since SQS takes one."""
    bucket = f"payloads-{uuid4().hex[:12]}"
    session = AioSession()
    session.set_credentials("test", "test")
    async with session.create_client("s3", region_name="us-east-1", endpoint_url=localstack.url) as s3:
        await s3.create_bucket(Bucket=bucket)
    text = "größer 雪 " * (5 * MEGABYTE // 12)
    async with stack_on_sqs(
        tmp_path,
        localstack,
        [{**TASKS, "payload_bucket": bucket}, DLQ],
        LEDGER_URL="none",
        MAX_TASK_BYTES=str(16 * MEGABYTE),
    ) as (stack, _):
        await asyncio.gather(stack.gateway.start(), stack.consumer.start())
        body = json.dumps({"type": "test.digest", "payload": text}, ensure_ascii=False).encode()
        assert len(body) > 5 * MEGABYTE
        async with (
            aiohttp.ClientSession(stack.gateway.url, headers={"Content-Type": "application/json"}) as client,
            client.post("/v1/queues/tasks/tasks", data=BytesIO(body)) as response,
        ):
            assert 202 == response.status, await response.text()
        await eventually(lambda: has_succeeded(stack, 1), 30, "the handler ran")

    (effect,) = succeeded(stack)
    assert {"size": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()} == effect["payload"]
