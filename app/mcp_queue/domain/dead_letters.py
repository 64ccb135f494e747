"""Reading dead letters, whoever sent them, and making tasks of them again."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime

from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.errors import InvalidTaskError, QueueError
from mcp_queue.domain.failed_tasks import FailedTask, FailedTaskFilter, RedriveStatus, without_notes
from mcp_queue.domain.ledger import AttemptView
from mcp_queue.domain.queues import QueueSpec
from mcp_queue.domain.serialization import parse_time
from mcp_queue.domain.task import Task, cut_reason


@dataclass(frozen=True, slots=True)
class LetterPage:
    """A part of a list of dead letters; ``sampled``: there may be others that nobody could look at."""

    letters: tuple[FailedTask, ...]
    next_cursor: str | None = None
    sampled: bool = False


@dataclass(frozen=True, slots=True)
class LetterDetails:
    """A dead letter with its payload, and the attempts of its generation where the ledger knows them."""

    letter: FailedTask
    attempts: tuple[AttemptView, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterSummary:
    """How many letters of a queue wait for a person, ``None`` where nobody can tell, and since when."""

    queue: str
    waiting: int | None
    oldest_failed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A dead letter that could not be redriven, and why."""

    task_id: str
    error: QueueError


@dataclass(frozen=True, slots=True, kw_only=True)
class RedriveOutcome:
    """What became of the letters that were meant; ``sampled``: further ones may be left."""

    matched: int
    redriven: int = 0
    refused: tuple[Refusal, ...] = ()
    sampled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RedriveProgress:
    """How far a redrive in the background came; ``matched`` is ``None`` while nobody can tell.

    ``queue`` is the one whose letters are sent back; a backend that moves them does not know it by that name.
    """

    id: str
    queue: str | None = None
    status: RedriveStatus
    matched: int | None
    redriven: int
    failed: int = 0


def failed_task(delivery: Delivery, queue: str, now: datetime) -> FailedTask:
    """Return a received dead letter of ``queue``, whoever sent it."""
    task, notes = delivery.task, _notes(delivery)
    return FailedTask(
        task_id=delivery.message_id if task is None else task.id,
        redrive_count=0 if task is None else task.redrive_count,
        queue=queue,
        failure_reason=cut_reason(notes.get("failure_reason") or _reason(delivery)),
        failed_at=_failed_at(notes) or now,
        task=None if task is None else without_notes(task),
        body=delivery.body if task is None else None,
        attempts=0 if task is None else task.retry_count + ("failed_at" in notes),
    )


def home_of(delivery: Delivery, sources: Collection[str]) -> str | None:
    """Return which of ``sources`` a dead letter came from, ``None`` where nobody can tell."""
    written = None if delivery.task is None else delivery.task.queue
    named = _notes(delivery).get("original_queue"), delivery.source_queue, written
    known = (name for name in named if name in sources)
    return next(known, next(iter(sources)) if len(sources) == 1 else None)


def matches(letter: FailedTask, query: FailedTaskFilter) -> bool:
    """Whether ``query`` means ``letter``, which is of its queue."""
    return (
        (query.type is None or (letter.task is not None and letter.task.type == query.type))
        and (query.reason is None or query.reason.lower() in letter.failure_reason.lower())
        and (query.failed_after is None or letter.failed_at > query.failed_after)
        and (query.failed_before is None or letter.failed_at < query.failed_before)
        and (query.ids is None or letter.task_id in query.ids)
    )


def next_generation(letter: FailedTask, spec: QueueSpec) -> Task:
    """Return the task of ``letter`` as it goes back to the queue of ``spec``: with all its attempts before it.

    Raises:
        InvalidTaskError: its body is no task.

    """
    if letter.task is None:
        raise InvalidTaskError("the body of this dead letter is no task: it can only be deleted")
    generation = letter.redrive_count + 1
    return replace(
        letter.task,
        queue=spec.public_name,
        retry_count=0,
        redrive_count=generation,
        scheduled_for=None,
        # With the id of its first send it would be swallowed as a copy of that.
        deduplication_id=f"{letter.task_id}.{generation}" if spec.fifo else letter.task.deduplication_id,
    )


def _notes(delivery: Delivery) -> dict[str, str]:
    """Return what we wrote when we dead-lettered it: in the task's metadata, or beside a body that is no task."""
    return {**delivery.attributes, **(delivery.task.metadata if delivery.task is not None else {})}


def _reason(delivery: Delivery) -> str:
    if delivery.source_queue is not None:
        return "received too often without being settled: its worker crashed, or its lease was lost"
    if delivery.poison is not None:
        return f"sent to the dead-letter queue by another program; {delivery.poison}"
    return "sent to the dead-letter queue by another program"


def _failed_at(notes: dict[str, str]) -> datetime | None:
    try:
        return parse_time(notes["failed_at"])
    except (KeyError, ValueError):
        return None
