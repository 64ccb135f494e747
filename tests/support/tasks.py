"""Tasks, and the records and queue specs around them, with defaults for what a test does not care about."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

from mcp_queue.domain.dead_letters.dead_letter import DeadLetter
from mcp_queue.domain.queues import Backend, QueueKind, QueueSpec
from mcp_queue.domain.task import Task, TaskStatus
from mcp_queue.ports import AttemptRecord, AttemptStart
from tests.support.clock import START

_ids = count(1)


def a_task(task_id: str | None = None, **members: Any) -> Task:
    """Return a task with an id of its own."""
    given: Mapping[str, Any] = {"type": "embedding", "queue": "tasks", "created_at": START, **members}
    return Task(id=task_id or f"task-{next(_ids):06}", **given)


def task_ids(tasks: Iterable[Task]) -> list[str]:
    """Return the ids of tasks, in their order."""
    return [task.id for task in tasks]


def an_execution(task: Task, **members: Any) -> AttemptStart:
    """Return an execution of ``task`` as its message tells it."""
    given = {"attempt": task.retry_count + 1, "counts_itself": True, "started_at": START, **members}
    return AttemptStart(task=task, **given)


def an_end(task: Task, status: TaskStatus = TaskStatus.COMPLETED, **members: Any) -> AttemptRecord:
    """Return how the attempt of ``task`` ended that its message tells."""
    given = {
        "queue": task.queue,
        "attempt": task.retry_count + 1,
        "started_at": START,
        "duration": timedelta(seconds=2),
        **members,
    }
    return AttemptRecord(task=task, status=status, **given)


def a_dead_letter(task: Task, **members: Any) -> DeadLetter:
    """Return ``task`` as a dead letter."""
    given = {"failure_reason": "it broke", "failed_at": START, "attempts": task.retry_count + 1, **members}
    return DeadLetter(task_id=task.id, redrive_count=task.redrive_count, queue=task.queue, task=task, **given)


def make_spec(name: str = "tasks", kind: QueueKind = QueueKind.STANDARD, **members: Any) -> QueueSpec:
    """Return the spec of a queue in memory; ``members`` replace the defaults."""
    return replace(QueueSpec(name=name, kind=kind, backend=Backend.MEMORY), **members)


def standard(name: str = "tasks", **members: Any) -> QueueSpec:
    """Return the spec of a standard queue with a dead-letter queue."""
    return make_spec(name, **{"dead_letter_queue": "dlq", **members})


def fifo(name: str = "orders", **members: Any) -> QueueSpec:
    """Return the spec of a FIFO queue with a dead-letter queue."""
    return standard(name, kind=QueueKind.FIFO, max_receive_count=100, **members)
