"""Stores for dead letters, redrives and notices."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from mcp_queue.domain.dead_letters.dead_letter import (
    DeadLetter,
    DeadLetterCount,
    DeadLetterFilter,
    DeadLetterNotice,
    Redrive,
)
from mcp_queue.domain.task import Task
from mcp_queue.domain.task_states import Page


class DeadLetterStore(Protocol):
    """Dead letters: one for each (task id, ``redrive_count``), kept as a tombstone when it is closed."""

    async def store_dead_letters(self, dead_letters: Sequence[DeadLetter]) -> Sequence[bool]:
        """Store dead letters; return for each whether it is new: no late copy, and of no task that ended otherwise."""
        ...

    async def list_dead_letters(
        self, query: DeadLetterFilter, *, limit: int, cursor: str | None = None
    ) -> Page[DeadLetter]:
        """Return waiting dead letters without payloads, the newest first."""
        ...

    async def read_dead_letters(
        self, query: DeadLetterFilter, *, limit: int, cursor: str | None = None
    ) -> Page[DeadLetter]:
        """Return waiting dead letters with payloads, the oldest first: the order in which they are redriven."""
        ...

    async def get_dead_letter(self, queue: str, task_id: str) -> DeadLetter | None:
        """Return a waiting dead letter with its payload."""
        ...

    async def count_dead_letters(self, query: DeadLetterFilter) -> int:
        """Return how many waiting dead letters ``query`` matches."""
        ...

    async def summaries(self) -> Mapping[str, DeadLetterCount]:
        """Return what waits, by source queue; queues without a waiting dead letter are left out."""
        ...

    async def mark_redriven(self, tasks: Sequence[Task], actor: str) -> None:
        """Close the dead letters of tasks that their queue took again; each carries its new ``redrive_count``."""
        ...

    async def delete_dead_letter(self, queue: str, task_id: str, actor: str) -> bool:
        """Close a waiting dead letter for good; return whether there was one."""
        ...

    async def purge_dead_letters(self, queue: str, actor: str, failed_before: datetime) -> int:
        """Close every waiting dead letter of ``queue`` that failed before; return how many."""
        ...


class RedriveStore(Protocol):
    """Redrives in the background: another process carries one on when its own is gone."""

    async def create(self, redrive: Redrive) -> None:
        """Store a redrive for the first process that adopts it."""
        ...

    async def get(self, redrive_id: str) -> Redrive | None:
        """Return a redrive and how far it came."""
        ...

    async def adopt(self, lease: timedelta) -> Redrive | None:
        """Return the oldest running redrive that is not leased; it is leased for ``lease``."""
        ...

    async def advance(self, redrive: Redrive, lease: timedelta) -> bool:
        """Store how far ``redrive`` came, or that it ended, and extend the lease; return false if it was canceled."""
        ...

    async def cancel(self, redrive_id: str) -> bool:
        """Stop a redrive; return false where none runs under this id."""
        ...


class NotificationOutbox(Protocol):
    """Notices of dead letters that are yet to be sent."""

    async def gather(self, notifiers: Collection[str], stored_before: datetime) -> int:
        """Turn new dead letters into one notice for each notifier, queue and type; return how many dead letters.

        Those of a queue and type wait for each other until the first of them was stored before ``stored_before``.
        """
        ...

    async def due(self, limit: int, lease: timedelta) -> Sequence[DeadLetterNotice]:
        """Return notices to be sent, leased for ``lease``."""
        ...

    async def settle(self, notice_id: int, retry_at: datetime | None) -> None:
        """Forget a notice that was sent (``retry_at`` is ``None``), or keep it for another try."""
        ...
