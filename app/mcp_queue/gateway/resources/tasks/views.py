"""Builds the answers of the enqueue routes by hand: going through their schemas would slow an enqueue down."""

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache, partial

from starlette.responses import Response

from mcp_queue.domain.formats.durations import in_seconds
from mcp_queue.domain.formats.serialization import format_time
from mcp_queue.domain.formats.strict_json import dumps
from mcp_queue.gateway.answers import JSON
from mcp_queue.gateway.problems import Problem, problem_or_logged
from mcp_queue.services.enqueueing.submission import Enqueued, Replayed

#: The status of an answer to a task that was accepted.
ACCEPTED = 202
_MULTI_STATUS = 207


def enqueued_answer(enqueued: Enqueued) -> Response:
    """Return the answer to an accepted task, a ``TaskView``."""
    headers = {"Location": f"/v1/tasks/{enqueued.task.id}"}
    return Response(enqueued_body(enqueued), ACCEPTED, headers, JSON)


def enqueued_body(enqueued: Enqueued) -> bytes:
    """Return a ``TaskView`` as JSON."""
    return dumps(enqueued_members(enqueued)).encode()


def replayed_answer(replayed: Replayed) -> Response:
    """Return what the first request with the same idempotency key was answered."""
    headers = {"Location": f"/v1/tasks/{_replayed_members(replayed)['id']}", "Idempotent-Replayed": "true"}
    return Response(replayed.answer, ACCEPTED, headers, JSON)


def batch_answer(verdicts: Sequence[Enqueued | Replayed | Exception], trace_id: str) -> Response:
    """Return the answer to a batch, a ``BatchView``.

    An unexpected error is the verdict on its own task alone, and is logged under ``trace_id``: others were accepted.
    """
    # One error may be the verdict on many tasks, and is logged once.
    problem_of = lru_cache(partial(problem_or_logged, trace_id=trace_id))
    results = [_verdict_members(index, verdict, problem_of) for index, verdict in enumerate(verdicts)]
    accepted = sum(not isinstance(verdict, Exception) for verdict in verdicts)
    members = {"accepted": accepted, "failed": len(results) - accepted, "results": results}
    status = ACCEPTED if accepted == len(results) else _MULTI_STATUS
    return Response(dumps(members).encode(), status, media_type=JSON)


def enqueued_members(enqueued: Enqueued) -> dict[str, object]:
    """Return the members of a ``TaskView``."""
    task = enqueued.task
    members: dict[str, object] = {
        "id": task.id,
        "queue": task.queue,
        "type": task.type,
        "priority": task.priority,
        "status": enqueued.status,
        "metadata": task.metadata,
        "created_at": format_time(task.created_at),
        "scheduled_for": _time_or_null(task.scheduled_for),
        "expires_at": _time_or_null(task.expires_at),
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


def _replayed_members(replayed: Replayed) -> dict[str, object]:
    members: dict[str, object] = json.loads(replayed.answer)
    return members


def _verdict_members(
    index: int, verdict: Enqueued | Replayed | Exception, problem_of: Callable[[Exception], Problem]
) -> dict[str, object]:
    if isinstance(verdict, Enqueued):
        return _accepted_members(index, verdict.task.id, deduplicated=verdict.deduplicated)
    if isinstance(verdict, Replayed):
        first = _replayed_members(verdict)
        return _accepted_members(index, first["id"], deduplicated="deduplicated" in first)
    problem = problem_of(verdict)
    return {"index": index, "status": problem.status, "error": {"code": problem.code, "detail": problem.detail}}


def _accepted_members(index: int, task_id: object, *, deduplicated: bool) -> dict[str, object]:
    members: dict[str, object] = {"index": index, "status": ACCEPTED, "id": task_id}
    return {**members, "deduplicated": True} if deduplicated else members


def _time_or_null(value: datetime | None) -> str | None:
    return None if value is None else format_time(value)
