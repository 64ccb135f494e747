"""What becomes of one delivery."""

import asyncio
import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from mcp_queue.domain.delivery import Requeued
from mcp_queue.domain.errors import (
    BackendUnavailableError,
    CallbackRejectedError,
    InvalidPayloadError,
    ResourcesExhaustedError,
    RetryableError,
    UnknownTaskTypeError,
    VisibilityTimeoutError,
)
from mcp_queue.domain.queues import FailurePolicy, QueueSpec, QueueTraits
from mcp_queue.domain.task import JsonValue, Task, TaskStatus
from mcp_queue.ports import Admission
from tests.support.consumer import KitFactory, forever, succeed
from tests.support.tasks import fifo, standard


async def failing(task: Task) -> JsonValue:
    """Fail for a passing reason."""
    raise RetryableError("not now")


async def test_a_success_is_recorded_and_its_message_deleted(consumer: KitFactory) -> None:
    """A task whose handler returns is completed with the handler's result."""
    kit = await consumer(succeed)

    await kit.enqueue(kit.task(payload={"answer": 42}))
    await kit.pass_time()

    assert await kit.depth() == 0
    assert [(TaskStatus.COMPLETED, {"answer": 42}, 1)] == [(r.status, r.result, r.attempt) for r in kit.log.records]


async def test_a_retryable_failure_waits_for_the_backoff_and_counts_the_retry(consumer: KitFactory) -> None:
    """The next attempt comes after base * factor ** retry_count, as attempt 2."""
    kit = await consumer(failing)
    await kit.enqueue(kit.task())
    await kit.pass_time()

    assert [("t1", 1)] == kit.dispatcher.ran
    await kit.pass_time(0.9)
    assert [("t1", 1)] == kit.dispatcher.ran
    await kit.pass_time(0.2)
    assert [("t1", 1), ("t1", 2)] == kit.dispatcher.ran
    assert kit.log.records[0].status is TaskStatus.RETRYING
    assert kit.log.records[0].confirmed


async def test_the_last_attempt_moves_the_task_to_the_dead_letter_queue(consumer: KitFactory) -> None:
    """A task with two retries runs three times, then lies dead-lettered with the reason and its attempts."""
    kit = await consumer(failing)
    await kit.enqueue(kit.task())
    await kit.pass_time(60)

    assert [("t1", 1), ("t1", 2), ("t1", 3)] == kit.dispatcher.ran
    (dead_letter,) = await kit.dead_letters()
    assert dead_letter.task.metadata["failure_reason"] == "not now (attempt 3 of 3)"
    assert dead_letter.task.metadata["original_queue"] == "tasks"
    assert dead_letter.task.metadata["failed_at"].startswith("2026-01-01T00:00:03")
    assert kit.log.records[-1].status is TaskStatus.DEAD_LETTERED


async def test_a_permanent_failure_is_dead_lettered_at_once(consumer: KitFactory) -> None:
    """What can never succeed burns no retry."""
    for error in (UnknownTaskTypeError("no handler"), InvalidPayloadError("bad"), CallbackRejectedError("no", 404)):

        async def reject(_task: Task, error: Exception = error) -> JsonValue:
            raise error

        kit = await consumer(reject)
        await kit.enqueue(kit.task())
        await kit.pass_time()

        (dead_letter,) = await kit.dead_letters()
        assert dead_letter.task.metadata["failure_reason"] == str(error)
        assert len(kit.dispatcher.ran) == 1


async def test_the_status_of_a_rejecting_callback_is_recorded(consumer: KitFactory) -> None:
    """The last response status of a dead letter is known."""

    async def reject(_task: Task) -> JsonValue:
        raise CallbackRejectedError("gone", 410)

    kit = await consumer(reject)
    await kit.enqueue(kit.task())
    await kit.pass_time()

    assert kit.log.records[-1].response_status == 410


async def test_an_exception_of_the_handlers_own_has_no_response_status(consumer: KitFactory) -> None:
    """Whatever some HTTP library calls by that name need not be a number that the ledger can hold."""

    class TheirError(Exception):
        response_status = "I'm a teapot"

    async def fail(_task: Task) -> JsonValue:
        raise TheirError

    kit = await consumer(fail)
    await kit.enqueue(kit.task(max_retries=0))
    await kit.pass_time()

    assert kit.log.records[-1].response_status is None


async def test_any_other_exception_of_a_handler_is_retried(consumer: KitFactory) -> None:
    """A handler's own exception, sys.exit included, is a failure of that attempt and not of the process."""
    errors: list[BaseException] = [KeyError("x"), SystemExit(3)]

    async def crash(task: Task) -> JsonValue:
        if errors:
            raise errors.pop(0)
        return task.payload

    kit = await consumer(crash)
    await kit.enqueue(kit.task())
    await kit.pass_time(10)

    assert [TaskStatus.RETRYING, TaskStatus.RETRYING, TaskStatus.COMPLETED] == kit.metrics.statuses
    assert ["KeyError: 'x'", "SystemExit: 3", None] == [record.error for record in kit.log.records]


@pytest.mark.parametrize(("spec", "group"), [(standard("tasks"), None), (fifo("tasks"), "g")])
async def test_an_attempt_without_resources_is_deferred_and_not_counted(
    consumer: KitFactory, spec: QueueSpec, group: str | None
) -> None:
    """What this process lacks is no fault of the task: it waits, and its attempts are still all there."""
    errors = [ResourcesExhaustedError() for _ in range(5)]

    async def lack(task: Task) -> JsonValue:
        if errors:
            raise errors.pop(0)
        return task.payload

    kit = await consumer(lack, specs=[spec])
    await kit.enqueue(kit.task(max_retries=0, group=group))
    await kit.pass_time(60)

    assert [TaskStatus.COMPLETED] == kit.metrics.statuses
    assert [TaskStatus.QUEUED] * 5 + [TaskStatus.COMPLETED] == [record.status for record in kit.log.records]
    assert {1} == {record.attempt for record in kit.log.records}


async def test_a_delay_that_the_failure_asks_for_replaces_the_backoff(consumer: KitFactory) -> None:
    """RetryableError(delay) and a callback's Retry-After are honoured."""

    async def later(_task: Task) -> JsonValue:
        raise RetryableError("busy", timedelta(seconds=100))

    kit = await consumer(later)
    await kit.enqueue(kit.task())
    await kit.pass_time(99)
    assert len(kit.dispatcher.ran) == 1
    await kit.pass_time(2)
    assert len(kit.dispatcher.ran) == 2


async def test_an_expired_task_is_not_started(consumer: KitFactory) -> None:
    """A task whose expires_at has passed ends expired without a run."""
    kit = await consumer(succeed)
    await kit.enqueue(kit.task(expires_at=kit.clock.now()))
    await kit.pass_time()

    assert kit.dispatcher.ran == []
    assert await kit.depth() == 0
    assert [(TaskStatus.EXPIRED, 0)] == [(r.status, r.attempt) for r in kit.log.records]


async def test_a_body_that_is_no_task_is_dead_lettered_raw(consumer: KitFactory) -> None:
    """Poison is dead-lettered unchanged, with the reason beside it, and the loop goes on."""
    kit = await consumer(succeed)
    kit.queues["tasks"].inner._add("{nonsense", {}, None)
    await kit.enqueue(kit.task())
    await kit.pass_time()

    (dead_letter,) = await kit.dead_letters()
    assert dead_letter.body == "{nonsense"
    assert "not JSON" in dead_letter.attributes["failure_reason"]
    assert [("t1", 1)] == kit.dispatcher.ran


async def test_a_task_that_is_not_due_is_given_back_until_it_is(consumer: KitFactory) -> None:
    """A backend that holds 900 s at most delivers early: the task hops on without burning an attempt."""
    kit = await consumer(succeed, traits=QueueTraits(max_delay=timedelta(seconds=900)))
    due = kit.clock.now() + timedelta(seconds=1000)
    kit.queues["tasks"].inner._add(kit.queues["tasks"].inner._serializer.dumps(kit.task(scheduled_for=due)), {}, None)
    await kit.pass_time(990)
    assert kit.dispatcher.ran == []
    await kit.pass_time(10)
    assert [("t1", 1)] == kit.dispatcher.ran


async def test_a_long_wait_for_a_retry_hops_too(consumer: KitFactory) -> None:
    """A retry wait beyond what the backend holds is waited in hops, counted once."""

    async def later(task: Task) -> JsonValue:
        if task.retry_count == 0:
            raise RetryableError("busy", timedelta(seconds=2000))
        return None

    kit = await consumer(later, traits=QueueTraits(max_delay=timedelta(seconds=900)))
    await kit.enqueue(kit.task())
    await kit.pass_time(1990)
    assert [("t1", 1)] == kit.dispatcher.ran
    await kit.pass_time(20)
    assert [("t1", 1), ("t1", 2)] == kit.dispatcher.ran


async def test_a_message_received_too_often_is_dead_lettered_where_no_ledger_counts_crashes(
    consumer: KitFactory,
) -> None:
    """Without one the receive count is all that tells a task that keeps killing its worker."""
    kit = await consumer(succeed)
    kit.queues["tasks"].spec_override = standard(max_receive_count=0)
    await kit.enqueue(kit.task())
    await kit.pass_time()

    (dead_letter,) = await kit.dead_letters()
    assert dead_letter.task.metadata["failure_reason"].startswith("received 1 times without being settled")
    assert kit.dispatcher.ran == []


async def test_a_task_that_the_backend_moved_back_runs_as_a_new_generation(consumer: KitFactory) -> None:
    """SQS's own redrive leaves the notes of the dead letter in the body; they start a new count."""
    kit = await consumer(failing)
    notes = {"failure_reason": "x", "failed_at": "2025-01-01T00:00:00Z", "original_queue": "tasks", "kept": "yes"}
    await kit.enqueue(kit.task(metadata=notes, retry_count=2))
    await kit.pass_time()

    assert [("t1", 1)] == kit.dispatcher.ran
    assert (1, {"kept": "yes"}) == (kit.log.records[0].task.redrive_count, kit.log.records[0].task.metadata)


async def test_an_attempt_over_its_time_limit_is_cancelled_and_retried(consumer: KitFactory) -> None:
    """The handler is cancelled at the limit, and the failure is retryable."""
    stopped = asyncio.Event()

    async def slow(_task: Task) -> JsonValue:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return None

    kit = await consumer(slow, processing_timeout=timedelta(milliseconds=5))
    await kit.enqueue(kit.task(max_retries=0))
    await kit.pass_time()
    await stopped.wait()
    await kit.pass_time()

    (dead_letter,) = await kit.dead_letters()
    assert dead_letter.task.metadata["failure_reason"].startswith("took longer than its limit of 0.005 s")


async def test_a_timeout_error_of_the_handler_itself_is_its_own_failure(consumer: KitFactory) -> None:
    """A handler's TimeoutError is not mistaken for the attempt's limit."""

    async def timed_out(_task: Task) -> JsonValue:
        raise TimeoutError("the database")

    kit = await consumer(timed_out)
    await kit.enqueue(kit.task(max_retries=0))
    await kit.pass_time()

    (dead_letter,) = await kit.dead_letters()
    assert dead_letter.task.metadata["failure_reason"].startswith("TimeoutError: the database")


async def test_a_success_that_comes_after_the_limit_is_a_success(consumer: KitFactory) -> None:
    """Work that was done within the lease counts, though it ignored its cancellation."""

    async def stubborn(_task: Task) -> JsonValue:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            done.set()
        return "done after all"

    done = asyncio.Event()
    kit = await consumer(stubborn, processing_timeout=timedelta(milliseconds=5))
    await kit.enqueue(kit.task())
    await kit.pass_time()
    await done.wait()
    await kit.pass_time()

    assert ["done after all"] == [record.result for record in kit.log.records]


async def test_a_handler_in_a_thread_keeps_its_slot_until_it_returns(consumer: KitFactory) -> None:
    """A thread cannot be stopped: past its limit it keeps slot and lease, then counts as timed out."""
    go = threading.Event()

    async def in_thread(_task: Task) -> JsonValue:
        await asyncio.to_thread(go.wait)
        return None

    kit = await consumer(in_thread, processing_timeout=timedelta(seconds=10))
    kit.dispatcher.threaded = True
    await kit.enqueue(kit.task(max_retries=0))
    await kit.pass_time(11)
    assert kit.pool.busy == 1
    go.set()
    await asyncio.wait(kit.pool._running.values())
    await kit.pass_time()

    (dead_letter,) = await kit.dead_letters()
    assert "limit of 10 s" in dead_letter.task.metadata["failure_reason"]


async def test_a_lost_lease_does_not_free_the_slot_of_a_thread(consumer: KitFactory) -> None:
    """The thread still runs, so that its slot is not free; its success is recorded all the same."""
    go = threading.Event()

    async def in_thread(_task: Task) -> JsonValue:
        await asyncio.to_thread(go.wait)
        return "late"

    kit = await consumer(in_thread)
    kit.dispatcher.threaded = True
    kit.queues["tasks"].faults["extend"] = [VisibilityTimeoutError()]
    await kit.enqueue(kit.task())
    await kit.pass_time(120)
    assert (1, 1) == (kit.metrics.lost, kit.pool.busy)
    go.set()
    await asyncio.wait(kit.pool._running.values())

    assert ["late"] == [record.result for record in kit.log.records]
    assert "complete" not in kit.queues["tasks"].calls


async def test_what_the_ledger_refuses_is_dropped_without_a_run(consumer: KitFactory) -> None:
    """A canceled task, one that completed already, and a stale copy are deleted and never started."""
    kit = await consumer(succeed, slots=3)
    kit.log.answers = {
        "canceled": Admission(1, refused=TaskStatus.CANCELED),
        "done": Admission(1, refused=TaskStatus.COMPLETED),
        "stale": Admission(1, stale=True),
    }
    await kit.enqueue(*(kit.task(name) for name in ("canceled", "done", "stale")))
    await kit.pass_time()

    assert kit.dispatcher.ran == []
    assert await kit.depth() == 0


async def test_tasks_start_unchecked_while_the_ledger_is_down(consumer: KitFactory) -> None:
    """The ledger observes; its absence stops nothing."""
    kit = await consumer(succeed)
    kit.log.down = True
    await kit.enqueue(kit.task())
    await kit.pass_time()

    assert [("t1", 1)] == kit.dispatcher.ran
    assert await kit.depth() == 0


async def test_deliveries_that_get_a_slot_together_are_admitted_in_one_update(consumer: KitFactory) -> None:
    """One conditional update admits a whole receive."""
    kit = await consumer(succeed, slots=8)
    await kit.enqueue(*(kit.task(f"t{i}") for i in range(20)))
    await kit.pass_time()

    assert sum(kit.log.starts) == 20
    assert max(kit.log.starts) >= 8


async def test_settling_is_tried_again_while_the_backend_does_not_answer(consumer: KitFactory) -> None:
    """An outcome is not forgotten because one call failed."""
    kit = await consumer(succeed)
    kit.queues["tasks"].faults["complete"] = [BackendUnavailableError(), BackendUnavailableError()]
    await kit.enqueue(kit.task())
    await kit.pass_time()
    assert await kit.depth() == 1
    await kit.pass_time(2)

    assert await kit.depth() == 0
    assert len(kit.dispatcher.ran) == 1


async def test_a_lease_lost_before_settling_ends_the_delivery(consumer: KitFactory) -> None:
    """When the backend says that the message is another's, nothing more is asked of it, and the result stays."""
    kit = await consumer(succeed)
    kit.queues["tasks"].faults["complete"] = [VisibilityTimeoutError()]
    await kit.enqueue(kit.task())
    await kit.pass_time()

    assert kit.metrics.lost == 1
    assert ["complete"] == [call for call in kit.queues["tasks"].calls if call != "receive"]
    assert [TaskStatus.COMPLETED] == [record.status for record in kit.log.records]


async def test_a_retry_whose_lease_was_lost_is_recorded_as_unconfirmed(consumer: KitFactory) -> None:
    """Only a confirmed successor makes earlier copies stale."""
    kit = await consumer(failing)
    kit.queues["tasks"].faults["retry"] = [VisibilityTimeoutError()]
    await kit.enqueue(kit.task())
    await kit.pass_time()

    assert [(TaskStatus.RETRYING, False)] == [(r.status, r.confirmed) for r in kit.log.records]


async def test_a_fifo_queue_that_skips_dead_letters_the_first_failure(consumer: KitFactory) -> None:
    """With the policy skip the group does not wait for retries."""
    kit = await consumer(failing, specs=[fifo(failure_policy=FailurePolicy.SKIP)])
    await kit.enqueue(kit.task(queue="orders", group="g"), queue="orders")
    await kit.pass_time()

    (dead_letter,) = await kit.dead_letters()
    assert dead_letter.task.metadata["failure_reason"] == "not now"


async def test_attempts_of_a_queue_that_cannot_count_them_are_counted_by_the_log(consumer: KitFactory) -> None:
    """Where the old body comes back, the attempt is what the log knows plus one."""
    kit = await consumer(failing, specs=[fifo()], traits=QueueTraits(rewrites=False))
    inner = kit.queues["orders"].inner
    original = inner.retry

    async def keep_body(delivery: object, task: Task, delay: timedelta) -> Requeued:
        await original(delivery, replace(task, retry_count=0), delay)
        return Requeued.HIDDEN

    inner.retry = keep_body
    await kit.enqueue(kit.task(queue="orders", group="g"), queue="orders")
    await kit.pass_time(30)

    assert [("t1", 1), ("t1", 2), ("t1", 3)] == kit.dispatcher.ran
    assert [True, True, True] == [record.confirmed for record in kit.log.records]
    assert len(await kit.dead_letters()) == 1


async def test_a_message_that_keeps_its_body_waits_for_the_backoff_hidden(consumer: KitFactory) -> None:
    """A queue that takes no delayed message can hide one all the same."""
    traits = QueueTraits(rewrites=False, max_delay=timedelta(0))
    kit = await consumer(failing, specs=[fifo()], traits=traits)
    await kit.enqueue(kit.task(queue="orders", group="g"), queue="orders")
    await kit.pass_time(0.9)
    assert [("t1", 1)] == kit.dispatcher.ran
    await kit.pass_time(0.2)

    assert [("t1", 1), ("t1", 2)] == kit.dispatcher.ran


async def test_a_running_task_can_be_canceled(consumer: KitFactory) -> None:
    """Its handler is cancelled at its next await, and its message is gone."""
    kit = await consumer(forever)
    await kit.enqueue(kit.task())
    await kit.pass_time()
    kit.pool.cancel("t1")
    kit.pool.cancel("unknown")
    await kit.pass_time()

    assert [TaskStatus.CANCELED] == [record.status for record in kit.log.records]
    assert await kit.depth() == 0


async def test_a_callback_under_way_is_let_finish(consumer: KitFactory) -> None:
    """Nobody could tell what the receiver has done of it: it ends as it answers."""
    answered = asyncio.Event()

    async def call(_task: Task) -> JsonValue:
        await answered.wait()
        return None

    kit = await consumer(call)
    await kit.enqueue(kit.task(callback_url="https://example.com/hook"))
    await kit.pass_time()
    kit.pool.cancel("t1")
    await kit.pass_time()
    assert [] == kit.log.records
    answered.set()
    await kit.pass_time()

    assert [TaskStatus.COMPLETED] == [record.status for record in kit.log.records]


async def test_a_cancellation_that_nobody_asked_for_is_the_handlers_own_failure(consumer: KitFactory) -> None:
    """A handler that awaits something cancelled has failed; it is neither stopped nor left to its lease."""

    async def await_the_cancelled(_task: Task) -> JsonValue:
        future: asyncio.Future[JsonValue] = asyncio.get_running_loop().create_future()
        future.cancel()
        return await future

    kit = await consumer(await_the_cancelled)
    await kit.enqueue(kit.task(max_retries=0))
    await kit.pass_time()

    (dead_letter,) = await kit.dead_letters()
    assert dead_letter.task.metadata["failure_reason"].startswith("the handler was cancelled by something")
