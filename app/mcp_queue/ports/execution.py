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


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedEnd:
    """How an attempt ended whose queue could not take that: ``retrying``, due at ``next_at``, or ``dead_lettered``."""

    status: TaskStatus
    error: str
    started_at: datetime
    duration: timedelta
    response_status: int | None = None
    next_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether an attempt may start, and as which attempt (from 1).

    ``refused`` is the status that stands against it (``canceled``, or ended in this generation), or ``stale`` is true
    for a copy of an earlier generation or of an attempt whose successor was confirmed. An attempt that has ``decided``
    its end is settled as it says, and does not run again. A ``suspect`` ran before, and nobody settled it: it may be
    what ended its process.
    """

    attempt: int
    refused: TaskStatus | None = None
    stale: bool = False
    decided: DecidedEnd | None = None
    suspect: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """How one attempt, or the whole task without one (``attempt`` 0: expired, canceled), ended.

    One that is ``queued`` did not: its message went back unprocessed, and will come again as the same attempt.
    ``confirmed`` is false where the backend will deliver the same attempt again: the lease was lost first, or a message
    that carries the count could only be hidden. ``postponed``: its queue could not take the
    settlement, which ``status`` says; the next receive settles it. ``redelivered``: the message had been received
    before.
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
    postponed: bool = False
    redelivered: bool = False
    next_at: datetime | None = None  #: when the next attempt is due, for ``retrying``


class ExecutionLog(Protocol):
    """The part of the ledger that the consumer writes. It observes: its absence never stops a task."""

    @property
    def counts_crashes(self) -> bool:
        """Whether it tells suspects, and remembers how often each was started."""
        ...

    async def start(self, starts: Sequence[AttemptStart]) -> Sequence[Admission]:
        """Mark attempts as running, all in one conditional update; answers come in the order given."""
        ...

    async def mark_suspect(self, start: AttemptStart) -> int:
        """Note that a suspect is about to run; return how often this attempt was noted before, and never settled.

        Raises:
            LedgerUnavailableError: it could not be noted.

        """
        ...

    async def record(self, attempt: AttemptRecord) -> None:
        """Remember how an attempt ended. Returns when it is written or kept for a later try; never raises."""
        ...
