"""What a delivery needs before anything of it runs."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, auto

from mcp_queue.consumer.work import Work
from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.errors import LedgerUnavailableError
from mcp_queue.domain.execution.retry import revived
from mcp_queue.domain.queues import QueueSpec, QueueTraits
from mcp_queue.domain.task import Task
from mcp_queue.ports import Admission, Clock, Execution, ExecutionLog

logger = logging.getLogger(__name__)

#: A delivery that is due within this runs at once; one that is due later is a hop.
DUE_TOLERANCE = timedelta(seconds=1)


class Verdict(Enum):
    """What is to be done with a delivery."""

    RUN = auto()
    BURY = auto()  #: its receives are used up, and the backend does not act on it
    EXPIRE = auto()  #: too late to start
    POSTPONE = auto()  #: not due yet
    DROP = auto()  #: its task has ended, or a newer copy is on its way


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One execution of a task: its number (from 1; 0 where nothing is to run) and its time."""

    work: Work
    task: Task
    verdict: Verdict
    number: int
    started_at: datetime
    duration: timedelta = timedelta(0)


class Admitter:
    """Asks the ledger which deliveries may run, and as which attempt."""

    def __init__(self, *, clock: Clock, log: ExecutionLog, fallback: ExecutionLog) -> None:
        """Ask ``fallback`` while ``log`` does not answer."""
        self._clock = clock
        self._log = log
        self._fallback = fallback

    async def admit(self, works: Sequence[Work]) -> list[Attempt]:
        """Return the attempts of parseable deliveries, in order; those to be run are marked in one update."""
        now = self._clock.now()
        attempts = [_attempt(work, task, now) for work in works if (task := work.delivery.task) is not None]
        to_run = [attempt for attempt in attempts if attempt.verdict is Verdict.RUN]
        answers = iter(await self._start(to_run) if to_run else ())
        return [
            _answered(attempt, next(answers)) if attempt.verdict is Verdict.RUN else attempt for attempt in attempts
        ]

    async def _start(self, attempts: Sequence[Attempt]) -> Sequence[Admission]:
        executions = [
            Execution(
                task=attempt.task,
                attempt=attempt.number,
                counts_itself=attempt.work.lane.queue.traits.rewrites,
                started_at=attempt.started_at,
            )
            for attempt in attempts
        ]
        try:
            return await self._log.start(executions)
        except LedgerUnavailableError:
            logger.warning("the ledger does not answer: %d tasks start unchecked", len(executions))
            return await self._fallback.start(executions)


def verdict_on(delivery: Delivery, task: Task, spec: QueueSpec, traits: QueueTraits, now: datetime) -> Verdict:
    """Decide from what the message itself says."""
    if delivery.receive_count > spec.max_receive_count and not traits.backend_redrives:
        return Verdict.BURY
    if task.expired(now):
        return Verdict.EXPIRE
    if task.scheduled_for is not None and task.scheduled_for - now > DUE_TOLERANCE:
        return Verdict.POSTPONE
    return Verdict.RUN


def _attempt(work: Work, task: Task, now: datetime) -> Attempt:
    task, queue = revived(task), work.lane.queue
    verdict = verdict_on(work.delivery, task, queue.spec, queue.traits, now)
    number = task.retry_count + 1 if verdict is Verdict.RUN else 0
    return Attempt(work=work, task=task, verdict=verdict, number=number, started_at=now)


def _answered(attempt: Attempt, admission: Admission) -> Attempt:
    verdict = Verdict.DROP if admission.stale or admission.refused is not None else Verdict.RUN
    return replace(attempt, verdict=verdict, number=admission.attempt)
