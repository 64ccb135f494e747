"""Reads dead letters that any program may have sent, and makes tasks of them again."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime

from mcp_queue.domain.dead_letters.dead_letter import DeadLetter, DeadLetterFilter, RedriveStatus
from mcp_queue.domain.dead_letters.notes import read_notes, without_notes
from mcp_queue.domain.delivery import Delivery
from mcp_queue.domain.errors import InvalidTaskError, QueueError
from mcp_queue.domain.formats.serialization import parse_time
from mcp_queue.domain.queues import QueueSpec
from mcp_queue.domain.task import Task, cut_reason
from mcp_queue.domain.task_states import RecordedAttempt


@dataclass(frozen=True, slots=True)
class DeadLetterPage:
    """A part of a list of dead letters; ``sampled``: there may be others that were not looked at."""

    dead_letters: tuple[DeadLetter, ...]
    next_cursor: str | None = None
    sampled: bool = False


@dataclass(frozen=True, slots=True)
class DeadLetterDetails:
    """A dead letter with its payload, and the attempts of its generation where the ledger knows them."""

    dead_letter: DeadLetter
    attempts: tuple[RecordedAttempt, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterSummary:
    """How many dead letters of a queue wait for a person, ``None`` where that is unknown, and since when."""

    queue: str
    waiting: int | None
    oldest_failed_at: datetime | None


@dataclass(frozen=True, slots=True)
class RedriveRefusal:
    """A dead letter that could not be redriven, and why."""

    task_id: str
    error: QueueError


@dataclass(frozen=True, slots=True, kw_only=True)
class RedriveOutcome:
    """What became of the selected dead letters; ``sampled``: further ones may be left."""

    matched: int
    redriven: int = 0
    refused: tuple[RedriveRefusal, ...] = ()
    sampled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RedriveProgress:
    """How far a redrive in the background came; ``matched`` is ``None`` while that is unknown.

    ``queue`` is the one whose dead letters are sent back; a backend that moves them does not know it by that name.
    """

    id: str
    queue: str | None = None
    status: RedriveStatus
    matched: int | None
    redriven: int
    failed: int = 0


def dead_letter_of(delivery: Delivery, queue: str, now: datetime) -> DeadLetter:
    """Return a received message of a dead-letter queue as a dead letter of ``queue``, whichever program sent it."""
    task, notes = delivery.task, read_notes(delivery)
    return DeadLetter(
        task_id=delivery.task_id,
        redrive_count=delivery.generation,
        queue=queue,
        failure_reason=cut_reason(notes.get("failure_reason") or _reason(delivery)),
        failed_at=_failed_at(notes) or now,
        task=None if task is None else without_notes(task),
        body=delivery.body if task is None else None,
        attempts=0 if task is None else task.retry_count + ("failed_at" in notes),
    )


def source_of(delivery: Delivery, sources: Collection[str]) -> str | None:
    """Return which of ``sources`` a dead letter came from, ``None`` where that is unknown."""
    written = None if delivery.task is None else delivery.task.queue
    named = read_notes(delivery).get("original_queue"), delivery.source_queue, written
    known = (name for name in named if name in sources)
    return next(known, next(iter(sources)) if len(sources) == 1 else None)


def matches(dead_letter: DeadLetter, query: DeadLetterFilter) -> bool:
    """Whether ``query`` means ``dead_letter``, which is of its queue."""
    return (
        (query.type is None or (dead_letter.task is not None and dead_letter.task.type == query.type))
        and (query.reason is None or query.reason.lower() in dead_letter.failure_reason.lower())
        and (query.failed_after is None or dead_letter.failed_at > query.failed_after)
        and (query.failed_before is None or dead_letter.failed_at < query.failed_before)
        and (query.ids is None or dead_letter.task_id in query.ids)
    )


def next_generation(dead_letter: DeadLetter, spec: QueueSpec) -> Task:
    """Return the task of ``dead_letter`` as it goes back to the queue of ``spec``: with all its attempts before it.

    Raises:
        InvalidTaskError: its body is no task.

    """
    if dead_letter.task is None:
        raise InvalidTaskError("the body of this dead letter is no task: it can only be deleted")
    generation = dead_letter.redrive_count + 1
    return replace(
        dead_letter.task,
        queue=spec.public_name,
        retry_count=0,
        redrive_count=generation,
        scheduled_for=None,
        # With the id of its first send it would be swallowed as a copy of that.
        deduplication_id=f"{dead_letter.task_id}.{generation}" if spec.fifo else dead_letter.task.deduplication_id,
    )


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
