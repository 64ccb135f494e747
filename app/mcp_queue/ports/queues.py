"""Describes what a queue does, and how queues are paused and messages moved between them."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from mcp_queue.domain.dead_letters.reading import RedriveProgress
from mcp_queue.domain.delivery import Accepted, DeadLetterMessage, Delivery, Requeued
from mcp_queue.domain.errors import QueueError
from mcp_queue.domain.queues import QueueSpec, QueueStats, QueueTraits
from mcp_queue.domain.task import Task


class Queue(Protocol):
    """One queue of one backend.

    Every method may raise ``BackendUnavailableError``: the backend does not answer, and what was asked may or may
    not have happened. Calls may be concurrent; adapters coalesce them into the backend's batch forms.
    """

    @property
    def spec(self) -> QueueSpec:
        """The configuration of this queue."""
        ...

    @property
    def traits(self) -> QueueTraits:
        """What the backend does by itself."""
        ...

    async def enqueue(self, task: Task) -> Accepted:
        """Put ``task`` into the queue; it is durable when this returns. ``task.scheduled_for`` delays it.

        Raises:
            QueueFullError: ``max_depth`` is reached.
            TaskTooLargeError: the body is over the queue's limit.
            DelayNotSupportedError: the backend cannot hold it that long.
            InvalidTaskError: the backend refuses it for another reason.

        """
        ...

    async def enqueue_batch(self, tasks: Sequence[Task]) -> list[Accepted | QueueError]:
        """Put many tasks into the queue, in order; each has its own verdict, in the order given."""
        ...

    async def receive(self, limit: int, wait: timedelta) -> list[Delivery]:
        """Receive up to ``limit`` (1 to 10) messages; return an empty list after ``wait`` without one.

        Each is hidden for the queue's visibility timeout. Of FIFO groups, messages come in order and none comes
        while an earlier receive holds another of its group.
        """
        ...

    def stop_waiting(self) -> None:
        """Let receives, open ones and later ones, return without waiting; a process that ends asks for it.

        SQS cannot: an open poll of it ends by itself, and what it brings is received.
        """
        ...

    async def complete(self, delivery: Delivery) -> None:
        """Delete the message.

        Raises:
            VisibilityTimeoutError: the lease is known to be lost. Backends that cannot tell return instead.

        """
        ...

    async def retry(self, delivery: Delivery, task: Task, delay: timedelta) -> Requeued:
        """Give the message back to run as ``task``, its next attempt, after ``delay``; return what was done.

        Where ``traits.rewrites`` is false the message keeps its body: ``HIDDEN``. Where it is true that happens only to
        bodies that cannot be sent again; for all others the receive count starts again at 0.

        Raises:
            VisibilityTimeoutError: the lease is known to be lost; nothing was given back.

        """
        ...

    async def defer(self, delivery: Delivery, task: Task, delay: timedelta) -> Requeued:
        """Give the message back to run as ``task`` after ``delay`` without counting an attempt; else like ``retry``."""
        ...

    async def release(self, delivery: Delivery) -> None:
        """Give the message back unprocessed: visible at once, no attempt burnt.

        A release never lets the message reach ``max_receive_count``.

        Raises:
            VisibilityTimeoutError: the lease is known to be lost.

        """
        ...

    async def extend(self, delivery: Delivery, lease: timedelta) -> None:
        """Hide the message for ``lease`` from now.

        Raises:
            VisibilityTimeoutError: the lease is lost, or ``lease`` is more than is left of 12 h from the receive.

        """
        ...

    async def dead_letter(self, delivery: Delivery, dead_letter: DeadLetterMessage) -> None:
        """Put ``dead_letter`` into the dead-letter queue, then delete the message; a crash in between duplicates.

        Raises:
            VisibilityTimeoutError: the lease is known to be lost.

        """
        ...

    async def stats(self) -> QueueStats:
        """Count what lies in the queue."""
        ...

    async def purge(self) -> int | None:
        """Delete every message that is not in flight; return how many, ``None`` where the backend does not say.

        Raises:
            TryLaterError: the backend allows no purge yet (SQS: one in 60 s).

        """
        ...

    async def ping(self) -> None:
        """Return if the backend answers."""
        ...


class MessageBrowser(Protocol):
    """A queue whose messages can be looked at where they lie, those behind others of their FIFO group too."""

    async def browse(self, after: Delivery | None, limit: int) -> list[Delivery]:
        """Return what was accepted after the message of ``after``, in order, leased messages too; nothing is hidden."""
        ...

    async def take(self, delivery: Delivery) -> Delivery | None:
        """Receive the message of a browsed delivery; return ``None`` where it is leased or gone."""
        ...


class DeadLetterSink(Protocol):
    """A dead-letter queue as queues of other backends see it."""

    async def put(self, delivery: Delivery, dead_letter: DeadLetterMessage) -> None:
        """Send ``dead_letter`` as a task, or the raw body of ``delivery`` where it is not a task or does not fit.

        No rule for new tasks applies: a task that was accepted can always be given up.
        """
        ...


class PauseSwitch(Protocol):
    """Remembers which queues are paused, for every process."""

    async def pause(self, queue: str) -> None:
        """Stop consumers from receiving from ``queue``; idempotent."""
        ...

    async def resume(self, queue: str) -> None:
        """Let consumers receive from ``queue`` again; idempotent."""
        ...

    async def paused(self) -> frozenset[str]:
        """Return the names of all paused queues."""
        ...


class MessageMover(Protocol):
    """A backend that moves all messages of a dead-letter queue back to a queue by itself, one move at a time."""

    async def start(self, max_per_second: float | None) -> None:
        """Begin to move.

        Raises:
            NotSupportedError: the backend does not move from this queue, or not at this rate.
            RateLimitedError: it is moving already.

        """
        ...

    async def progress(self, redrive_id: str) -> RedriveProgress | None:
        """Return how far the latest move came, as ``redrive_id``; ``None`` where the backend remembers none."""
        ...

    async def cancel(self) -> None:
        """Stop a move that is under way; what was moved stays moved."""
        ...
