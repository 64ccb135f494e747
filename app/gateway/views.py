"""Answers as JSON."""

from collections.abc import Sequence
from datetime import datetime

from starlette.responses import Response

from app.domain.durations import in_seconds
from app.domain.queues import QueueKind, QueueStats
from app.domain.serialization import format_time
from app.domain.strict_json import dumps
from app.services.queue_manager import QueueDescription
from app.services.submission import Enqueued, Replayed


def answer(members: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return ``members`` as a JSON answer."""
    return Response(dumps(members).encode(), status, headers, "application/json")


def replay(replayed: Replayed) -> Response:
    """Return what the first request with the same idempotency key was answered."""
    headers = {"Location": f"/v1/tasks/{replayed.task_id}", "Idempotent-Replayed": "true"}
    return Response(replayed.answer.body, replayed.answer.status, headers, "application/json")


def task_members(enqueued: Enqueued) -> dict[str, object]:
    """Return a task as clients see it."""
    task = enqueued.task
    members: dict[str, object] = {
        "id": task.id,
        "queue": task.queue,
        "type": task.type,
        "priority": task.priority,
        "status": enqueued.status,
        "metadata": task.metadata,
        "created_at": format_time(task.created_at),
        "scheduled_for": _time(task.scheduled_for),
        "expires_at": _time(task.expires_at),
        "max_retries": task.max_retries,
        "retry_count": task.retry_count,
        "visibility_timeout": in_seconds(enqueued.visibility_timeout),
        "callback_url": task.callback_url,
        "group": task.group,
        "payload": task.payload,
    }
    if enqueued.deduplicated:
        members["deduplicated"] = True
    return members


def queue_members(queue: QueueDescription) -> dict[str, object]:
    """Return a queue as clients see it."""
    spec = queue.spec
    priority = spec.kind is QueueKind.PRIORITY
    return {
        "name": spec.public_name,
        "kind": spec.kind,
        "backend": spec.backend,
        "dead_letter_queue": spec.dead_letter_queue,
        "holds_dead_letters": queue.holds_dead_letters,
        "paused": queue.paused,
        "configuration": {
            "visibility_timeout": in_seconds(spec.visibility_timeout),
            "max_receive_count": spec.max_receive_count,
            "max_retries": spec.max_retries,
            "max_depth": spec.max_depth,
            "max_task_bytes": spec.max_task_bytes,
            "message_group_id": spec.message_group_id,
            "failure_policy": spec.failure_policy if spec.fifo else None,
            "levels": {str(level): name for level, name in spec.levels.items()} if priority else None,
            "level_policy": spec.level_policy if priority else None,
        },
    }


def stats_members(stats: QueueStats) -> dict[str, object]:
    """Return what lies in a queue as clients see it."""
    age = stats.oldest_message_age
    return {
        "queue_name": stats.queue_name,
        "approximate_messages": stats.approximate_messages,
        "inflight_messages": stats.inflight_messages,
        "delayed_messages": stats.delayed_messages,
        "oldest_message_age": None if age is None else in_seconds(age),
        "dead_letters": stats.dead_letters,
        "paused": stats.paused,
        "attributes": dict(stats.attributes),
    }


def page(plural: str, items: Sequence[object]) -> dict[str, object]:
    """Return a list of which there are no further pages."""
    return {plural: items, "next_cursor": None}


def _time(value: datetime | None) -> str | None:
    return None if value is None else format_time(value)
