"""Looks up and cancels tasks that the ledger has recorded."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from mcp_queue.domain.errors import TaskNotFoundError
from mcp_queue.domain.task import TaskStatus
from mcp_queue.domain.task_states import Page, RecordedTask, TaskFilter
from mcp_queue.ports import TaskStore
from mcp_queue.services.queues.priority import ProducerQueue


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """What is known of a task.

    ``visibility_timeout`` is the one that holds: the task's own or its queue's, ``None`` where that queue is no longer
    configured.
    """

    view: RecordedTask
    visibility_timeout: timedelta | None


class TaskRecords:
    """Looks tasks up and cancels them.

    Every method raises ``LedgerDisabledError`` where there is no ledger, ``LedgerUnavailableError`` where it does not
    answer.
    """

    def __init__(self, store: TaskStore, queues: Mapping[str, ProducerQueue]) -> None:
        """Read ``store``; ``queues`` are those that clients know."""
        self._store = store
        self._queues = queues

    async def get(self, task_id: str) -> TaskRecord:
        """Return a task with its payload, attempts and result.

        Raises:
            TaskNotFoundError: the ledger does not know it.

        """
        view = await self._store.get(task_id)
        if view is None:
            raise TaskNotFoundError
        return self._record(view)

    async def list_tasks(self, query: TaskFilter, *, limit: int, cursor: str | None = None) -> Page[TaskRecord]:
        """Return tasks without payloads, attempts and results, the newest first.

        Raises:
            InvalidCursorError: no list gave out ``cursor``.

        """
        page = await self._store.list_tasks(query, limit=limit, cursor=cursor)
        return Page(tuple(map(self._record, page.items)), page.next_cursor)

    async def cancel(self, task_id: str) -> TaskStatus:
        """Withdraw a task; return where it stands then, as ``TaskStore.cancel`` does.

        Raises:
            TaskNotFoundError: the ledger does not know it.
            TaskAlreadyEndedError: there is nothing to withdraw.

        """
        return await self._store.cancel(task_id)

    def _record(self, view: RecordedTask) -> TaskRecord:
        queue = self._queues.get(view.task.queue)
        queues_own = None if queue is None else queue.spec.visibility_timeout
        return TaskRecord(view, view.task.visibility_timeout or queues_own)
