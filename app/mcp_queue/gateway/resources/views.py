"""Answers as JSON."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

from starlette.responses import Response

from mcp_queue.domain.formats.durations import in_seconds
from mcp_queue.domain.formats.serialization import format_time
from mcp_queue.domain.formats.strict_json import dumps
from mcp_queue.domain.queues import QueueKind, QueueStats
from mcp_queue.domain.schedules import Schedule
from mcp_queue.domain.task import Task, TaskResult, TaskStatus
from mcp_queue.domain.task_states import RecordedAttempt
from mcp_queue.services.enqueueing.submission import Enqueued, Replayed
from mcp_queue.services.operators.task_records import TaskRecord
from mcp_queue.services.queues.manager import QueueDescription


def answer(members: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return ``members`` as a JSON answer."""
    return Response(dumps(members).encode(), status, headers, "application/json")


def replay(replayed: Replayed) -> Response:
    """Return what the first request with the same idempotency key was answered."""
    headers = {"Location": f"/v1/tasks/{replayed_members(replayed)['id']}", "Idempotent-Replayed": "true"}
    return Response(replayed.answer.body, replayed.answer.status, headers, "application/json")


def replayed_members(replayed: Replayed) -> dict[str, object]:
    """Return the task that the first request with the same idempotency key was answered."""
    members: dict[str, object] = json.loads(replayed.answer.body)
    return members


def task_members(enqueued: Enqueued) -> dict[str, object]:
    """Return a task as its client sees it."""
    members = _summary_members(enqueued.task, enqueued.status, enqueued.visibility_timeout)
    members["payload"] = enqueued.task.payload
    if enqueued.deduplicated:
        members["deduplicated"] = True
    return members


def record_members(record: TaskRecord) -> dict[str, object]:
    """Return a task with what came of it."""
    return {
        **record_summary_members(record),
        "payload": record.view.task.payload,
        "result": None if record.view.result is None else _result_members(record.view.result),
        "attempts": [attempt_members(attempt) for attempt in record.view.attempts],
    }


def record_summary_members(record: TaskRecord) -> dict[str, object]:
    """Return a task as a list shows it."""
    return _summary_members(record.view.task, record.view.status, record.visibility_timeout)


def attempt_members(attempt: RecordedAttempt) -> dict[str, object]:
    """Return an attempt that ended."""
    return {
        "attempt": attempt.attempt,
        "started_at": format_time(attempt.started_at),
        "duration": in_seconds(attempt.duration),
        "status": attempt.status,
        "error": attempt.error,
        "response_status": attempt.response_status,
    }


def _result_members(result: TaskResult) -> dict[str, object]:
    return {
        "task_id": result.task_id,
        "status": result.status,
        "result": result.result,
        "error": result.error,
        "duration": in_seconds(result.duration),
        "timestamp": format_time(result.timestamp),
    }


def _summary_members(task: Task, status: TaskStatus, visibility_timeout: timedelta | None) -> dict[str, object]:
    return {
        "id": task.id,
        "queue": task.queue,
        "type": task.type,
        "priority": task.priority,
        "status": status,
        "metadata": task.metadata,
        "created_at": format_time(task.created_at),
        "scheduled_for": time_or_null(task.scheduled_for),
        "expires_at": time_or_null(task.expires_at),
        "max_retries": task.max_retries,
        "retry_count": task.retry_count,
        "visibility_timeout": None if visibility_timeout is None else in_seconds(visibility_timeout),
        "callback_url": task.callback_url,
        "group": task.group,
    }


def schedule_members(schedule: Schedule) -> dict[str, object]:
    """Return a schedule as clients see it."""
    return {
        "name": schedule.name,
        "cron": schedule.cron,
        "timezone": schedule.timezone,
        "queue": schedule.queue,
        "task": schedule.task,
        "paused": schedule.paused,
        "misfire": schedule.misfire,
        "next_run_at": time_or_null(schedule.next_run_at),
        "last_run_at": time_or_null(schedule.last_run_at),
    }


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


def page(plural: str, items: Sequence[object], next_cursor: str | None = None) -> dict[str, object]:
    """Return a list, or the part of it before ``next_cursor``."""
    return {plural: items, "next_cursor": next_cursor}


def time_or_null(value: datetime | None) -> str | None:
    """Return a time as it is written, ``null`` where there is none."""
    return None if value is None else format_time(value)
