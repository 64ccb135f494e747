"""Decides which deliveries may run, and as which attempt."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import NamedTuple

from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.errors import LedgerUnavailableError
from mcp_queue.domain.execution.retry import revived
from mcp_queue.domain.queues import QueueSpec, QueueTraits
from mcp_queue.domain.task import Task
from mcp_queue.ports import Admission, AttemptStart, Clock, ExecutionLog, Queue

logger = logging.getLogger(__name__)

#: A delivery that is due within this runs at once; one that is due later is a hop.
DUE_TOLERANCE = timedelta(seconds=1)


class Disposition(Enum):
    """What is to be done with a delivery."""

    RUN = auto()
    DEAD_LETTER = auto()  #: it was received too often, and the backend does not act on that
    EXPIRE = auto()  #: too late to start
    DEFER = auto()  #: not due yet
    DISCARD = auto()  #: its task has ended, or a newer copy is on its way


class Received(NamedTuple):
    """A delivery with the queue to settle it at.

    ``followers`` came in the same receive and stand behind it in its FIFO group.
    """

    queue: Queue
    delivery: Delivery
    followers: Sequence[Delivery] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One execution of a task: its number (from 1; 0 where nothing is to run) and its time."""

    received: Received
    task: Task
    disposition: Disposition
    number: int
    started_at: datetime
    duration: timedelta = timedelta(0)

    @property
    def queue(self) -> Queue:
        """The queue that the delivery came from."""
        return self.received.queue

    @property
    def delivery(self) -> Delivery:
        """The delivery that is settled when the attempt has ended."""
        return self.received.delivery

    @property
    def counts_itself(self) -> bool:
        """Whether the message of the next attempt says which one it is; otherwise the ledger counts."""
        return self.queue.traits.rewrites and self.delivery.rewritable


class Admitter:
    """Asks ``log`` which deliveries may run, and as which attempt; while it does not answer, ``fallback``."""

    def __init__(self, *, clock: Clock, log: ExecutionLog, fallback: ExecutionLog) -> None:
        self._clock = clock
        self._log = log
        self._fallback = fallback

    async def admit(self, received: Sequence[Received]) -> list[Attempt]:
        """Return the attempts of parseable deliveries, in order; those to be run are marked in one update."""
        now = self._clock.now()
        attempts = [_attempt(each, task, now) for each in received if (task := each.delivery.task) is not None]
        to_run = [attempt for attempt in attempts if attempt.disposition is Disposition.RUN]
        answers = iter(await self._start(to_run) if to_run else ())
        return [
            _answered(attempt, next(answers)) if attempt.disposition is Disposition.RUN else attempt
            for attempt in attempts
        ]

    async def _start(self, attempts: Sequence[Attempt]) -> Sequence[Admission]:
        starts = [
            AttemptStart(
                task=attempt.task,
                attempt=attempt.number,
                counts_itself=attempt.counts_itself,
                started_at=attempt.started_at,
                may_be_stale=attempt.queue.traits.leaves_stale_copies,
            )
            for attempt in attempts
        ]
        try:
            return await self._log.start(starts)
        except LedgerUnavailableError:
            logger.warning("the ledger does not answer: %d tasks start unchecked", len(starts))
            return await self._fallback.start(starts)


def disposition_of(delivery: Delivery, task: Task, spec: QueueSpec, traits: QueueTraits, now: datetime) -> Disposition:
    """Decide from what the message itself says."""
    if delivery.receive_count > spec.max_receive_count and not traits.backend_redrives:
        return Disposition.DEAD_LETTER
    if task.expired(now):
        return Disposition.EXPIRE
    if task.scheduled_for is not None and task.scheduled_for - now > DUE_TOLERANCE:
        return Disposition.DEFER
    return Disposition.RUN


def _attempt(received: Received, task: Task, now: datetime) -> Attempt:
    task, queue = revived(task), received.queue
    disposition = disposition_of(received.delivery, task, queue.spec, queue.traits, now)
    number = task.retry_count + 1 if disposition is Disposition.RUN else 0
    return Attempt(received=received, task=task, disposition=disposition, number=number, started_at=now)


def _answered(attempt: Attempt, admission: Admission) -> Attempt:
    if admission.stale or admission.refused is not None:
        return replace(attempt, disposition=Disposition.DISCARD, number=admission.attempt)
    return attempt if admission.attempt == attempt.number else replace(attempt, number=admission.attempt)
