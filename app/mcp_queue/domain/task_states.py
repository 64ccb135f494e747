"""Decides how a task's state in the ledger changes: only forward within a generation, whatever comes twice or late.

A generation is a ``redrive_count``: a redrive begins a new one, and what an earlier one still says is stale.
"""

import base64
import binascii
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Generic, NamedTuple, TypeVar

from mcp_queue.domain.dead_letters.dead_letter import DeadLetterRecord
from mcp_queue.domain.errors import InvalidCursorError
from mcp_queue.domain.formats.strict_json import dumps
from mcp_queue.domain.task import JsonValue, Task, TaskResult, TaskStatus

Item = TypeVar("Item")

#: Longest result kept, in bytes of its JSON.
MAX_RESULT_BYTES = 64 * 1024
#: Longest page of a list.
MAX_PAGE = 200

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Above every attempt number that a message can carry, with room below the next generation's first bit.
_ENDED_RANK = 1 << 31
_GENERATION_BITS = 32


def ended_position(redrive_count: int) -> int:
    """Return the position of every end but success, also of a column of a database in place of the number."""
    return redrive_count * (1 << _GENERATION_BITS) + _ENDED_RANK


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskState:
    """Where a task stands in its newest generation.

    ``attempt`` is the highest that started, ``recorded`` the highest whose end is known, ``superseded`` the highest
    whose successor the backend confirmed: copies up to it are stale.
    """

    status: TaskStatus
    redrive_count: int = 0
    attempt: int = 0
    recorded: int = 0
    superseded: int = 0
    cancel_requested: bool = False
    started_at: datetime | None = None
    next_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def position(self) -> int:
        """How far the task has come, as one number: a state may only be replaced by one of a higher position."""
        return self.redrive_count << _GENERATION_BITS | _rank(self.status, self.attempt)

    @property
    def postponed(self) -> int:
        """The attempt whose end is decided and not settled yet, since its queue could not take that; else 0.

        Any other retry is recorded when its successor is confirmed.
        """
        return self.attempt if self.status is TaskStatus.RETRYING and self.superseded < self.attempt else 0


class DeliveredAttempt(NamedTuple):
    """Which attempt a delivered message is; ``counts_itself``: the message carries the true number.

    Only where it ``may_be_stale`` a successor of the same generation can be on its way.
    """

    redrive_count: int
    attempt: int
    counts_itself: bool
    may_be_stale: bool = True


class AdmissionDecision(NamedTuple):
    """Whether a delivered message may run, as which attempt, and where the task stands then.

    The end of one that was ``decided`` is to be settled, without another run. A ``suspect`` has run before, and nobody
    settled that.
    """

    state: TaskState
    attempt: int
    refused: TaskStatus | None = None
    stale: bool = False
    decided: bool = False
    suspect: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnd:
    """How an attempt ended, or a task without one (``attempt`` 0); ``queued``, it was released and will come again.

    ``confirmed`` is false where the backend will deliver the same attempt again. ``postponed``: its queue could
    not take ``status``; the next delivery settles it. ``redelivered``: its message was received before, so that
    whatever ran from it has lost its lease.
    """

    redrive_count: int
    attempt: int
    status: TaskStatus
    started_at: datetime | None
    at: datetime
    next_at: datetime | None = None
    confirmed: bool = True
    postponed: bool = False
    redelivered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedAttempt:
    """An attempt that ended."""

    redrive_count: int
    attempt: int
    started_at: datetime
    duration: timedelta
    status: TaskStatus
    error: str | None = None
    response_status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTask:
    """A task as the ledger remembers it. A list leaves out its payload, attempts, result and dead letters."""

    task: Task
    status: TaskStatus
    ended_at: datetime | None = None
    attempts: tuple[RecordedAttempt, ...] = ()
    result: TaskResult | None = None
    dead_letters: tuple[DeadLetterRecord, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """Which tasks a list shows; ``created_after`` excludes its own moment, as ``created_before`` does.

    ``reached`` are the only queues whose tasks may be shown.
    """

    queue: str | None = None
    reached: frozenset[str] | None = None
    type: str | None = None
    status: TaskStatus | None = None
    group: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """A part of a list. ``next_cursor`` asks for the part after it; ``None`` where there is none."""

    items: tuple[Item, ...]
    next_cursor: str | None = None


def enqueued(task: Task, now: datetime) -> TaskState:
    """Return the state of a task that its queue, or the ledger itself, has just taken."""
    waits = task.scheduled_for is not None and task.scheduled_for > now
    return TaskState(status=TaskStatus.SCHEDULED if waits else TaskStatus.QUEUED, redrive_count=task.redrive_count)


def admit(known: TaskState, delivered: DeliveredAttempt, now: datetime) -> AdmissionDecision:
    """Decide whether ``delivered`` may run. ``known`` is of its generation or of a later one.

    A running task is never a reason against it: its worker may be gone.
    """
    superseded = delivered.counts_itself and delivered.may_be_stale and delivered.attempt <= known.superseded
    if delivered.redrive_count < known.redrive_count or superseded:
        return AdmissionDecision(known, delivered.attempt, stale=True)
    if known.status.ended:
        return AdmissionDecision(known, delivered.attempt, refused=known.status)
    if known.cancel_requested:
        return AdmissionDecision(canceled(known, now), delivered.attempt, refused=TaskStatus.CANCELED)
    if known.postponed and known.postponed == (delivered.attempt if delivered.counts_itself else known.recorded):
        return AdmissionDecision(known, known.postponed, decided=True)
    attempt = delivered.attempt if delivered.counts_itself else known.recorded + 1
    running = replace(known, status=TaskStatus.RUNNING, attempt=attempt, started_at=now, next_at=None)
    # A crash between sending a retry and deleting its predecessor leaves both: the older one moves nothing back.
    suspect = known.status is TaskStatus.RUNNING and known.recorded < attempt == known.attempt
    return AdmissionDecision(running if running.position >= known.position else known, attempt, suspect=suspect)


def conclude(known: TaskState, end: AttemptEnd) -> TaskState:
    """Return the state after ``end``. ``known`` is of its generation or of a later one."""
    if end.redrive_count < known.redrive_count:
        return known
    if end.status is TaskStatus.QUEUED:
        return _released(known, end)
    retried = end.status is TaskStatus.RETRYING and end.confirmed
    counted = replace(
        known,
        recorded=max(known.recorded, end.attempt),
        superseded=max(known.superseded, end.attempt if retried else 0),
    )
    if end.postponed:
        return _postponed(counted, end)
    unconfirmed = not end.confirmed and end.status in {TaskStatus.RETRYING, TaskStatus.DEAD_LETTERED}
    if unconfirmed or _expired_beside_a_run(known, end):
        return counted
    if retried and known.cancel_requested and not known.status.ended and end.attempt >= known.attempt:
        return canceled(counted, end.at)
    reached = replace(
        counted,
        status=end.status,
        attempt=max(known.attempt, end.attempt) if end.status.ended else end.attempt,
        started_at=end.started_at or known.started_at,
        next_at=end.next_at,
        ended_at=end.at if end.status.ended else None,
    )
    return reached if reached.position > known.position else counted


def _expired_beside_a_run(known: TaskState, end: AttemptEnd) -> bool:
    """Whether a second copy came too late to start while the first one runs: that one's own end is what counts."""
    unstarted = end.status is TaskStatus.EXPIRED and end.attempt == 0
    return unstarted and known.status is TaskStatus.RUNNING and not end.redelivered


def _postponed(known: TaskState, end: AttemptEnd) -> TaskState:
    """Return the state of a task that waits until its queue takes how its attempt ended."""
    waiting = replace(known, status=TaskStatus.RETRYING, attempt=end.attempt, next_at=end.next_at)
    return waiting if waiting.position > known.position else known


def _released(known: TaskState, end: AttemptEnd) -> TaskState:
    """Return the state of a task whose message was released while it ran, unless somebody else has started it since."""
    if known.status is not TaskStatus.RUNNING or (known.attempt, known.started_at) != (end.attempt, end.started_at):
        return known
    return canceled(known, end.at) if known.cancel_requested else replace(known, status=TaskStatus.QUEUED)


def canceled(known: TaskState, now: datetime) -> TaskState:
    """Return the state after a cancel that wins; ``known`` has not ended."""
    return replace(known, status=TaskStatus.CANCELED, cancel_requested=True, next_at=None, ended_at=now)


def cancel(known: TaskState, now: datetime) -> TaskState:
    """Return the state after somebody asked for a cancel: a running task is only marked. ``known`` has not ended."""
    return replace(known, cancel_requested=True) if known.status is TaskStatus.RUNNING else canceled(known, now)


def kept_result(value: JsonValue) -> str | None:
    """Return a result as JSON text of at most 64 KiB. One that is longer is cut, one that is no JSON replaced."""
    if value is None:
        return None
    try:
        text = dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        return dumps({"not_json": str(error)[:1024]})
    if len(text) <= MAX_RESULT_BYTES:
        return text
    # ASCII JSON inside a JSON string at most doubles: only its quotes and backslashes are escaped.
    return dumps({"truncated": True, "size": len(text), "start": text[: MAX_RESULT_BYTES // 2 - 64]})


def microseconds(moment: datetime) -> int:
    """Return an aware time as microseconds since 1970."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def moment(since_epoch: int) -> datetime:
    """Return microseconds since 1970 as a time in UTC."""
    return _EPOCH + timedelta(microseconds=since_epoch)


def encode_cursor(*key: str | int) -> str:
    """Return the sort key of the last item shown as an opaque text."""
    return base64.urlsafe_b64encode(json.dumps(key, separators=(",", ":")).encode()).decode().rstrip("=")


def decode_cursor(text: str, *kinds: type[str | int]) -> tuple[str | int, ...]:
    """Return the sort key in ``text``, whose parts are of ``kinds``.

    Raises:
        InvalidCursorError: ``text`` holds no such key.

    """
    try:
        key = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise InvalidCursorError from error
    if not isinstance(key, list) or [type(part) for part in key] != list(kinds):
        raise InvalidCursorError
    if any(isinstance(part, int) and abs(part) >= 1 << 63 for part in key):
        raise InvalidCursorError
    return tuple(key)


def _rank(status: TaskStatus, attempt: int) -> int:
    match status:
        case TaskStatus.SCHEDULED:
            return 0
        case TaskStatus.QUEUED:
            # One that was released while it ran may run as the same attempt again.
            return max(1, 2 * attempt)
        case TaskStatus.RUNNING:
            return 2 * attempt
        case TaskStatus.RETRYING:
            return 2 * attempt + 1
        case TaskStatus.COMPLETED:
            return _ENDED_RANK + 1
        case TaskStatus.DEAD_LETTERED | TaskStatus.CANCELED | TaskStatus.EXPIRED:
            return _ENDED_RANK
