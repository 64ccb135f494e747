"""Decides which deliveries may run, and as which attempt."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import NamedTuple

from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.execution.retry import revived
from mcp_queue.domain.queues import QueueSpec
from mcp_queue.domain.task import Task
from mcp_queue.ports import Admission, AttemptStart, Clock, DecidedEnd, ExecutionLog, Queue

#: A delivery that is due within this runs at once; one that is due later is a hop.
DUE_TOLERANCE = timedelta(seconds=1)


class Disposition(Enum):
    """What is to be done with a delivery."""

    RUN = auto()
    DEAD_LETTER = auto()  #: it was received too often, and the backend does not act on that
    EXPIRE = auto()  #: too late to start
    DEFER = auto()  #: not due yet
    SETTLE = auto()  #: its end was decided before, and its queue could not take that
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
    """One execution of a task: its number (from 1; 0 where nothing is to run) and its time.

    ``decided`` is how one ended that is only to be settled. A ``suspect`` came back from a run that nobody settled.
    """

    received: Received
    task: Task
    disposition: Disposition
    number: int
    started_at: datetime
    duration: timedelta = timedelta(0)
    decided: DecidedEnd | None = None
    suspect: bool = False

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
    """Asks ``log`` which deliveries may run, and as which attempt.

    Where it does not count crashes, receives bound how often a message may come back without having been settled.
    """

    def __init__(self, *, clock: Clock, log: ExecutionLog) -> None:
        self._clock = clock
        self._log = log

    async def admit(self, received: Sequence[Received]) -> list[Attempt]:
        """Return the attempts of parseable deliveries, in order; those to be run are marked in one update."""
        now = self._clock.now()
        attempts = [self._attempt(each, task, now) for each in received if (task := each.delivery.task) is not None]
        to_run = [attempt for attempt in attempts if attempt.disposition is Disposition.RUN]
        answers = iter(await self._start(to_run) if to_run else ())
        return [
            _answered(attempt, next(answers)) if attempt.disposition is Disposition.RUN else attempt
            for attempt in attempts
        ]

    def _attempt(self, received: Received, task: Task, now: datetime) -> Attempt:
        task, spec = revived(task), received.queue.spec
        counts_crashes = self._log.counts_crashes
        disposition = disposition_of(received.delivery, task, spec, now, counts_crashes=counts_crashes)
        number = task.retry_count + 1 if disposition is Disposition.RUN else 0
        return Attempt(received=received, task=task, disposition=disposition, number=number, started_at=now)

    async def _start(self, attempts: Sequence[Attempt]) -> Sequence[Admission]:
        return await self._log.start([start_of(attempt) for attempt in attempts])


def disposition_of(
    delivery: Delivery, task: Task, spec: QueueSpec, now: datetime, *, counts_crashes: bool
) -> Disposition:
    """Decide from what the message itself says; ``counts_crashes``: somebody counts them better than receives do."""
    if delivery.receive_count > (spec.backend_receives if counts_crashes else spec.max_receive_count):
        return Disposition.DEAD_LETTER
    if task.expired(now):
        return Disposition.EXPIRE
    if task.scheduled_for is not None and task.scheduled_for - now > DUE_TOLERANCE:
        return Disposition.DEFER
    return Disposition.RUN


def start_of(attempt: Attempt) -> AttemptStart:
    """Return what the log is told of an attempt that is about to start."""
    return AttemptStart(
        task=attempt.task,
        attempt=attempt.number,
        counts_itself=attempt.counts_itself,
        started_at=attempt.started_at,
        may_be_stale=attempt.queue.traits.leaves_stale_copies,
    )


def _answered(attempt: Attempt, admission: Admission) -> Attempt:
    if admission.stale or admission.refused is not None:
        return replace(attempt, disposition=Disposition.DISCARD, number=admission.attempt)
    if (decided := admission.decided) is not None:
        return replace(
            attempt,
            disposition=Disposition.SETTLE,
            number=admission.attempt,
            started_at=decided.started_at,
            duration=decided.duration,
            decided=decided,
        )
    if admission.attempt == attempt.number and not admission.suspect:
        return attempt
    return replace(attempt, number=admission.attempt, suspect=admission.suspect)
