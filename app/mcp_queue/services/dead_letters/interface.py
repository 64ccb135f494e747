"""Defines what operators can do with dead letters, wherever these are stored."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from mcp_queue.domain.dead_letters.dead_letter import DeadLetterFilter
from mcp_queue.domain.dead_letters.reading import (
    DeadLetterDetails,
    DeadLetterPage,
    DeadLetterSummary,
    RedriveOutcome,
    RedriveProgress,
)
from mcp_queue.services.dead_letters.edits import DeadLetterEdits
from mcp_queue.services.enqueueing.submission import Enqueued

#: Returns how many dead letters of a queue wait for a person: stored ones, and those still in their queue.
Depth = Callable[[str], Awaitable[int | None]]


class DeadLetters(Protocol):
    """The dead letters of each queue, wherever they lie.

    ``queue`` is the name of a queue that tasks come from. Every method raises ``QueueNotFoundError`` for a name that is
    none, and ``NotSupportedError`` for what this set-up cannot do.
    """

    async def summary(self, queue: str) -> DeadLetterSummary:
        """Return how many wait."""
        ...

    async def list_dead_letters(
        self, query: DeadLetterFilter, *, limit: int, cursor: str | None = None
    ) -> DeadLetterPage:
        """Return dead letters without payloads, the newest first."""
        ...

    async def get(self, queue: str, task_id: str) -> DeadLetterDetails:
        """Return a dead letter with its payload; raises ``TaskNotFoundError`` where none waits."""
        ...

    async def redrive_one(self, queue: str, task_id: str, edits: DeadLetterEdits, actor: str) -> Enqueued:
        """Send the task of a dead letter back to its queue with ``edits``.

        Raises:
            TaskNotFoundError: no such dead letter waits.
            InvalidTaskError: its body is no task, or an edit breaks a rule.
            TryLaterError: the queue takes no task at the moment.

        """
        ...

    async def redrive_many(
        self, query: DeadLetterFilter, actor: str, *, dry_run: bool = False, max_per_second: float | None = None
    ) -> RedriveOutcome | RedriveProgress:
        """Send back every dead letter that ``query`` means, at once or in the background."""
        ...

    async def delete(self, queue: str, task_id: str, actor: str) -> None:
        """Close a dead letter for good; raises ``TaskNotFoundError`` where none waits."""
        ...

    async def purge(self, queue: str, actor: str) -> int | None:
        """Close every dead letter for good; return how many, ``None`` where the backend does not say."""
        ...

    async def redrive(self, redrive_id: str) -> RedriveProgress:
        """Return how far a redrive in the background came; raises ``NotFoundError`` where there is none."""
        ...

    async def cancel_redrive(self, redrive_id: str) -> RedriveProgress:
        """Stop a redrive in the background, if it still runs; raises ``NotFoundError`` where there is none."""
        ...
