"""Queues that do not take what settles a delivery: they keep no other from running, and no end is decided twice."""

import asyncio
from collections.abc import Mapping

import pytest

from mcp_queue.consumer.health import ConsumerReadiness
from mcp_queue.domain.delivery import DeadLetterMessage, Delivery
from mcp_queue.domain.errors import BackendUnavailableError, PermanentError, QueueError, RetryableError
from mcp_queue.domain.task import JsonValue, Task, TaskStatus
from mcp_queue.services.execution.confirming import SETTLE_TIME, STALL_TIME
from tests.support.clock import MINUTE
from tests.support.consumer import ConsumerKit, KitFactory
from tests.support.tasks import standard

DENIED = BackendUnavailableError("SQS: AccessDenied: not authorized to send")


async def doomed(task: Task) -> JsonValue:
    """Fail for good, or once more, as the payload asks; succeed in any other queue."""
    if task.queue != "broken":
        return None
    raise RetryableError("once more") if task.payload == "retry" else PermanentError("no way")


def refusing(kit: ConsumerKit, call: str, error: QueueError = DENIED) -> None:
    """Let the broken queue refuse every such call from now on."""
    kit.queues["broken"].faults[call] = [error] * 10_000


async def started(consumer: KitFactory, **members: object) -> ConsumerKit:
    """Return a consumer of one queue that will break, and one that will not."""
    specs = [standard("broken", visibility_timeout=MINUTE), standard("healthy")]
    kit: ConsumerKit = await consumer(doomed, specs=specs, **members)
    return kit


@pytest.mark.parametrize(
    ("call", "payload", "status"),
    [("dead_letter", None, TaskStatus.DEAD_LETTERED), ("retry", "retry", TaskStatus.RETRYING)],
)
async def test_an_end_that_was_decided_is_settled_later_without_another_run(
    consumer: KitFactory, call: str, payload: JsonValue, status: TaskStatus
) -> None:
    """After 30 s the message is hidden for one visibility timeout; its next receive settles what was decided."""
    kit = await started(consumer)
    refusing(kit, call)
    await kit.enqueue(kit.task(queue="broken", payload=payload), queue="broken")
    for _ in range(20):
        await kit.pass_time(2)
    kit.queues["broken"].faults[call] = []
    assert [(status, True)] == [(record.status, record.postponed) for record in kit.log.records]
    assert 1 == await kit.depth("broken")

    while len(kit.log.records) == 1:
        await kit.pass_time(5)
    settled = kit.log.records[1]
    assert (status, 1, False, True) == (settled.status, settled.attempt, settled.postponed, settled.confirmed)
    assert 1 == kit.dispatcher.ran.count(("t1", 1))
    assert kit.log.records[0].error == kit.log.records[1].error


async def test_a_success_is_not_run_again_though_its_message_could_not_be_deleted(consumer: KitFactory) -> None:
    """It was recorded before; the message is left to its lease."""
    kit = await started(consumer)
    refusing(kit, "complete")
    await kit.enqueue(kit.task(queue="succeeding"), queue="broken")
    for _ in range(20):
        await kit.pass_time(2)
    assert [TaskStatus.COMPLETED] == [record.status for record in kit.log.records]
    assert [("broken", "complete")] == kit.metrics.postponements


@pytest.mark.parametrize("call", ["dead_letter", "retry", "complete"])
async def test_a_queue_that_refuses_keeps_no_slot_from_the_others(consumer: KitFactory, call: str) -> None:
    """With as many stalled as there are slots, and more, what another queue brings runs at once."""
    kit = await started(consumer, slots=2)
    refusing(kit, call)
    payload = "retry" if call == "retry" else None
    for number in range(6):
        queue = "succeeding" if call == "complete" else "broken"
        await kit.enqueue(kit.task(f"b{number}", queue=queue, payload=payload), queue="broken")
    await kit.pass_time(1)
    for number in range(20):
        await kit.enqueue(kit.task(f"h{number}", queue="healthy"), queue="healthy")
    await kit.pass_time(1)
    assert 0 == await kit.depth("healthy")
    assert 0 == kit.pool.busy
    assert 6 == await kit.depth("broken")


async def test_a_queue_that_does_not_answer_keeps_no_slot_for_long(consumer: KitFactory) -> None:
    """A call that hangs is as bad as one that fails: the slot is free after a second."""
    kit = await started(consumer, slots=1)
    hanging = asyncio.Event()

    async def hang(delivery: Delivery, dead_letter: DeadLetterMessage) -> None:  # those of the port
        await hanging.wait()

    kit.queues["broken"].dead_letter = hang  # type: ignore[method-assign]  # no double of ours hangs
    await kit.enqueue(kit.task(queue="broken"), queue="broken")
    await kit.pass_time()
    assert 1 == kit.pool.busy
    await kit.pass_time(STALL_TIME.total_seconds())
    freed = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(STALL_TIME.total_seconds() + 0.05, freed.set_result, None)
    await freed
    assert 0 == kit.pool.busy
    hanging.set()
    await kit.pass_time()


async def test_a_queue_whose_settlements_pile_up_is_not_polled(consumer: KitFactory) -> None:
    """What it cannot settle waits in the queue, not in this process."""
    kit = await started(consumer, slots=10)
    refusing(kit, "dead_letter")
    for number in range(150):
        await kit.enqueue(kit.task(f"b{number}", queue="broken"), queue="broken")
    for _ in range(30):
        await kit.pass_time(0.1)
    assert 100 <= len(kit.dispatcher.ran) <= 110


async def test_a_postponed_settlement_is_reported_until_one_succeeds(consumer: KitFactory) -> None:
    """Readiness names the queue and the reason, and stays ready for the others."""
    kit = await started(consumer)
    readiness = ConsumerReadiness(kit.pool.polled, [], kit.clock, failing=kit.pool.failing, started=True)
    refusing(kit, "dead_letter")
    await kit.enqueue(kit.task(queue="broken"), queue="broken")
    await kit.pass_time()
    for _ in range(int(SETTLE_TIME.total_seconds())):
        await kit.pass_time(2)
    ready, answer = await readiness.check()
    checks = answer["checks"]
    assert isinstance(checks, Mapping)
    assert (True, "degraded") == (ready, answer["status"])
    assert "AccessDenied" in checks["settle:broken"]
    assert ("broken", "dead_letter") in kit.metrics.postponements

    kit.queues["broken"].faults["dead_letter"] = []
    while kit.pool.failing:
        await kit.pass_time(5)
    assert "ok" == (await readiness.check())[1]["status"]
