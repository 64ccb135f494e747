"""Describes what the ledger is told when attempts start and end."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from mcp_queue.domain.task import JsonValue, Task, TaskStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStart:
    """An attempt that is about to start. ``attempt`` is what the message says: its ``retry_count`` + 1."""

    task: Task
    attempt: int
    counts_itself: bool  #: the message carries the true attempt (``QueueTraits.rewrites``, ``Delivery.rewritable``)
    started_at: datetime
    may_be_stale: bool = True  #: its successor may have been sent (``QueueTraits.leaves_stale_copies``)


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether an attempt may start, and as which attempt (from 1).

    ``refused`` is the status that stands against it (``canceled``, or ended in this generation), or ``stale`` is true
    for a copy of an earlier generation or of an attempt whose successor was confirmed.
    """

    attempt: int
    refused: TaskStatus | None = None
    stale: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """How one attempt, or the whole task without one (``attempt`` 0: expired, canceled), ended.

    One that is ``queued`` did not: its message went back unprocessed, and will come again as the same attempt.
    ``confirmed`` is false where the backend will deliver the same attempt again: the lease was lost first.
    """

    task: Task
    queue: str
    attempt: int
    status: TaskStatus
    started_at: datetime
    duration: timedelta
    result: JsonValue = None
    error: str | None = None
    response_status: int | None = None
    confirmed: bool = True
    next_at: datetime | None = None  #: when the next attempt is due, for ``retrying``


class ExecutionLog(Protocol):
    """The part of the ledger that the consumer writes. It observes: its absence never stops a task."""

    async def start(self, starts: Sequence[AttemptStart]) -> Sequence[Admission]:
        """Mark attempts as running, all in one conditional update; answers come in the order given."""
        ...

    async def record(self, attempt: AttemptRecord) -> None:
        """Remember how an attempt ended. Returns when it is written or kept for a later try; never raises."""
        ...
