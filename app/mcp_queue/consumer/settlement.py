"""Ends deliveries: the one place where the consumer gives a message back to its queue."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from mcp_queue.consumer.admission import Attempt, Verdict
from mcp_queue.consumer.visibility import VisibilityExtender
from mcp_queue.consumer.work import Stop, Work
from mcp_queue.domain.delivery import DeadLetterMessage, Delivery
from mcp_queue.domain.errors import TaskFailedError, TryLaterError, VisibilityTimeoutError
from mcp_queue.domain.execution.retry import (
    ExponentialBackoff,
    Retry,
    RetryPolicy,
    dead_letter_message,
    describe,
    fit_delay,
)
from mcp_queue.domain.queues import FailurePolicy
from mcp_queue.domain.task import JsonValue, Task, TaskStatus, cut_reason
from mcp_queue.ports import AttemptRecord, Clock, ExecutionLog, Metrics

logger = logging.getLogger(__name__)

#: Between two tries of a settling call that the backend did not answer.
SETTLE_BACKOFF = ExponentialBackoff(timedelta(seconds=0.2), timedelta(seconds=5))

_PURGED = "its queue was purged"


class Settlement:
    """Completes, retries, releases and dead-letters, each until the backend has confirmed it or the lease is lost.

    A success is recorded before the message is deleted, so that a delivery after a crash in between is recognised; a
    retry and a dead letter are recorded after the backend confirmed them, since what follows from the record (older
    copies are stale) must be true.

    What was ``withdrawn`` with its queue is not sent again: it ends canceled.

    Methods that return a bool say whether the message is known to be gone, so that the next of its FIFO group may run.
    """

    def __init__(  # noqa: D107  # the class docstring says it all
        self,
        *,
        clock: Clock,
        random: Callable[[], float],
        metrics: Metrics,
        log: ExecutionLog,
        policy: RetryPolicy,
        extender: VisibilityExtender,
        withdrawn: Callable[[Task, Delivery], bool] = lambda *_: False,
    ) -> None:
        self._clock = clock
        self._random = random
        self._metrics = metrics
        self._log = log
        self._policy = policy
        self._extender = extender
        self._withdrawn = withdrawn

    async def succeed(self, attempt: Attempt, result: JsonValue) -> bool:
        """Record the result, then delete the message."""
        work = attempt.work
        await self._record(attempt, TaskStatus.COMPLETED, result=result, confirmed=not work.lost)
        return await self._complete(work)

    async def fail(self, attempt: Attempt, error: BaseException) -> bool:
        """Retry by the policy, or dead-letter what cannot succeed."""
        work, queue = attempt.work, attempt.work.lane.queue
        status = error.response_status if isinstance(error, TaskFailedError) else None
        decision = self._policy.after_failure(attempt.task, error, self._random(), attempt=attempt.number)
        if isinstance(decision, str) or (queue.spec.fifo and queue.spec.failure_policy is FailurePolicy.SKIP):
            reason = decision if isinstance(decision, str) else describe(error)
            return await self.bury(attempt, reason, response_status=status)
        if self._withdrawn(attempt.task, work.delivery):
            reason = f"{_PURGED}; the attempt failed: {describe(error)}"
            return await self.end(attempt, TaskStatus.CANCELED, reason, response_status=status)
        now = self._clock.now()
        confirmed = await self._reschedule(work, decision)
        await self._record(
            attempt,
            TaskStatus.RETRYING,
            error=describe(error),
            response_status=status,
            next_at=now + decision.delay,
            confirmed=confirmed,
        )
        return False

    async def bury(self, attempt: Attempt, reason: str, *, response_status: int | None = None) -> bool:
        """Dead-letter a task with ``reason``."""
        work = attempt.work
        dead_letter = dead_letter_message(attempt.task, reason, self._clock.now(), work.lane.name)
        confirmed = await self._confirm(work, lambda: work.lane.queue.dead_letter(work.delivery, dead_letter))
        await self._record(
            attempt,
            TaskStatus.DEAD_LETTERED if confirmed else TaskStatus.RETRYING,
            error=dead_letter.reason,
            response_status=response_status,
            confirmed=confirmed,
        )
        return confirmed

    async def bury_raw(self, work: Work, reason: str) -> bool:
        """Dead-letter a body that is no task, unchanged."""
        dead_letter = DeadLetterMessage(
            task=None, reason=cut_reason(reason), failed_at=self._clock.now(), original_queue=work.lane.name
        )
        self._metrics.completed(work.lane.name, "", TaskStatus.DEAD_LETTERED)
        return await self._confirm(work, lambda: work.lane.queue.dead_letter(work.delivery, dead_letter))

    async def end(
        self, attempt: Attempt, status: TaskStatus, reason: str, *, response_status: int | None = None
    ) -> bool:
        """Delete the message of a task that must not run (again): expired or canceled."""
        await self._record(attempt, status, error=reason, response_status=response_status)
        return await self._complete(attempt.work)

    async def drop(self, work: Work) -> bool:
        """Delete a copy that says nothing new: its task has ended, or a newer copy is on its way."""
        return await self._complete(work)

    async def postpone(self, work: Work, task: Task, delay: timedelta) -> None:
        """Give a task back to run later without burning an attempt: it is not due, or its destination not free."""
        if self._withdrawn(task, work.delivery):
            unstarted = Attempt(work=work, task=task, verdict=Verdict.POSTPONE, number=0, started_at=self._clock.now())
            await self.end(unstarted, TaskStatus.CANCELED, _PURGED)
        else:
            await self._reschedule(work, Retry(task, delay))

    async def release(self, work: Work) -> bool:
        """Give a delivery back unprocessed; a lease that is lost meanwhile (false) comes to the same."""
        return await self._confirm(work, lambda: work.lane.queue.release(work.delivery))

    async def give_back(self, attempt: Attempt) -> None:
        """Release a delivery whose attempt was stopped on the way, and remember that it waits again."""
        if await self.release(attempt.work):
            await self._log.record(self._outcome(attempt, TaskStatus.QUEUED))

    async def _reschedule(self, work: Work, retry: Retry) -> bool:
        queue = work.lane.queue
        if queue.traits.rewrites:
            retry = fit_delay(retry, queue.traits.max_delay, self._clock.now())
            return await self._confirm(work, lambda: queue.reschedule(work.delivery, retry.task, retry.delay))
        return await self._hide(work, retry)

    async def _hide(self, head: Work, retry: Retry) -> bool:
        """Let a message that keeps its body wait hidden, and its followers as long, in one batch.

        They go first: one that is visible while the head is still hidden is SQS's to keep back, which it does and
        emulators do not.
        """
        queue = head.lane.queue
        followers, head.followers = head.followers, deque()
        hidden = await asyncio.gather(
            *(
                self._confirm(work, partial(queue.reschedule, work.delivery, retry.task, retry.delay))
                for work in (*followers, head)
            )
        )
        return hidden[-1]

    async def _complete(self, work: Work) -> bool:
        return await self._confirm(work, lambda: work.lane.queue.complete(work.delivery))

    async def _confirm(self, work: Work, call: Callable[[], Awaitable[None]]) -> bool:
        tries = 0
        while not work.lost:
            work.settling = True
            try:
                await call()
            except VisibilityTimeoutError as error:
                logger.warning("lease lost before settling: %s", error, extra=work.log_fields)
                self._metrics.lease_lost(work.lane.name)
                work.stop = Stop.LEASE_LOST
            except TryLaterError as error:
                logger.warning("settling failed, trying again: %s", error, extra=work.log_fields)
                work.settling = False
                await self._clock.sleep(SETTLE_BACKOFF.delay(tries, self._random()).total_seconds())
                tries += 1
                continue
            self._extender.forget(work)
            break
        return not work.lost

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
        task, queue = attempt.task, attempt.work.lane.name
        self._metrics.completed(queue, task.type, status)
        if error is not None:
            extra = {**attempt.work.log_fields, "attempt": attempt.number}
            logger.info("attempt ended %s: %s", status, error, extra=extra)
        await self._log.record(
            replace(
                self._outcome(attempt, status),
                result=result,
                error=error,
                response_status=response_status,
                next_at=next_at,
                confirmed=confirmed,
            )
        )

    def _outcome(self, attempt: Attempt, status: TaskStatus) -> AttemptRecord:
        return AttemptRecord(
            task=attempt.task,
            queue=attempt.work.lane.name,
            attempt=attempt.number,
            status=status,
            started_at=attempt.started_at,
            duration=attempt.duration,
        )
