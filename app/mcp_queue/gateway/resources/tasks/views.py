"""Builds the answers of the enqueue routes by hand: going through their schemas would slow an enqueue down."""

import json
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache, partial

from starlette.responses import Response

from mcp_queue.domain.formats.durations import in_seconds
from mcp_queue.domain.formats.serialization import format_time
from mcp_queue.domain.formats.strict_json import dumps
from mcp_queue.gateway.answers import JSON
from mcp_queue.gateway.problems import problem_or_logged
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


class BatchAnswer:
    """The answer to a batch, a ``BatchView``, which keeps no more of each task than it says.

    An unexpected error is the verdict on its own task alone, and is logged under ``trace_id``: others were accepted.
    """

    def __init__(self, trace_id: str) -> None:
        """Start without a verdict."""
        self._results: list[dict[str, object]] = []
        # One error may be the verdict on many tasks, and is logged once.
        self._problem_of = lru_cache(1)(partial(problem_or_logged, trace_id=trace_id))

    @property
    def count(self) -> int:
        """How many verdicts there are."""
        return len(self._results)

    def add(self, verdicts: Sequence[Enqueued | Replayed | Exception]) -> None:
        """Add the verdicts on the next tasks."""
        for verdict in verdicts:
            self._results.append(self._members(verdict))
            if isinstance(verdict, Exception):
                # Its frames hold what it is about, and themselves it: without this, until a full garbage collection.
                verdict.__traceback__ = verdict.__cause__ = None

    def response(self) -> Response:
        """Return the answer: 202 where every task was accepted, else 207."""
        accepted = sum(result["status"] == ACCEPTED for result in self._results)
        members = {"accepted": accepted, "failed": self.count - accepted, "results": self._results}
        status = ACCEPTED if accepted == self.count else _MULTI_STATUS
        return Response(dumps(members).encode(), status, media_type=JSON)

    def _members(self, verdict: Enqueued | Replayed | Exception) -> dict[str, object]:
        if isinstance(verdict, Enqueued):
            return _accepted_members(self.count, verdict.task.id, deduplicated=verdict.deduplicated)
        if isinstance(verdict, Replayed):
            first = _replayed_members(verdict)
            return _accepted_members(self.count, first["id"], deduplicated="deduplicated" in first)
        problem = self._problem_of(verdict)
        error = {"code": problem.code, "detail": problem.detail}
        return {"index": self.count, "status": problem.status, "error": error}


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


def _accepted_members(index: int, task_id: object, *, deduplicated: bool) -> dict[str, object]:
    members: dict[str, object] = {"index": index, "status": ACCEPTED, "id": task_id}
    return {**members, "deduplicated": True} if deduplicated else members


def _time_or_null(value: datetime | None) -> str | None:
    return None if value is None else format_time(value)
