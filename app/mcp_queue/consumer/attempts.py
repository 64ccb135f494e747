"""Runs one attempt within its limits, and has its outcome settled."""

import asyncio
import logging
from dataclasses import replace
from datetime import timedelta
from typing import Protocol, assert_never

from mcp_queue.consumer.admission import Attempt, Verdict
from mcp_queue.consumer.settlement import Settlement
from mcp_queue.consumer.work import Stop, Work
from mcp_queue.domain.callbacks.destinations import Target, call_failed
from mcp_queue.domain.errors import AttemptTimeoutError, RetryableError, TaskFailedError
from mcp_queue.domain.task import JsonValue, Task, TaskStatus
from mcp_queue.ports import Clock, Metrics, Span, Tracer
from mcp_queue.services.tracing import NO_TRACER

logger = logging.getLogger(__name__)


class Dispatcher(Protocol):
    """Runs a task's handler, or calls its callback URL."""

    async def run(self, task: Task, queue: str, attempt: int) -> JsonValue:
        """Return the task's result, or raise what the attempt failed with."""
        ...

    def in_thread(self, task: Task) -> bool:
        """Whether ``run`` cannot be cancelled, since its handler runs in a thread."""
        ...

    def target(self, task: Task) -> Target | None:
        """Whom ``run`` calls; ``None`` is nobody."""
        ...


class AttemptRunner:
    """Carries an attempt to its settlement; every way out of it settles the delivery, or leaves a lost lease alone."""

    def __init__(
        self,
        *,
        clock: Clock,
        metrics: Metrics,
        dispatcher: Dispatcher,
        settlement: Settlement,
        processing_timeout: timedelta,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        """Cap an attempt whose task names no ``visibility_timeout`` of its own at ``processing_timeout``."""
        self._clock = clock
        self._metrics = metrics
        self._dispatcher = dispatcher
        self._settlement = settlement
        self._processing_timeout = processing_timeout
        self._tracer = tracer

    async def settle(self, attempt: Attempt) -> bool:
        """Do what the verdict says; return whether the message is known to be gone."""
        work, task = attempt.work, attempt.task
        match attempt.verdict:
            case Verdict.RUN:
                with self._tracer.process(work.lane.queue.spec, work.delivery, task, attempt.number) as span:
                    return await self._run(attempt, span)
            case Verdict.BURY:
                times = work.delivery.receive_count
                return await self._settlement.bury(
                    attempt, f"received {times} times without being settled: its worker crashed or lost its lease"
                )
            case Verdict.EXPIRE:
                return await self._settlement.end(attempt, TaskStatus.EXPIRED, "its expires_at had passed")
            case Verdict.POSTPONE:
                await self._settlement.postpone(
                    work, task, (task.scheduled_for or attempt.started_at) - self._clock.now()
                )
                return False
            case Verdict.DROP:
                return await self._settlement.drop(work)
            case _:
                assert_never(attempt.verdict)

    async def settle_poison(self, work: Work) -> bool:
        """Dead-letter a body that is no task; return whether the message is known to be gone."""
        return await self._settlement.bury_raw(work, work.delivery.poison or "the body is no task")

    async def _run(self, attempt: Attempt, span: Span) -> bool:
        work, started = attempt.work, self._clock.monotonic()
        outcome = await self._outcome(attempt)
        work.end_call(failed=call_failed(outcome if isinstance(outcome, BaseException) else None))
        attempt = replace(attempt, duration=self._since(started))
        self._metrics.processed(work.lane.name, attempt.task.type, attempt.duration)
        if isinstance(outcome, BaseException):
            span.failed(outcome)
        if isinstance(outcome, asyncio.CancelledError):
            return await self._stopped(attempt)
        if isinstance(outcome, BaseException):
            return await self._settlement.fail(attempt, outcome)
        return await self._settlement.succeed(attempt, outcome)

    async def _outcome(self, attempt: Attempt) -> JsonValue | BaseException:
        work = attempt.work
        if work.stopped:
            return asyncio.CancelledError()
        try:
            work.interruptible = True
            return await self._execute(attempt)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or (work.stop is None and task.cancelling()):
                raise  # not ours: the process is being torn down
            if work.stop is None:
                return RetryableError("the handler was cancelled by something that it awaited")
            task.uncancel()
            return error
        except (Exception, SystemExit) as error:  # a handler may raise anything; none of it may stop the loop
            if not isinstance(error, TaskFailedError):
                logger.warning("handler raised", exc_info=error, extra={**work.log_fields, "attempt": attempt.number})
            return error
        finally:
            work.interruptible = False

    async def _execute(self, attempt: Attempt) -> JsonValue:
        work, task = attempt.work, attempt.task
        limit = self._limit(work, task)
        call = self._dispatcher.run(task, work.lane.name, attempt.number)
        if self._dispatcher.in_thread(task):
            started = self._clock.monotonic()
            result = await _uninterrupted(work, asyncio.ensure_future(call))
            if self._since(started) > limit:
                raise AttemptTimeoutError(_too_long(limit))
            return result
        try:
            async with asyncio.timeout(limit.total_seconds()) as timer:
                return await call
        except TimeoutError as error:
            if not timer.expired():
                raise  # the handler's own
            raise AttemptTimeoutError(_too_long(limit)) from error

    async def _stopped(self, attempt: Attempt) -> bool:
        if attempt.work.stop is Stop.DRAIN:
            await self._settlement.give_back(attempt)
        elif attempt.work.stop is Stop.CANCELED:
            return await self._settlement.end(attempt, TaskStatus.CANCELED, "canceled while it ran")
        return False

    def _limit(self, work: Work, task: Task) -> timedelta:
        return task.visibility_timeout or min(work.lane.queue.spec.visibility_timeout, self._processing_timeout)

    def _since(self, started: float) -> timedelta:
        return timedelta(seconds=self._clock.monotonic() - started)


async def _uninterrupted(work: Work, running: "asyncio.Future[JsonValue]") -> JsonValue:
    """Wait for a handler in a thread, which nothing can stop: it keeps its slot and lease until it returns.

    Only the end of the process leaves it behind.
    """
    while True:
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if work.stop in {None, Stop.DRAIN} or running.cancelled() or task is None:
                raise
            task.uncancel()


def _too_long(limit: timedelta) -> str:
    return f"took longer than its limit of {limit.total_seconds():g} s"
