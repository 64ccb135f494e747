"""Dead letters, redrives and notices as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from mcp_queue.domain.task import Task


class DeadLetterState(StrEnum):
    """What became of a dead letter. All but the first are tombstones: a late copy opens none of them again."""

    WAITING = "waiting"  #: for a person
    REDRIVEN = "redriven"  #: its task went back to its queue, as the next generation
    DELETED = "deleted"  #: by a person, or because it was kept long enough
    COMPLETED = "completed"  #: its task succeeded after all


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A dead letter. ``queue`` is where its task came from; ``task`` is none for a body that is no task.

    Without a task, ``body`` is what could not be read and ``task_id`` the id of its message. ``attempts`` and
    ``response_status``, of the last one, are the ledger's own where it knows them.
    """

    task_id: str
    redrive_count: int
    queue: str
    failure_reason: str
    failed_at: datetime
    task: Task | None = None
    body: str | None = None
    attempts: int = 0
    response_status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterFilter:
    """Which waiting dead letters of ``queue`` are meant; ``reason`` is a part of theirs, in any case.

    ``shared_dead_letter_queue`` names the one whose dead letters of unknown source are meant too.
    """

    queue: str
    shared_dead_letter_queue: str | None = None
    type: str | None = None
    reason: str | None = None
    failed_after: datetime | None = None
    failed_before: datetime | None = None
    ids: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class DeadLetterCount:
    """How many dead letters of one queue wait, and since when."""

    waiting: int
    oldest_failed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterRecord:
    """One line of a task's redrive history."""

    redrive_count: int
    failure_reason: str
    failed_at: datetime
    state: DeadLetterState
    closed_at: datetime | None = None
    closed_by: str | None = None


class RedriveStatus(StrEnum):
    """Where a background redrive stands."""

    RUNNING = "running"
    COMPLETED = "completed"
    CANCELED = "canceled"
    FAILED = "failed"  #: given up by SQS, where it moves the dead letters itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Redrive:
    """A redrive of many dead letters in the background. ``max_per_second`` is its rate, ``None`` as fast as it goes.

    ``cursor`` is how far it came, so that another process goes on from there when its own is gone.
    """

    id: str
    filter: DeadLetterFilter
    actor: str
    created_at: datetime
    matched: int
    max_per_second: float | None = None
    status: RedriveStatus = RedriveStatus.RUNNING
    redriven: int = 0
    failed: int = 0
    cursor: str | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterNotice:
    """Failures of one type in one queue that one notifier is to tell about. ``tries`` counts the ones that failed."""

    id: int
    notifier: str
    queue: str
    type: str | None
    count: int
    first_failed_at: datetime
    last_failed_at: datetime
    examples: tuple[Mapping[str, str], ...] = field(default=())  #: ``id`` and ``reason`` of some of them
    tries: int = 0
