"""Defines a delivery, one receipt of one message, and what may become of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from typing import Final

from mcp_queue.domain.errors import DeliverySettledError
from mcp_queue.domain.task import Task

#: Attributes of a message whose body lies elsewhere, so that its task is known where the body cannot be read.
TASK_ID: Final = "TaskId"
REDRIVE_COUNT: Final = "RedriveCount"
_DIGITS = 7


class DeliveryState(Enum):
    """How far a delivery has come. ``SETTLED`` and ``LOST`` are final."""

    HELD = auto()  #: its lease is ours
    SETTLING = auto()  #: a settling call is under way: its answer alone says whether the lease still held
    SETTLED = auto()  #: the backend confirmed how it ended
    LOST = auto()  #: its lease is over: the queue must not be touched for this delivery any more


@dataclass(slots=True, eq=False, kw_only=True)
class Delivery:
    """A received message: hidden from other consumers until its lease ends, and settled exactly once.

    ``settlement`` is how it ends, once that is decided: ``complete``, ``retry``, ``defer``, ``release`` or
    ``dead_letter``. A backend that does not answer is asked again for the same settlement, never for another one.

    Exactly one of ``task`` and ``poison`` is set: ``poison`` says why the body is no task.
    ``queue`` is the public name of the queue; ``receive_count`` counts this receipt, so it starts at 1.
    ``source_queue`` names the queue that the backend's own redrive policy moved the message from.
    ``leased_at`` is the monotonic reading, in seconds, *before* the receive was asked for: a lease counted from it
    never ends later than the backend's. ``attributes`` are what travels beside the body.
    ``rewritable`` is false for a body that another client made so large that it cannot be sent again as a task, with a
    count of its attempts: it can only be hidden, and comes back as it was.
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
    rewritable: bool = True
    state: DeliveryState = field(default=DeliveryState.HELD, init=False)
    settlement: str | None = field(default=None, init=False)

    @property
    def lost(self) -> bool:
        """Whether the lease ended before the delivery was settled."""
        return self.state is DeliveryState.LOST

    @property
    def task_id(self) -> str:
        """The task's id: where its body cannot be read, what the message says beside it, or the message's own id."""
        if self.task is not None:
            return self.task.id
        return self.attributes.get(TASK_ID) or self.message_id

    @property
    def generation(self) -> int:
        """How often the task was redriven, as far as the message says it."""
        if self.task is not None:
            return self.task.redrive_count
        text = self.attributes.get(REDRIVE_COUNT, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < _DIGITS else 0

    @property
    def log_fields(self) -> dict[str, object]:
        """What a log line about this delivery carries."""
        if self.task is None:
            return {"message_id": self.message_id, "queue": self.queue}
        return {"task_id": self.task.id, "task_type": self.task.type, "queue": self.queue}

    def settle_as(self, settlement: str) -> None:
        """Decide how the delivery ends.

        Raises:
            DeliverySettledError: that was decided before, which is a defect of the caller.

        """
        if self.settlement is not None:
            message = f"{settlement} was asked for after {self.settlement}"
            raise DeliverySettledError(message)
        self.settlement = settlement


class Requeued(Enum):
    """What a backend did with a message that is to run later."""

    REWRITTEN = auto()  #: it comes back as the task that was given
    HIDDEN = auto()  #: only its visibility changed: it comes back as it was


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
