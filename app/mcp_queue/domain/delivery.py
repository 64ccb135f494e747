"""One receipt of one message."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from mcp_queue.domain.task import Task


@dataclass(slots=True, eq=False, kw_only=True)
class Delivery:
    """A received message: hidden from other consumers until its lease ends, and settled exactly once.

    Exactly one of ``task`` and ``poison`` is set: ``poison`` says why the body is no task.
    ``queue`` is the public name of the queue; ``receive_count`` counts this receipt, so it starts at 1.
    ``source_queue`` names the queue that the backend's own redrive policy moved the message from.
    ``leased_at`` is the monotonic reading, in seconds, *before* the receive was asked for: a lease counted from it
    never ends later than the backend's. ``attributes`` are what travels beside the body.
    """

    queue: str
    message_id: str
    receipt_handle: str
    body: str
    receive_count: int
    leased_at: float
    task: Task | None = None
    poison: str | None = None
    group: str | None = None
    sent_at: datetime | None = None
    source_queue: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterMessage:
    """What is put into a dead-letter queue.

    ``task`` carries the reason in its metadata. It is ``None`` for a body that is no task; such a body travels
    unchanged, with ``reason``, ``failed_at`` and ``original_queue`` beside it as message attributes.
    """

    task: Task | None
    reason: str
    failed_at: datetime
    original_queue: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """The backend has the task.

    ``duplicate_of`` is the id of the first task where this one was swallowed by FIFO deduplication.
    """

    message_id: str
    duplicate_of: str | None = None
