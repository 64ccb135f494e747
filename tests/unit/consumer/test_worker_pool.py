"""Slots, queues, leases and the end of the process."""

import asyncio
import contextlib
from dataclasses import replace
from datetime import timedelta

import pytest

from mcp_queue.consumer import visibility, worker_pool
from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.errors import BackendUnavailableError, RetryableError, VisibilityTimeoutError
from mcp_queue.domain.task import JsonValue, Task, TaskStatus
from tests.support.consumer import ConsumerKit, GroupedReceive, KitFactory, forever, succeed
from tests.support.tasks import fifo, standard

IMMEDIATELY = timedelta(0)


def at_once() -> asyncio.Event:
    """Return a hurry that is set."""
    event = asyncio.Event()
    event.set()
    return event


async def test_no_more_tasks_run_than_there_are_slots(consumer: KitFactory) -> None:
    """A backlog fills the slots; beyond them only one message a queue is held."""
    kit = await consumer(forever, slots=3)
    await kit.enqueue(*(kit.task(f"t{i}") for i in range(20)))
    await kit.pass_time(1)

    assert kit.pool.busy == len(kit.dispatcher.running) == 3
    stats = await kit.queues["tasks"].stats()
    assert stats.inflight_messages == 4


async def test_a_freed_slot_takes_the_highest_level_held(consumer: KitFactory) -> None:
    """A waiting low backlog delays a high task by one task's run at most."""
    gates: dict[str, asyncio.Event] = {}

    async def gated(task: Task) -> JsonValue:
        gates[task.id] = asyncio.Event()
        await gates[task.id].wait()
        return None

    specs = [standard(name, public_name="work") for name in ("low", "high")]
    kit = await consumer(gated, specs=specs, levels=[("low", 0), ("high", 3)], slots=1)
    await kit.enqueue(*(kit.task(f"low{i}", "low") for i in range(5)), queue="low")
    await kit.pass_time(1)
    await kit.enqueue(kit.task("high", "high"), queue="high")
    await kit.pass_time(1)
    gates["low0"].set()
    await kit.pass_time(1)

    assert ["low0", "high"] == [task_id for task_id, _ in kit.dispatcher.ran]


async def test_a_priority_queue_leaves_a_plain_one_its_share(consumer: KitFactory) -> None:
    """A level is a rank inside its own queue: as long as both have something, both run."""
    specs = [standard("urgent", public_name="work"), standard("plain")]
    kit = await consumer(succeed, specs=specs, levels=[("urgent", 3), ("plain", 0)], slots=2)
    for name in ("urgent", "plain"):
        await kit.enqueue(*(kit.task(f"{name}-{number}", name) for number in range(50)), queue=name)
    while len(kit.dispatcher.ran) < 40:
        await kit.pass_time()
    ran = [task_id.partition("-")[0] for task_id, _ in kit.dispatcher.ran[:40]]
    assert 15 <= ran.count("plain") <= 25


async def test_an_empty_high_level_never_delays_a_low_one(consumer: KitFactory) -> None:
    """Levels are polled side by side: the long poll of an empty one holds nobody up."""
    kit = await consumer(succeed, specs=[standard("low"), standard("high")], levels=[("low", 0), ("high", 3)], slots=1)
    await kit.enqueue(*(kit.task(f"low{i}", "low") for i in range(5)), queue="low")
    await kit.pass_time(0.5)

    assert len(kit.dispatcher.ran) == 5


async def test_a_lease_is_extended_while_the_task_runs(consumer: KitFactory) -> None:
    """A task that runs three times its queue's visibility timeout is never delivered twice."""
    kit = await consumer(forever, specs=[standard(visibility_timeout=timedelta(seconds=30))])
    await kit.enqueue(kit.task())
    await kit.pass_time(100)

    assert [("t1", 1)] == kit.dispatcher.ran
    assert kit.queues["tasks"].calls.count("extend") >= 9


async def test_a_lease_is_as_long_as_the_task_asks(consumer: KitFactory) -> None:
    """After the first third the message is hidden for the task's own, shorter timeout."""
    kit = await consumer(forever)
    await kit.enqueue(kit.task(visibility_timeout=timedelta(seconds=9)))
    await kit.pass_time(4)
    message = kit.queues["tasks"].inner._messages[0]

    left = message.visible_at - kit.clock.now()
    assert timedelta(seconds=7) < left <= timedelta(seconds=9)


async def test_a_held_delivery_without_a_slot_keeps_its_lease(consumer: KitFactory) -> None:
    """What waits for a slot is extended too, from the moment of its receive."""
    kit = await consumer(forever, slots=1, specs=[standard(visibility_timeout=timedelta(seconds=30))])
    await kit.enqueue(kit.task("t1"), kit.task("t2"))
    await kit.pass_time(300)

    assert [("t1", 1)] == kit.dispatcher.ran
    assert all(message.receive_count == 1 for message in kit.queues["tasks"].inner._messages)


async def test_a_lost_lease_cancels_the_handler_and_leaves_the_queue_alone(consumer: KitFactory) -> None:
    """Once another consumer may have the message, ours stops and asks nothing more for it."""
    kit = await consumer(forever)
    kit.queues["tasks"].faults["extend"] = [VisibilityTimeoutError()]
    await kit.enqueue(kit.task())
    await kit.pass_time(101)

    assert kit.metrics.lost == 1
    assert kit.dispatcher.running == set()
    assert {"receive", "extend"} == set(kit.queues["tasks"].calls)


async def test_a_lease_runs_out_when_the_backend_does_not_answer(consumer: KitFactory) -> None:
    """Extensions are tried again until the lease is over; then the handler is stopped."""
    kit = await consumer(forever, specs=[standard(visibility_timeout=timedelta(seconds=30))])
    kit.queues["tasks"].faults["extend"] = [BackendUnavailableError() for _ in range(100)]
    await kit.enqueue(kit.task())
    await kit.pass_time(29)
    assert kit.metrics.lost == 0
    await kit.pass_time(2)

    assert kit.metrics.lost == 1


async def test_one_failed_extension_does_not_lose_the_lease(consumer: KitFactory) -> None:
    """A passing fault of the backend is bridged by the next try."""
    kit = await consumer(forever, specs=[standard(visibility_timeout=timedelta(seconds=30))])
    kit.queues["tasks"].faults["extend"] = [BackendUnavailableError()]
    await kit.enqueue(kit.task())
    await kit.pass_time(100)

    assert kit.metrics.lost == 0
    assert len(kit.dispatcher.ran) == 1


async def test_a_lease_ends_twelve_hours_after_the_receive(
    consumer: KitFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQS allows no more (ten minutes here, for a quicker test): a longer task is stopped and comes again."""
    monkeypatch.setattr(visibility, "MAX_LEASE", timedelta(minutes=10))
    kit = await consumer(forever, specs=[standard(visibility_timeout=timedelta(seconds=100))])
    await kit.enqueue(kit.task(visibility_timeout=timedelta(hours=11)))
    await kit.pass_time(580)
    assert kit.metrics.lost == 0
    await kit.pass_time(20)

    assert kit.metrics.lost == 1


async def test_a_lost_lease_of_a_held_delivery_gives_its_place_back(consumer: KitFactory) -> None:
    """A delivery that loses its lease while it waits for a slot never runs."""
    gate = asyncio.Event()

    async def gated(_task: Task) -> JsonValue:
        await gate.wait()
        return None

    kit = await consumer(gated, slots=1)
    await kit.enqueue(kit.task("t1"), kit.task("t2"))
    await kit.pass_time(1)
    kit.queues["tasks"].faults["extend"] = [VisibilityTimeoutError(), VisibilityTimeoutError()]
    await kit.pass_time(101)

    assert kit.metrics.lost == 2
    assert "t2" not in {task_id for task_id, _ in kit.dispatcher.ran[:1]}


async def test_deliveries_of_one_group_run_one_after_another(consumer: KitFactory) -> None:
    """The next of a group starts only when the settlement of the one before is confirmed."""
    order: list[str] = []

    async def note(task: Task) -> JsonValue:
        order.append(f"start {task.id}")
        await asyncio.sleep(0)
        order.append(f"end {task.id}")
        return None

    kit = await consumer(note, specs=[fifo()], slots=5, prepare=GroupedReceive)
    await kit.enqueue(*(kit.task(f"t{i}", "orders", group="g") for i in range(3)), queue="orders")
    await kit.pass_time(21)

    assert [f"{what} t{i}" for i in range(3) for what in ("start", "end")] == order


async def test_followers_are_given_back_in_order_when_the_head_fails(consumer: KitFactory) -> None:
    """Behind a retry nothing of the group runs: the order would be lost."""

    async def fail(_task: Task) -> JsonValue:
        raise RetryableError("not now")

    kit = await consumer(fail, specs=[fifo()], slots=5, prepare=GroupedReceive)
    await kit.enqueue(*(kit.task(f"t{i}", "orders", group="g") for i in range(3)), queue="orders")
    await kit.pass_time(21)

    calls = [call for call in kit.queues["orders"].calls if call != "receive"]
    assert ["retry", "release", "release"] == calls[:3]
    assert {"t0"} == {task_id for task_id, _ in kit.dispatcher.ran[:1]}


async def test_followers_are_hidden_as_long_as_a_head_that_keeps_its_body(consumer: KitFactory) -> None:
    """Before it, so that none of them is ever visible alone."""

    async def fail(_task: Task) -> JsonValue:
        raise RetryableError("not now")

    def keep_bodies(kit: ConsumerKit) -> None:
        GroupedReceive(kit)
        queue = kit.queues["orders"]
        queue.traits_override = replace(queue.traits, rewrites=False)

    kit = await consumer(fail, specs=[fifo()], slots=5, prepare=keep_bodies)
    await kit.enqueue(*(kit.task(f"t{i}", "orders", group="g") for i in range(3)), queue="orders")
    await kit.pass_time(21)

    calls = [call for call in kit.queues["orders"].calls if call != "receive"]
    assert ["defer", "defer", "retry"] == calls[:3]
    assert ["t1", "t2", "t0"] == kit.queues["orders"].requeued[:3]


async def test_a_dead_lettered_head_lets_its_group_go_on(consumer: KitFactory) -> None:
    """Exhausted, the head is gone, and the next of the group runs."""

    async def fail_first(task: Task) -> JsonValue:
        if task.id == "t0":
            raise RetryableError("never")
        return None

    kit = await consumer(fail_first, specs=[fifo()], slots=5, prepare=GroupedReceive)
    await kit.enqueue(*(kit.task(f"t{i}", "orders", group="g", max_retries=0) for i in range(2)), queue="orders")
    await kit.pass_time(21)

    assert [TaskStatus.DEAD_LETTERED, TaskStatus.COMPLETED] == kit.metrics.statuses


async def test_followers_of_a_head_that_lost_its_lease_are_given_back(consumer: KitFactory) -> None:
    """Behind a lost lease the order is another consumer's to keep."""
    kit = await consumer(forever, specs=[fifo()], slots=5, prepare=GroupedReceive)
    await kit.enqueue(*(kit.task(f"t{i}", "orders", group="g") for i in range(2)), queue="orders")
    await kit.pass_time(21)
    kit.queues["orders"].faults["extend"] = [VisibilityTimeoutError()]
    await kit.pass_time(100)

    assert "release" in kit.queues["orders"].calls
    assert {"t0"} == {task_id for task_id, _ in kit.dispatcher.ran[:1]}


async def test_a_paused_queue_is_not_received_from(consumer: KitFactory) -> None:
    """Pausing stops receives, gives back what waits for a slot, and lets running work go on; resuming undoes it."""
    kit = await consumer(forever, slots=1)
    await kit.enqueue(kit.task("t1"), kit.task("t2"))
    await kit.pass_time(1)
    kit.pool.set_paused(frozenset({"tasks"}))
    await kit.pass_time(1)
    stats = await kit.queues["tasks"].stats()
    assert (1, 1) == (stats.inflight_messages, stats.approximate_messages)
    receives = kit.queues["tasks"].calls.count("receive")
    await kit.pass_time(60)
    assert kit.queues["tasks"].calls.count("receive") == receives

    kit.pool.set_paused(frozenset())
    await kit.pass_time(1)
    assert (await kit.queues["tasks"].stats()).inflight_messages == 2


async def test_what_an_open_poll_brings_after_the_pause_is_given_back(consumer: KitFactory) -> None:
    """A long poll that was open when the queue was paused runs nothing any more."""
    kit = await consumer(succeed)
    kit.pool.set_paused(frozenset({"tasks"}))
    await kit.enqueue(kit.task())
    await kit.pass_time(1)

    assert kit.dispatcher.ran == []
    assert (await kit.queues["tasks"].stats()).approximate_messages == 1


async def test_a_failing_receive_leaves_its_queue_alone_for_a_while(consumer: KitFactory) -> None:
    """Errors of the backend and defects alike are waited out, and work goes on afterwards."""
    kit = await consumer(succeed, specs=[standard("tasks")])
    queue = kit.queues["tasks"]
    await kit.enqueue(kit.task("t0"))
    queue.faults["receive"] = [BackendUnavailableError(), RuntimeError("defect"), BackendUnavailableError()]
    await kit.pass_time(0.1)
    before = queue.calls.count("receive")
    await kit.pass_time(0.1)
    assert queue.calls.count("receive") == before
    assert kit.pool.polled[0].stuck(kit.clock.monotonic())
    await kit.enqueue(kit.task("t1"))
    await kit.pass_time(30)

    assert {("t0", 1), ("t1", 1)} == set(kit.dispatcher.ran)
    assert not kit.pool.polled[0].stuck(kit.clock.monotonic())


async def test_a_drain_finishes_what_runs_and_gives_back_what_waits(consumer: KitFactory) -> None:
    """After SIGTERM nothing starts; running work ends and is settled, held work is visible again at once."""
    gate = asyncio.Event()

    async def gated(_task: Task) -> JsonValue:
        await gate.wait()
        return None

    kit = await consumer(gated, slots=1)
    await kit.enqueue(*(kit.task(f"t{i}") for i in range(3)))
    await kit.pass_time(1)
    draining = asyncio.create_task(kit.pool.drain(timedelta(seconds=30), asyncio.Event()))
    await kit.pass_time(1)
    assert (await kit.queues["tasks"].stats()).approximate_messages == 2
    gate.set()
    await kit.pass_time(25)
    await draining

    assert [("t0", 1)] == kit.dispatcher.ran
    assert await kit.depth() == 2


async def test_a_drain_ends_the_polls_of_a_backend_that_can(consumer: KitFactory) -> None:
    """With nothing to finish, a consumer of embedded queues stops at once."""
    kit = await consumer(succeed)
    draining = asyncio.create_task(kit.pool.drain(timedelta(seconds=30), asyncio.Event()))
    await kit.pass_time(0)

    assert draining.done()


async def test_an_open_poll_is_awaited_in_a_drain_and_what_it_brings_is_given_back(
    consumer: KitFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancelled long poll would hide messages for a whole visibility timeout."""
    kit = await consumer(succeed)
    monkeypatch.setattr(kit.queues["tasks"].inner, "stop_waiting", lambda: None)  # as SQS cannot
    draining = asyncio.create_task(kit.pool.drain(timedelta(seconds=30), asyncio.Event()))
    await kit.pass_time(1)
    await kit.enqueue(kit.task())
    await kit.pass_time(1)
    await draining

    assert kit.dispatcher.ran == []
    (message,) = kit.queues["tasks"].inner._messages
    assert (0, False) == (message.receive_count, message.in_flight(kit.clock.now()))


async def test_work_that_outlives_the_grace_period_is_cancelled_and_given_back(consumer: KitFactory) -> None:
    """The attempt is not burnt: the task runs again elsewhere at once, with the same number."""
    kit = await consumer(forever)
    await kit.enqueue(kit.task())
    await kit.pass_time(1)
    draining = asyncio.create_task(kit.pool.drain(timedelta(seconds=5), asyncio.Event()))
    await kit.pass_time(4)
    assert kit.dispatcher.running == {"t1"}
    await kit.pass_time(2)
    await draining

    (message,) = kit.queues["tasks"].inner._messages
    assert (0, False) == (message.receive_count, message.in_flight(kit.clock.now()))
    (record,) = kit.log.records
    assert (TaskStatus.QUEUED, 1) == (record.status, record.attempt)


async def test_a_second_signal_stops_at_once(consumer: KitFactory) -> None:
    """Whoever is in a hurry waits for no grace period."""
    kit = await consumer(forever)
    await kit.enqueue(kit.task())
    await kit.pass_time(1)
    hurry = asyncio.Event()
    draining = asyncio.create_task(kit.pool.drain(timedelta(seconds=600), hurry))
    await kit.pass_time(1)
    assert not draining.done()
    hurry.set()
    await kit.pass_time()
    await draining

    assert (await kit.queues["tasks"].stats()).approximate_messages == 1


async def test_an_outcome_that_is_being_settled_is_not_cut_off(consumer: KitFactory) -> None:
    """Neither a cancel nor the end of the grace period interrupts a settlement under way."""
    settling = asyncio.Event()
    go_on = asyncio.Event()
    kit = await consumer(succeed)
    original = kit.queues["tasks"].inner.complete

    async def slow(delivery: Delivery) -> None:
        settling.set()
        await go_on.wait()
        await original(delivery)

    kit.queues["tasks"].inner.complete = slow
    await kit.enqueue(kit.task())
    await kit.pass_time()
    await settling.wait()
    kit.pool.cancel("t1")
    draining = asyncio.create_task(kit.pool.drain(IMMEDIATELY, at_once()))
    await kit.pass_time()
    go_on.set()
    await kit.pass_time()
    await draining

    assert await kit.depth() == 0
    assert [TaskStatus.COMPLETED] == kit.metrics.statuses


async def test_a_defect_in_admission_leaves_the_delivery_to_its_lease(consumer: KitFactory) -> None:
    """An unforeseen error costs that delivery some time, never a slot and never the loop."""
    kit = await consumer(succeed, specs=[standard(visibility_timeout=timedelta(seconds=10))])

    async def broken(_executions: object) -> None:
        raise RuntimeError("defect")

    working, kit.log.start = kit.log.start, broken
    await kit.enqueue(kit.task())
    await kit.pass_time(1)
    assert kit.pool.busy == 0
    kit.log.start = working
    await kit.pass_time(10)

    assert [("t1", 1)] == kit.dispatcher.ran


async def test_an_idle_queue_asks_for_one_message_at_a_time(consumer: KitFactory) -> None:
    """With nothing to do each queue has one long poll open, and no more calls are made."""
    kit = await consumer(succeed, specs=[standard("a"), standard("b")], slots=10)
    await kit.pass_time(100)

    assert [6, 6] == [queue.calls.count("receive") for queue in kit.queues.values()]


async def test_a_handler_that_refuses_to_be_cancelled_does_not_hold_up_the_end(
    consumer: KitFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The drain ends soon after the grace period, and says what is left behind: only a release may take longer."""
    monkeypatch.setattr(worker_pool, "RELEASE_TIME", timedelta(minutes=1))
    monkeypatch.setattr(worker_pool, "CANCEL_TIME", timedelta(milliseconds=20))
    enough = asyncio.Event()

    async def stubborn(_task: Task) -> JsonValue:
        while not enough.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await enough.wait()
        return None

    kit = await consumer(stubborn)
    await kit.enqueue(kit.task())
    await kit.pass_time(1)
    async with asyncio.timeout(10):
        await kit.pool.drain(IMMEDIATELY, at_once())

    assert kit.pool.left_behind == 1
    (message,) = kit.queues["tasks"].inner._messages
    assert (0, False) == (message.receive_count, message.in_flight(kit.clock.now()))
    enough.set()
    await kit.pass_time(1)
