"""Ends deliveries: completes, retries, defers, releases or dead-letters each, exactly once."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial

from mcp_queue.domain.delivery import TASK_ID, DeadLetterMessage, Delivery, DeliveryState, Requeued
from mcp_queue.domain.errors import DeliverySettledError, TaskFailedError, TryLaterError, VisibilityTimeoutError
from mcp_queue.domain.execution.retry import (
    ExponentialBackoff,
    Retry,
    RetryPolicy,
    dead_letter_message,
    describe,
    fit_delay,
    revived,
)
from mcp_queue.domain.queues import FailurePolicy
from mcp_queue.domain.task import JsonValue, Task, TaskStatus, cut_reason
from mcp_queue.ports import AttemptRecord, Clock, ExecutionLog, Metrics
from mcp_queue.services.execution.admission import Attempt, Disposition, Received

logger = logging.getLogger(__name__)

#: Between two tries of a settling call that the backend did not answer.
SETTLE_BACKOFF = ExponentialBackoff(timedelta(seconds=0.2), timedelta(seconds=5))

_PURGED = "its queue was purged"


class Settlement:
    """Settles each delivery until the backend has confirmed it or the lease is lost.

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
        now = self._clock.now()
        requeued = await self._requeue(attempt.received, "retry", decision)
        await self._record(
            attempt,
            TaskStatus.RETRYING,
            error=describe(error),
            response_status=status,
            next_at=now + decision.delay,
            # A message that carries the count and was only hidden comes back as the same attempt.
            confirmed=requeued is Requeued.REWRITTEN or (requeued is Requeued.HIDDEN and not attempt.counts_itself),
        )
        return False

    async def dead_letter(self, attempt: Attempt, reason: str, *, response_status: int | None = None) -> bool:
        """Dead-letter a task with ``reason``."""
        queue, delivery = attempt.queue, attempt.delivery
        dead_letter = dead_letter_message(attempt.task, reason, self._clock.now(), delivery.queue)
        confirmed = await self._settle(delivery, "dead_letter", lambda: queue.dead_letter(delivery, dead_letter))
        await self._record(
            attempt,
            TaskStatus.DEAD_LETTERED if confirmed else TaskStatus.RETRYING,
            error=dead_letter.reason,
            response_status=response_status,
            confirmed=confirmed,
        )
        return confirmed

    async def dead_letter_raw(self, received: Received, reason: str) -> bool:
        """Dead-letter a body that is no task, unchanged."""
        queue, delivery = received.queue, received.delivery
        dead_letter = DeadLetterMessage(
            task=None, reason=cut_reason(reason), failed_at=self._clock.now(), original_queue=delivery.queue
        )
        self._metrics.completed(delivery.queue, "", TaskStatus.DEAD_LETTERED)
        confirmed = await self._settle(delivery, "dead_letter", lambda: queue.dead_letter(delivery, dead_letter))
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
        return await self._settle(received.delivery, "release", lambda: received.queue.release(received.delivery))

    async def release_attempt(self, attempt: Attempt) -> None:
        """Release a delivery whose attempt was stopped on the way, and remember that it waits again."""
        if await self.release(attempt.received):
            await self._record(attempt, TaskStatus.QUEUED)

    async def _complete(self, received: Received) -> bool:
        return await self._settle(received.delivery, "complete", lambda: received.queue.complete(received.delivery))

    async def _requeue(self, received: Received, settlement: str, retry: Retry) -> Requeued | None:
        """Return what the backend did; ``None`` where the lease was lost.

        Where a message keeps its body, its followers are hidden as long, in one batch and before it: one that is
        visible while the head is still hidden is SQS's to keep back, which it does and emulators do not.
        """
        traits = received.queue.traits
        if traits.rewrites:
            retry = fit_delay(retry, traits.max_delay, self._clock.now())
            return await self._requeue_one(received, received.delivery, settlement, retry)
        followers = [self._requeue_one(received, follower, "defer", retry) for follower in received.followers]
        requeued = await asyncio.gather(*followers, self._requeue_one(received, received.delivery, settlement, retry))
        return requeued[-1]

    async def _requeue_one(
        self, received: Received, delivery: Delivery, settlement: str, retry: Retry
    ) -> Requeued | None:
        queue = received.queue
        call = partial(queue.retry if settlement == "retry" else queue.defer, delivery, retry.task, retry.delay)
        answers: list[Requeued] = []

        async def requeue() -> None:
            answers.append(await call())

        return answers[0] if await self._settle(delivery, settlement, requeue) else None

    async def _settle(self, delivery: Delivery, settlement: str, call: Callable[[], Awaitable[None]]) -> bool:
        """Repeat ``call`` until the backend answers; return whether it confirmed the settlement."""
        if not self._claimed(delivery, settlement):
            return False
        tries = 0
        while not delivery.lost:
            delivery.state = DeliveryState.SETTLING
            try:
                await call()
            except VisibilityTimeoutError as error:
                logger.warning("lease lost before settling: %s", error, extra=delivery.log_fields)
                self._metrics.lease_lost(delivery.queue)
                delivery.state = DeliveryState.LOST
            except TryLaterError as error:
                logger.warning("settling failed, trying again: %s", error, extra=delivery.log_fields)
                delivery.state = DeliveryState.HELD
                await self._clock.sleep(SETTLE_BACKOFF.delay(tries, self._random()).total_seconds())
                tries += 1
            else:
                delivery.state = DeliveryState.SETTLED
                break
        return not delivery.lost

    def _claimed(self, delivery: Delivery, settlement: str) -> bool:
        """Return whether ``settlement`` is the one that ends the delivery, whose lease is not lost."""
        if delivery.lost:
            return False
        try:
            delivery.settle_as(settlement)
        except DeliverySettledError as error:
            logger.error("a delivery was settled twice: %s", error, extra=delivery.log_fields)  # noqa: TRY400  # the trace says no more
            self._metrics.settled_twice(delivery.queue)
            return False
        return True

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
    ) -> None:
        delivery = attempt.delivery
        if status is not TaskStatus.QUEUED:  # that attempt did not end
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
