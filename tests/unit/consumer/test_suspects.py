"""Tasks that may have ended their process: one runs at a time, beside everything else."""

import asyncio
from typing import Any

from mcp_queue.domain.task import JsonValue, Task
from mcp_queue.ports import Admission, AttemptStart
from tests.support.consumer import ConsumerKit, KitFactory


async def suspected(consumer: KitFactory, handler: Any, names: list[str], **members: Any) -> ConsumerKit:
    """Return a consumer whose ledger tells tasks of these names as suspects."""

    def prepare(kit: ConsumerKit) -> None:
        kit.log.answers = {name: Admission(1, suspect=True) for name in names}

    kit: ConsumerKit = await consumer(handler, prepare=prepare, **members)
    return kit


async def test_one_suspect_runs_at_a_time_and_takes_no_slot(consumer: KitFactory) -> None:
    """Healthy tasks have all slots, however many suspects wait."""
    gate = asyncio.Event()

    async def handler(task: Task) -> JsonValue:
        if task.id.startswith("s"):
            await gate.wait()
        return None

    kit = await suspected(consumer, handler, ["s1", "s2", "s3"], slots=1)
    await kit.enqueue(*(kit.task(name) for name in ("s1", "s2", "s3", "h1", "h2")))
    await kit.pass_time(1)
    assert {"s1"} == kit.dispatcher.running
    assert [("s1", 1), ("h1", 1), ("h2", 1)] == kit.dispatcher.ran
    assert 0 == kit.pool.busy
    gate.set()
    await kit.pass_time(1)
    assert ["s2", "s3"] == [name for name, _ in kit.dispatcher.ran[3:]]
    assert 0 == await kit.depth()


async def test_a_suspect_is_marked_before_it_starts(consumer: KitFactory) -> None:
    """So that what ends the process is known afterwards."""
    order: list[str] = []

    async def handler(task: Task) -> JsonValue:
        order.append(f"ran {task.id}")
        return None

    kit = await suspected(consumer, handler, ["s1"])

    async def mark(start: AttemptStart) -> int:
        order.append(f"marked {start.task.id}")
        return 0

    kit.log.mark_suspect = mark  # type: ignore[method-assign]  # the point of this test
    await kit.enqueue(kit.task("s1"))
    await kit.pass_time(1)
    assert ["marked s1", "ran s1"] == order


async def test_a_task_that_ended_its_process_too_often_is_dead_lettered(consumer: KitFactory) -> None:
    """Without another run."""
    kit = await suspected(consumer, succeed_never, ["s1"])
    kit.log.mark_suspect = three_times  # type: ignore[method-assign]  # the point of this test
    await kit.enqueue(kit.task("s1"))
    await kit.pass_time(1)
    assert [] == kit.dispatcher.ran
    (dead_letter,) = await kit.dead_letters()
    assert dead_letter.task is not None
    assert dead_letter.task.metadata["failure_reason"].startswith("ended its process, or lost its lease, 3 times")


async def test_a_callback_is_no_suspect(consumer: KitFactory) -> None:
    """What another process executes ends none of ours."""
    kit = await suspected(consumer, succeed_never, ["c1"])
    kit.log.mark_suspect = three_times  # type: ignore[method-assign]  # the point of this test
    await kit.enqueue(kit.task("c1", callback_url="https://receiver.example/"))
    await kit.pass_time(1)
    assert [("c1", 1)] == kit.dispatcher.ran


async def test_receives_bound_nothing_below_the_backstop_where_crashes_are_counted(consumer: KitFactory) -> None:
    """A healthy task that others took along comes back as often as the backend lets it."""
    kit = await suspected(consumer, succeed_never, [])
    kit.log.counting = True
    await kit.enqueue(kit.task("h1"))
    kit.queues["tasks"].inner._messages[0].receive_count = 8
    await kit.pass_time(1)
    assert [("h1", 1)] == kit.dispatcher.ran


async def three_times(start: AttemptStart) -> int:  # that of the port
    """Answer as a ledger that saw three starts."""
    return 3


async def succeed_never(_task: Task) -> JsonValue:
    """Succeed with nothing."""
    return None
