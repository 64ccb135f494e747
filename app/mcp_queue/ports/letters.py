"""Dead letters in the ledger, and what is done about them."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from mcp_queue.domain.failed_tasks import FailedSummary, FailedTask, FailedTaskFilter, FailureNotice, Redrive
from mcp_queue.domain.ledger import Page
from mcp_queue.domain.task import Task


class DeadLetterStore(Protocol):
    """Dead letters: one for each (task id, ``redrive_count``), kept as a tombstone when it is closed."""

    async def store_failed_tasks(self, letters: Sequence[FailedTask]) -> Sequence[bool]:
        """Store dead letters; return for each whether it is new: no late copy, and its task has not ended otherwise."""
        ...

    async def list_failed(self, query: FailedTaskFilter, *, limit: int, cursor: str | None = None) -> Page[FailedTask]:
        """Return waiting letters without payloads, the newest first."""
        ...

    async def read_failed(self, query: FailedTaskFilter, *, limit: int, cursor: str | None = None) -> Page[FailedTask]:
        """Return waiting letters with payloads, the oldest first: the order in which they are redriven."""
        ...

    async def get_failed(self, queue: str, task_id: str) -> FailedTask | None:
        """Return a waiting letter with its payload."""
        ...

    async def count_failed(self, query: FailedTaskFilter) -> int:
        """Return how many waiting letters ``query`` matches."""
        ...

    async def summaries(self) -> Mapping[str, FailedSummary]:
        """Return what waits, by source queue; queues without a waiting letter are left out."""
        ...

    async def mark_redriven(self, tasks: Sequence[Task], actor: str) -> None:
        """Close the letters of tasks that their queue took again; each carries its new ``redrive_count``."""
        ...

    async def delete_failed(self, queue: str, task_id: str, actor: str) -> bool:
        """Close a waiting letter for good; return whether there was one."""
        ...

    async def purge_failed(self, queue: str, actor: str, failed_before: datetime) -> int:
        """Close every waiting letter of ``queue`` that failed before; return how many."""
        ...


class RedriveJobs(Protocol):
    """Redrives in the background: any process carries one on when its own is gone."""

    async def create(self, job: Redrive) -> None:
        """Store a job for whoever adopts it first."""
        ...

    async def get(self, job_id: str) -> Redrive | None:
        """Return a job and how far it came."""
        ...

    async def adopt(self, lease: timedelta) -> Redrive | None:
        """Return the oldest running job that nobody works on; nobody else gets it for ``lease``."""
        ...

    async def advance(self, job: Redrive, lease: timedelta) -> bool:
        """Store how far ``job`` came, or that it ended, and hold it on; return false where it was canceled."""
        ...

    async def cancel(self, job_id: str) -> bool:
        """Stop a job; return false where there is none that runs."""
        ...


class NotificationOutbox(Protocol):
    """Which dead letters somebody has yet to be told of."""

    async def gather(self, notifiers: Collection[str], stored_before: datetime) -> int:
        """Turn new letters into one notice for each notifier, queue and type; return how many letters.

        Those of a queue and type wait for each other until the first of them was stored before ``stored_before``.
        """
        ...

    async def due(self, limit: int, lease: timedelta) -> Sequence[FailureNotice]:
        """Return notices to be sent; nobody else gets them for ``lease``."""
        ...

    async def settle(self, notice_id: int, retry_at: datetime | None) -> None:
        """Forget a notice that was sent (``retry_at`` is ``None``), or keep it for another try."""
        ...
