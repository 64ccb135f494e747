"""What travels beside a body, and how a body is read back."""

from mcp_queue.domain.delivery import DeadLetterMessage
from mcp_queue.domain.errors import InvalidTaskError, TaskTooLargeError
from mcp_queue.domain.formats.serialization import MessageFacts, TaskSerializer, format_time
from mcp_queue.domain.queues import QueueSpec
from mcp_queue.domain.task import Task

TRACEPARENT = "traceparent"
_GROWTH = 1024


def body_within_limit(task: Task, spec: QueueSpec, serializer: TaskSerializer) -> str:
    """Return the body of ``task``'s message.

    Raises:
        TaskTooLargeError: it is over the queue's ``max_task_bytes``.

    """
    body = serializer.dumps(task)
    size = len(body) if body.isascii() else len(body.encode())
    # A redriven task was taken before, and has grown by its count.
    if size > spec.max_task_bytes + (_GROWTH if task.redrive_count else 0):
        raise TaskTooLargeError(spec.max_task_bytes, size)
    return body


def attributes_of(task: Task) -> dict[str, str]:
    """Return the attributes of ``task``'s message."""
    return {} if task.traceparent is None else {TRACEPARENT: task.traceparent}


def attributes_of_raw(dead_letter: DeadLetterMessage) -> dict[str, str]:
    """Return what a dead letter that is no task carries beside its body."""
    return {
        "failure_reason": dead_letter.reason,
        "failed_at": format_time(dead_letter.failed_at),
        "original_queue": dead_letter.original_queue,
    }


def read_body(body: str, facts: MessageFacts, serializer: TaskSerializer) -> tuple[Task | None, str | None]:
    """Return the task, or ``None`` and why the body is none."""
    try:
        return serializer.loads(body, facts), None
    except InvalidTaskError as error:
        return None, str(error)
