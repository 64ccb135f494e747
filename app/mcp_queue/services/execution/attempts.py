"""Runs one attempt within its limits, and has its outcome settled."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from enum import Enum, auto
from typing import Protocol, assert_never

from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.errors import (
    AttemptTimeoutError,
    LedgerUnavailableError,
    ResourcesExhaustedError,
    RetryableError,
    TaskFailedError,
)
from mcp_queue.domain.task import JsonValue, Task, TaskStatus
from mcp_queue.ports import Clock, ExecutionLog, Metrics, Tracer
from mcp_queue.services.execution.admission import Attempt, Disposition, Received, start_of
from mcp_queue.services.execution.settlement import Settlement
from mcp_queue.services.tracing import NO_TRACER

logger = logging.getLogger(__name__)


class Stop(Enum):
    """Why an attempt is stopped although its lease holds."""

    DRAIN = auto()  #: the process ends: release the delivery
    CANCELED = auto()  #: its task was canceled while it ran


class Interruptible(Protocol):
    """What the holder of a delivery and its attempt tell each other.

    The holder sets ``stop``, or notes that the lease was lost, and cancels the attempt if it is ``interruptible``: only
    while the handler or callback runs. An outcome that is reached is always settled.
    """

    stop: Stop | None
    interruptible: bool


class Dispatcher(Protocol):
    """Runs a task's handler, or calls its callback URL."""

    async def run(self, task: Task, queue: str, attempt: int) -> JsonValue:
        """Return the task's result, or raise what the attempt failed with."""
        ...

    def in_process(self, task: Task) -> bool:
        """Whether ``run`` runs a handler in this process, which it may end."""
        ...

    def in_thread(self, task: Task) -> bool:
        """Whether ``run`` cannot be cancelled, since its handler runs in a thread."""
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
        log: ExecutionLog,
        processing_timeout: timedelta,
        executed: Callable[[Attempt, BaseException | None], None] = lambda *_: None,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        """Cap an attempt whose task names no ``visibility_timeout`` of its own at ``processing_timeout``.

        ``executed`` is told when a handler or callback has ended, and with which error, before that is settled.
        """
        self._clock = clock
        self._metrics = metrics
        self._dispatcher = dispatcher
        self._settlement = settlement
        self._log = log
        self._suspects = asyncio.Lock()
        self._on_suspect: Callable[[Delivery], None] = _ignore
        self._processing_timeout = processing_timeout
        self._executed = executed
        self._tracer = tracer

    async def run(self, attempt: Attempt, holder: Interruptible) -> bool:
        """Do what the disposition says; return whether the message is known to be gone."""
        settlement, delivery = self._settlement, attempt.delivery
        match attempt.disposition:
            case Disposition.RUN:
                suspect = attempt.suspect and self._dispatcher.in_process(attempt.task)
                return await (self._run_suspect if suspect else self._run)(attempt, holder)
            case Disposition.DEAD_LETTER:
                reason = "without being settled: its worker crashed or lost its lease"
                return await settlement.dead_letter(attempt, f"received {delivery.receive_count} times {reason}")
            case Disposition.EXPIRE:
                return await settlement.end(attempt, TaskStatus.EXPIRED, "its expires_at had passed")
            case Disposition.DEFER:
                due = attempt.task.scheduled_for or attempt.started_at
                await settlement.defer(attempt.received, due - self._clock.now())
                return False
            case Disposition.SETTLE:
                assert attempt.decided is not None, "that is what the disposition means"
                return await settlement.settle_decided(attempt, attempt.decided)
            case Disposition.DISCARD:
                return await settlement.discard(attempt)
            case _:
                assert_never(attempt.disposition)

    def on_suspect(self, listener: Callable[[Delivery], None]) -> None:
        """Call ``listener`` when a delivery is a suspect, so that it keeps no slot."""
        self._on_suspect = listener

    async def dead_letter_raw(self, received: Received) -> bool:
        """Dead-letter a body that is no task; return whether the message is known to be gone."""
        return await self._settlement.dead_letter_raw(received, received.delivery.poison or "the body is no task")

    async def _run_suspect(self, attempt: Attempt, holder: Interruptible) -> bool:
        """Run what may have ended its process: one such at a time, beside everything else.

        What ends the process again was marked before, and nothing else is blamed.
        """
        self._on_suspect(attempt.delivery)
        async with self._suspects:
            crashes = 0 if _must_stop(attempt, holder) else await self._marked(attempt)
            if crashes >= attempt.queue.spec.max_crashes:
                reason = f"ended its process, or lost its lease, {crashes} times while it ran"
                return await self._settlement.dead_letter(attempt, reason)
            return await self._run(attempt, holder)

    async def _marked(self, attempt: Attempt) -> int:
        try:
            return await self._log.mark_suspect(start_of(attempt))
        except LedgerUnavailableError:
            logger.warning("the ledger does not answer: a suspect runs unmarked", extra=attempt.delivery.log_fields)
            return 0

    async def _run(self, attempt: Attempt, holder: Interruptible) -> bool:
        started = self._clock.monotonic()
        with self._tracer.process(attempt.queue.spec, attempt.delivery, attempt.task, attempt.number) as span:
            outcome = await self._outcome(attempt, holder)
            self._executed(attempt, outcome if isinstance(outcome, BaseException) else None)
            attempt = replace(attempt, duration=self._since(started))
            self._metrics.processed(attempt.delivery.queue, attempt.task.type, attempt.duration)
            if not isinstance(outcome, BaseException):
                return await self._settlement.succeed(attempt, outcome)
            span.failed(outcome)
            return await self._settle_error(attempt, holder, outcome)

    async def _settle_error(self, attempt: Attempt, holder: Interruptible, error: BaseException) -> bool:
        if isinstance(error, asyncio.CancelledError):
            return await self._stopped(attempt, holder)
        if isinstance(error, ResourcesExhaustedError):
            logger.warning("attempt deferred: %s", error, extra=attempt.delivery.log_fields)
            await self._settlement.defer_attempt(attempt, error.retry_after)
            return False
        return await self._settlement.fail(attempt, error)

    async def _outcome(self, attempt: Attempt, holder: Interruptible) -> JsonValue | BaseException:
        if _must_stop(attempt, holder):
            return asyncio.CancelledError()
        try:
            holder.interruptible = True
            return await self._execute(attempt, holder)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or (not _must_stop(attempt, holder) and task.cancelling()):
                raise  # not ours: the process is being torn down
            if not _must_stop(attempt, holder):
                return RetryableError("the handler was cancelled by something that it awaited")
            task.uncancel()
            return error
        except (Exception, SystemExit) as error:  # a handler may raise anything; none of it may stop the loop
            if not isinstance(error, TaskFailedError | ResourcesExhaustedError):
                extra = {**attempt.delivery.log_fields, "attempt": attempt.number}
                logger.warning("handler raised", exc_info=error, extra=extra)
            return error
        finally:
            holder.interruptible = False

    async def _execute(self, attempt: Attempt, holder: Interruptible) -> JsonValue:
        task, limit = attempt.task, self._limit(attempt)
        call = self._dispatcher.run(task, attempt.delivery.queue, attempt.number)
        if self._dispatcher.in_thread(task):
            started = self._clock.monotonic()
            result = await _uninterrupted(attempt, holder, asyncio.ensure_future(call))
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

    async def _stopped(self, attempt: Attempt, holder: Interruptible) -> bool:
        if attempt.delivery.lost:
            return False
        if holder.stop is Stop.CANCELED:
            return await self._settlement.end(attempt, TaskStatus.CANCELED, "canceled while it ran")
        await self._settlement.release_attempt(attempt)
        return False

    def _limit(self, attempt: Attempt) -> timedelta:
        longest = min(attempt.queue.spec.visibility_timeout, self._processing_timeout)
        return attempt.task.visibility_timeout or longest

    def _since(self, started: float) -> timedelta:
        return timedelta(seconds=self._clock.monotonic() - started)


async def _uninterrupted(attempt: Attempt, holder: Interruptible, running: "asyncio.Future[JsonValue]") -> JsonValue:
    """Wait for a handler in a thread, which nothing can stop: it keeps its slot and lease until it returns.

    Only the end of the process leaves it behind.
    """
    while True:
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            must_end = not attempt.delivery.lost and holder.stop is not Stop.CANCELED
            if must_end or running.cancelled() or task is None:
                raise
            task.uncancel()


def _ignore(_delivery: Delivery) -> None:
    """Nobody keeps a slot before the pool runs."""


def _must_stop(attempt: Attempt, holder: Interruptible) -> bool:
    return holder.stop is not None or attempt.delivery.lost


def _too_long(limit: timedelta) -> str:
    return f"took longer than its limit of {limit.total_seconds():g} s"
