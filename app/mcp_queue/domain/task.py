"""The task, its states and its result."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from typing_extensions import TypeAliasType

#: A named alias, since pydantic refuses a recursive one without a name.
JsonValue = TypeAliasType("JsonValue", "str | int | float | bool | list[JsonValue] | dict[str, JsonValue] | None")

#: Metadata members that the product writes itself when it dead-letters a task.
RESERVED_METADATA = frozenset({"failure_reason", "failed_at", "original_queue"})
#: Longest ``failure_reason`` kept, in bytes of UTF-8.
MAX_REASON_BYTES = 1024


class TaskStatus(StrEnum):
    """Where a task stands. Within one ``redrive_count`` it only moves forward."""

    SCHEDULED = "scheduled"  #: accepted, not due yet
    QUEUED = "queued"  #: waiting to be received
    RUNNING = "running"  #: an attempt is under way
    RETRYING = "retrying"  #: an attempt failed, the next one waits
    COMPLETED = "completed"  #: an attempt succeeded
    DEAD_LETTERED = "dead_lettered"  #: no attempt can succeed, or none is left
    CANCELED = "canceled"  #: an operator or the caller withdrew it
    EXPIRED = "expired"  #: ``expires_at`` passed before it started

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to the task by itself."""
        return self in _ENDED


_ENDED = frozenset({TaskStatus.COMPLETED, TaskStatus.DEAD_LETTERED, TaskStatus.CANCELED, TaskStatus.EXPIRED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A unit of work as a client submitted it, plus the counters of its way through the queue.

    Times are aware and in UTC. ``visibility_timeout`` is the time limit of one attempt; ``None`` is the queue's.
    ``extra`` holds members of the wire form that this version does not know: they survive a round trip.
    ``traceparent`` travels as a message attribute, not in the body.
    """

    id: str
    type: str
    queue: str
    created_at: datetime
    payload: JsonValue = None
    priority: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)
    scheduled_for: datetime | None = None
    expires_at: datetime | None = None
    max_retries: int = 3
    retry_count: int = 0
    redrive_count: int = 0
    visibility_timeout: timedelta | None = None
    callback_url: str | None = None
    group: str | None = None
    deduplication_id: str | None = None
    extra: Mapping[str, JsonValue] = field(default_factory=dict)
    traceparent: str | None = None

    def next_attempt(self) -> "Task":
        """Return the task as its next attempt carries it: one retry more, and no longer waiting for a time."""
        return replace(self, retry_count=self.retry_count + 1, scheduled_for=None)

    def expired(self, now: datetime) -> bool:
        """Whether it is too late to start the task."""
        return self.expires_at is not None and self.expires_at <= now


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """How the last attempt of a task ended. ``duration`` is that attempt's, ``timestamp`` its end."""

    task_id: str
    status: TaskStatus
    timestamp: datetime
    duration: timedelta
    result: JsonValue = None
    error: str | None = None


def cut_reason(reason: str, limit: int = MAX_REASON_BYTES) -> str:
    """Return ``reason`` in at most ``limit`` bytes of UTF-8, never ending inside a character."""
    encoded = reason.encode("utf-8", "replace")
    if len(encoded) <= limit:
        return encoded.decode()
    mark = "…"
    return encoded[: limit - len(mark.encode())].decode("utf-8", "ignore") + mark
