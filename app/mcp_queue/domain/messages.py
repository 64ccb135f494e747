"""Converts between tasks and the bodies and attributes of messages, for backends that store text."""

from datetime import datetime

from mcp_queue.domain.dead_letters.notes import failure_notes
from mcp_queue.domain.delivery import DeadLetterMessage, Delivery
from mcp_queue.domain.errors import InvalidTaskError, TaskTooLargeError
from mcp_queue.domain.formats.serialization import MessageFacts, TaskSerializer
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
    """Return the attributes of a dead letter whose body is not a task."""
    return failure_notes(dead_letter.reason, dead_letter.failed_at, dead_letter.original_queue)


def read_task(delivery: Delivery, spec: QueueSpec, serializer: TaskSerializer, now: datetime) -> None:
    """Set the delivery's task, or its poison: the reason why its body is not a task.

    ``now`` stands in for the time of sending where the backend does not know it.
    """
    facts = MessageFacts(
        message_id=delivery.task_id,
        queue=spec.public_name,
        sent_at=delivery.sent_at or now,
        max_retries=spec.max_retries,
        group=delivery.group,
        traceparent=delivery.attributes.get(TRACEPARENT),
    )
    try:
        delivery.task = serializer.loads(delivery.body, facts)
    except InvalidTaskError as error:
        delivery.poison = str(error)
