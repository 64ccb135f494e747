"""Stores for tasks, held tasks, idempotency keys and schedules."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from mcp_queue.domain.enqueueing.claims import Claimed, ClaimOutcome, ClaimRequest
from mcp_queue.domain.schedules import Schedule, Tick
from mcp_queue.domain.task import Task, TaskStatus
from mcp_queue.domain.task_states import Page, RecordedTask, TaskFilter


class TaskStore(Protocol):
    """What the ledger remembers of every task.

    Like every protocol below that does not say otherwise, it raises ``LedgerUnavailableError`` where the ledger does
    not answer. A list takes at most 200 items a page, and raises ``InvalidCursorError`` for a cursor that is none.
    """

    async def record_enqueued(self, tasks: Sequence[Task]) -> None:
        """Remember tasks that their queue took. Returns when they are written or kept for a later try; never raises."""
        ...

    async def get(self, task_id: str) -> RecordedTask | None:
        """Return a task with its payload, attempts, result and dead letters."""
        ...

    async def list_tasks(self, query: TaskFilter, *, limit: int, cursor: str | None = None) -> Page[RecordedTask]:
        """Return tasks, the newest first."""
        ...

    async def cancel(self, task_id: str) -> TaskStatus:
        """Withdraw a task: ``CANCELED``, it never starts; ``RUNNING``, its consumer is asked to stop it.

        Raises:
            TaskNotFoundError: the ledger does not know it.
            TaskAlreadyEndedError: there is nothing to withdraw.

        """
        ...

    async def cancel_requests(self, task_ids: Collection[str]) -> frozenset[str]:
        """Return which of these running tasks are to be stopped."""
        ...

    async def cancel_waiting(self, queue: str, created_before: datetime) -> int:
        """Cancel what waits in ``queue``, scheduled tasks included; return how many."""
        ...

    async def oldest_waiting(self, queue: str) -> datetime | None:
        """Return when the oldest queued task of ``queue`` was created that was to start at once."""
        ...

    async def prune(self, ended_before: datetime, failed_before: datetime | None) -> int:
        """Forget one small batch of what ended, and of dead letters that failed; return how many: 0 if none is left."""
        ...


class HeldTasks(Protocol):
    """Tasks that the ledger itself holds until they are due."""

    async def hold(self, tasks: Sequence[Task]) -> None:
        """Keep tasks until their ``scheduled_for``; they are durable when this returns."""
        ...

    async def anything_due(self) -> bool:
        """Return whether a task or a tick of a schedule is due: one cheap query, for callers that ask every second."""
        ...

    async def due(
        self, limit: int, lease: timedelta, *, known: Collection[str] | None = None, without: Collection[str] = ()
    ) -> Sequence[Task]:
        """Return due tasks of the queues ``known``, but not of those ``without``; leased for ``lease``.

        Tasks of other queues are left to processes that know those; ``None`` knows all queues.

        Tasks of a group come in the order in which they are due, and none while an earlier one is leased. A process
        that crashes before ``promoted`` leaves them to the next.
        """
        ...

    async def promoted(self, task_ids: Collection[str]) -> None:
        """Stop holding tasks that their queue took."""
        ...

    async def release(self, task_ids: Collection[str]) -> None:
        """End the lease of tasks that could not be sent: they are due again at once."""
        ...


class IdempotencyStore(Protocol):
    """Claims on keys: of any number of requests at the same moment, in any process, one wins."""

    async def claim(self, requests: Sequence[ClaimRequest]) -> Sequence[ClaimOutcome]:
        """Claim keys for 30 s; outcomes come in the order given. A lapsed claim is taken over with its task id."""
        ...

    async def confirm(self, claims: Sequence[tuple[Claimed, bytes]]) -> None:
        """Remember what clients were told. Returns when it is written or kept for a later try; never raises."""
        ...

    async def free(self, claims: Sequence[Claimed]) -> None:
        """Forget claims whose tasks were definitely refused, unless taken over. Never raises, as ``confirm``."""
        ...


class ScheduleStore(Protocol):
    """Recurring tasks."""

    async def put(self, schedule: Schedule) -> bool:
        """Store a schedule under its name, by the rules of ``domain.schedules.replacing``; return whether it is new."""
        ...

    async def get(self, name: str) -> Schedule | None:
        """Return one schedule."""
        ...

    async def list_schedules(self, *, limit: int, cursor: str | None = None) -> Page[Schedule]:
        """Return schedules by name."""
        ...

    async def delete(self, name: str) -> bool:
        """Forget a schedule; return whether there was one."""
        ...

    async def run_due(self, plan: Callable[[Schedule], Tick], known: Collection[str] | None = None) -> int:
        """Hold the tasks of due ticks and move the schedules on, in one transaction; return how many tasks.

        Ticks of queues that are not ``known`` are left to other processes, as in ``HeldTasks.due``.
        ``plan`` never raises: one schedule would hold up all.
        """
        ...
