"""The main job, as a whole: both processes, every kind of task, and what is left of a thousand of them.

With each ledger, and without one.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.http.receiver import Receiver
from tests.support.ledger import postgres_url
from tests.support.processes.stack import Stack, make_stack
from tests.support.queues.embedded import dead_letters as stored_dead_letters
from tests.support.queues.embedded import put_raw
from tests.support.thousand_tasks import (
    SEED,
    Plan,
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
from tests.support.waiting import eventually

QUEUES = """
queue:
  sqs:
    queues:
      - {name: tasks, type: standard, visibility_timeout: 5, max_receive_count: 10}
      - {name: orders, type: fifo, visibility_timeout: 5}
      - {name: work, type: priority, levels: {3: work-p3, 1: work-p1, 0: work-p0}}
      - {name: work-p3, type: standard, visibility_timeout: 5, max_receive_count: 10}
      - {name: work-p1, type: standard, visibility_timeout: 5, max_receive_count: 10}
      - {name: work-p0, type: standard, visibility_timeout: 5, max_receive_count: 10}
      - {name: dlq, type: standard, visibility_timeout: 5}
  workers: {count: 20}
"""


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Return the receiver that the thousand tasks call."""
    async with running_receiver() as running:
        yield running


async def account_without_ledger(stack: Stack, plan: Plan) -> None:
    """What cannot succeed lies in the dead-letter queue, with the reason, and nothing else does."""
    dead_letters = await stored_dead_letters(stack.directory / "var")
    marks = {dead_letter.task.metadata["mark"] for dead_letter in dead_letters if dead_letter.task is not None}
    assert marks == plan.dead_letter
    assert sum(dead_letter.task is None for dead_letter in dead_letters) == plan.poison
    assert len(dead_letters) == len(plan.dead_letter) + plan.poison
    for dead_letter in dead_letters:
        notes = dead_letter.task.metadata if dead_letter.task is not None else dead_letter.attributes
        assert notes["failure_reason"]
        assert notes["original_queue"] in {"tasks", "orders", "work"}


@pytest.fixture(params=["none", "sqlite", "postgres"])
async def ledger(request: pytest.FixtureRequest) -> AsyncIterator[dict[str, str]]:
    """Return the variables that name a ledger: none, the default one, and a database on a server."""
    match request.param:
        case "postgres":
            async with postgres_url(request.config) as url:
                yield {"LEDGER_URL": url}
        case "sqlite":
            yield {}
        case none:
            yield {"LEDGER_URL": none}


@pytest.mark.timeout(240)
async def test_a_thousand_mixed_tasks_end_completed_or_dead_lettered(
    tmp_path: Path, receiver: Receiver, ledger: dict[str, str]
) -> None:
    """Handlers, threads, callbacks, delays, priorities, FIFO groups and poison: each is exactly accounted for."""
    plan, stack = plan_thousand(receiver), make_stack(tmp_path, QUEUES, **ledger)
    remembers = ledger.get("LEDGER_URL") != "none"
    await put_raw(tmp_path / "var", "tasks", ["{poison"] * plan.poison)
    await asyncio.gather(stack.gateway.start(), stack.consumer.start())
    try:
        await enqueue_all(stack, plan)
        await eventually(lambda: all_settled(stack), 120, "all tasks settled")
        if remembers:
            await eventually(lambda: all_recorded(stack, plan), 60, "all ends recorded")
            await account_with_ledger(stack, plan, exactly=True)
    finally:
        codes = [await service.stop() for service in stack.services]

    assert codes == [0, 0]
    await account(stack, plan, receiver)
    if not remembers:
        await account_without_ledger(stack, plan)
    assert set(succeeded_in_process(stack).values()) == {1}
    assert_groups_in_order(stack)


@pytest.mark.timeout(300)
async def test_no_task_is_lost_when_the_consumer_is_killed_five_times(
    tmp_path: Path, receiver: Receiver, ledger: dict[str, str]
) -> None:
    """A crash at any moment may repeat a task; it loses none, and dead-letters none that can succeed."""
    plan, stack = plan_thousand(receiver), make_stack(tmp_path, QUEUES, **ledger)
    remembers = ledger.get("LEDGER_URL") != "none"
    await put_raw(tmp_path / "var", "tasks", ["{poison"] * plan.poison)
    dice = random.Random(SEED)
    await asyncio.gather(stack.gateway.start(), stack.consumer.start())
    try:
        await enqueue_all(stack, plan)
        for kill in range(1, 6):
            share = (kill * 0.15 + dice.uniform(-0.05, 0.05)) * len(plan.succeed_in_process)
            await eventually(partial(progressed, stack, share), 60, f"progress before kill {kill}")
            await stack.consumer.kill()
            await stack.consumer.start()
        await eventually(lambda: all_settled(stack), 120, "all tasks settled")
        if remembers:
            await eventually(lambda: all_recorded(stack, plan), 60, "all ends recorded")
            await account_with_ledger(stack, plan, exactly=False)
    finally:
        codes = [await service.stop() for service in stack.services]

    assert codes == [0, 0]
    await account(stack, plan, receiver)
    if not remembers:
        await account_without_ledger(stack, plan)
