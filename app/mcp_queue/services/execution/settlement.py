"""Ends deliveries: completes, retries, defers, releases or dead-letters each, exactly once."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial

from mcp_queue.domain.delivery import TASK_ID, DeadLetterMessage, Delivery, Requeued
from mcp_queue.domain.errors import TaskFailedError
from mcp_queue.domain.execution.retry import (
    Retry,
    RetryPolicy,
    dead_letter_message,
    describe,
    fit_delay,
    revived,
)
from mcp_queue.domain.queues import FailurePolicy
from mcp_queue.domain.task import JsonValue, Task, TaskStatus, cut_reason
from mcp_queue.ports import AttemptRecord, Clock, DecidedEnd, ExecutionLog, Metrics, Queue
from mcp_queue.services.execution.admission import Attempt, Disposition, Received
from mcp_queue.services.execution.confirming import Confirmation, Confirmer

logger = logging.getLogger(__name__)

_PURGED = "its queue was purged"


class Settlement:
    """Settles each delivery until the backend has confirmed it, cannot take it, or the lease is lost.

    An end that was decided is decided: where the queue cannot take what settles a delivery, the end is recorded, and
    the next receive settles it without running it again.

    A success is recorded before the message is deleted, so that a delivery after a crash in between is recognised; a
    retry and a dead letter are recorded after the backend confirmed them, since what follows from the record (older
    copies are stale) must be true.

    What was ``withdrawn`` with its queue is not sent again: it ends canceled.

    A second settlement of one delivery is a defect of the caller: it is logged and counted, and the queue is not
    touched. Methods that return a bool say whether the message is known to be gone, so that the next of its FIFO group
    may run.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        random: Callable[[], float],
        metrics: Metrics,
        log: ExecutionLog,
        policy: RetryPolicy,
        withdrawn: Callable[[Task, Delivery], bool] = lambda *_: False,
    ) -> None:
        self.confirmer = Confirmer(clock=clock, random=random, metrics=metrics)
        self._clock = clock
        self._random = random
        self._metrics = metrics
        self._log = log
        self._policy = policy
        self._withdrawn = withdrawn

    async def succeed(self, attempt: Attempt, result: JsonValue) -> bool:
        """Record the result, then delete the message."""
        await self._record(attempt, TaskStatus.COMPLETED, result=result, confirmed=not attempt.delivery.lost)
        return await self._complete(attempt.received)

    async def fail(self, attempt: Attempt, error: BaseException) -> bool:
        """Retry by the policy, or dead-letter what cannot succeed."""
        spec = attempt.queue.spec
        status = error.response_status if isinstance(error, TaskFailedError) else None
        decision = self._policy.after_failure(attempt.task, error, self._random(), attempt=attempt.number)
        if isinstance(decision, str) or (spec.fifo and spec.failure_policy is FailurePolicy.SKIP):
            reason = decision if isinstance(decision, str) else describe(error)
            return await self.dead_letter(attempt, reason, response_status=status)
        if self._withdrawn(attempt.task, attempt.delivery):
            reason = f"{_PURGED}; the attempt failed: {describe(error)}"
            return await self.end(attempt, TaskStatus.CANCELED, reason, response_status=status)
        await self._retry(attempt, decision, describe(error), status)
        return False

    async def settle_decided(self, attempt: Attempt, decided: DecidedEnd) -> bool:
        """Settle an attempt that ended before, when its queue could not take that."""
        if decided.status is TaskStatus.DEAD_LETTERED:
            return await self.dead_letter(attempt, decided.error, response_status=decided.response_status)
        wait = timedelta(0) if decided.next_at is None else max(decided.next_at - self._clock.now(), timedelta(0))
        await self._retry(attempt, Retry(attempt.task.next_attempt(), wait), decided.error, decided.response_status)
        return False

    async def _retry(self, attempt: Attempt, retry: Retry, reason: str, response_status: int | None) -> None:
        next_at = self._clock.now() + retry.delay
        end = partial(
            self._record,
            attempt,
            TaskStatus.RETRYING,
            error=reason,
            response_status=response_status,
            next_at=next_at,
        )
        postponed: list[bool] = []

        async def postpone() -> None:
            postponed.append(True)
            await end(confirmed=False, postponed=True)

        requeued = await self._requeue(attempt.received, "retry", retry, postpone)
        if not postponed:
            # A message that carries the count and was only hidden comes back as the same attempt.
            hidden = requeued is Requeued.HIDDEN and not attempt.counts_itself
            await end(confirmed=requeued is Requeued.REWRITTEN or hidden)

    async def dead_letter(self, attempt: Attempt, reason: str, *, response_status: int | None = None) -> bool:
        """Dead-letter a task with ``reason``."""
        queue, delivery = attempt.queue, attempt.delivery
        dead_letter = dead_letter_message(attempt.task, reason, self._clock.now(), delivery.queue)
        end = partial(self._record, attempt, error=dead_letter.reason, response_status=response_status)
        confirmation = await self.confirmer.settle(
            queue,
            delivery,
            "dead_letter",
            lambda: queue.dead_letter(delivery, dead_letter),
            lambda: end(TaskStatus.DEAD_LETTERED, confirmed=False, postponed=True),
        )
        match confirmation:
            case Confirmation.CONFIRMED:
                await end(TaskStatus.DEAD_LETTERED)
            case Confirmation.LOST:
                await end(TaskStatus.RETRYING, confirmed=False)
            case Confirmation.POSTPONED:
                pass  # it is recorded already
        return confirmation is Confirmation.CONFIRMED

    async def dead_letter_raw(self, received: Received, reason: str) -> bool:
        """Dead-letter a body that is no task, unchanged."""
        queue, delivery = received.queue, received.delivery
        dead_letter = DeadLetterMessage(
            task=None, reason=cut_reason(reason), failed_at=self._clock.now(), original_queue=delivery.queue
        )
        self._metrics.completed(delivery.queue, "", TaskStatus.DEAD_LETTERED)
        confirmation = await self.confirmer.settle(
            queue, delivery, "dead_letter", lambda: queue.dead_letter(delivery, dead_letter)
        )
        confirmed = confirmation is Confirmation.CONFIRMED
        if confirmed and TASK_ID in delivery.attributes:
            await self._log.record(_unread(delivery, dead_letter))
        return confirmed

    async def end(
        self, attempt: Attempt, status: TaskStatus, reason: str, *, response_status: int | None = None
    ) -> bool:
        """Delete the message of a task that must not run (again): expired or canceled."""
        await self._record(attempt, status, error=reason, response_status=response_status)
        return await self._complete(attempt.received)

    async def discard(self, attempt: Attempt) -> bool:
        """Delete a copy that must not run: its task has ended, or a newer copy is on its way."""
        return await self._complete(attempt.received)

    async def defer(self, received: Received, delay: timedelta) -> None:
        """Let a task run later without counting an attempt: it is not due, or its destination not free."""
        assert received.delivery.task is not None, "what is no task is dead-lettered"
        task = revived(received.delivery.task)
        if self._withdrawn(task, received.delivery):
            now = self._clock.now()
            unstarted = Attempt(received=received, task=task, disposition=Disposition.DEFER, number=0, started_at=now)
            await self.end(unstarted, TaskStatus.CANCELED, _PURGED)
        else:
            await self._requeue(received, "defer", Retry(task, delay))

    async def defer_attempt(self, attempt: Attempt, delay: timedelta) -> None:
        """Let a task whose attempt could not begin run later, and remember that it waits again."""
        if self._withdrawn(attempt.task, attempt.delivery):
            await self.end(attempt, TaskStatus.CANCELED, _PURGED)
        elif await self._requeue(attempt.received, "defer", Retry(attempt.task, delay)) is not None:
            await self._record(attempt, TaskStatus.QUEUED)

    async def release(self, received: Received) -> bool:
        """Give a delivery back unprocessed; return false where the lease was lost, which gives it back too."""
        queue, delivery, _ = received
        confirmation = await self.confirmer.settle(queue, delivery, "release", lambda: queue.release(delivery))
        return confirmation is Confirmation.CONFIRMED

    async def release_attempt(self, attempt: Attempt) -> None:
        """Release a delivery whose attempt was stopped on the way, and remember that it waits again."""
        if await self.release(attempt.received):
            await self._record(attempt, TaskStatus.QUEUED)

    async def _complete(self, received: Received) -> bool:
        queue, delivery, _ = received
        confirmation = await self.confirmer.settle(queue, delivery, "complete", lambda: queue.complete(delivery))
        return confirmation is Confirmation.CONFIRMED

    async def _requeue(
        self,
        received: Received,
        settlement: str,
        retry: Retry,
        postponed: Callable[[], Awaitable[None]] | None = None,
    ) -> Requeued | None:
        """Return what the backend did; ``None`` where it confirmed nothing.

        Where a message keeps its body, its followers are hidden as long, in one batch and before it: one that is
        visible while the head is still hidden is SQS's to keep back, which it does and emulators do not.
        """
        queue, traits = received.queue, received.queue.traits
        if traits.rewrites:
            retry = fit_delay(retry, traits.max_delay, self._clock.now())
            return await self._requeue_one(queue, received.delivery, settlement, retry, postponed)
        followers = [self._requeue_one(queue, follower, "defer", retry) for follower in received.followers]
        head = self._requeue_one(queue, received.delivery, settlement, retry, postponed)
        return (await asyncio.gather(*followers, head))[-1]

    async def _requeue_one(
        self,
        queue: Queue,
        delivery: Delivery,
        settlement: str,
        retry: Retry,
        postponed: Callable[[], Awaitable[None]] | None = None,
    ) -> Requeued | None:
        call = partial(queue.retry if settlement == "retry" else queue.defer, delivery, retry.task, retry.delay)
        answers: list[Requeued] = []

        async def requeue() -> None:
            answers.append(await call())

        confirmation = await self.confirmer.settle(queue, delivery, settlement, requeue, postponed)
        return answers[0] if confirmation is Confirmation.CONFIRMED else None

    async def _record(
        self,
        attempt: Attempt,
        status: TaskStatus,
        *,
        result: JsonValue = None,
        error: str | None = None,
        response_status: int | None = None,
        next_at: datetime | None = None,
        confirmed: bool = True,
        postponed: bool = False,
    ) -> None:
        delivery = attempt.delivery
        if status is not TaskStatus.QUEUED and not postponed:  # else it is counted when it is settled
            self._metrics.completed(delivery.queue, attempt.task.type, status)
        if error is not None:
            extra = {**delivery.log_fields, "attempt": attempt.number}
            logger.info("attempt ended %s: %s", status, error, extra=extra)
        await self._log.record(
            AttemptRecord(
                task=attempt.task,
                queue=delivery.queue,
                attempt=attempt.number,
                status=status,
                started_at=attempt.started_at,
                duration=attempt.duration,
                result=result,
                error=error,
                response_status=response_status,
                next_at=next_at,
                confirmed=confirmed,
                postponed=postponed,
                redelivered=delivery.receive_count > 1,
            )
        )


def _unread(delivery: Delivery, dead_letter: DeadLetterMessage) -> AttemptRecord:
    """Return how a task ended whose id is known, but not its body."""
    task = Task(
        id=delivery.task_id,
        type=delivery.attributes.get("Type", "unreadable"),
        queue=delivery.queue,
        created_at=delivery.sent_at or dead_letter.failed_at,
        redrive_count=delivery.generation,
    )
    return AttemptRecord(
        task=task,
        queue=delivery.queue,
        attempt=0,
        status=TaskStatus.DEAD_LETTERED,
        started_at=dead_letter.failed_at,
        duration=timedelta(0),
        error=dead_letter.reason,
    )
