"""Putting tasks into queues."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from app.domain.errors import FieldError, InvalidTaskError
from app.domain.strict_json import MalformedJsonError, dumps, loads
from app.domain.task import JsonValue
from app.gateway.incoming import JSON, NDJSON, Incoming
from app.gateway.openapi import json_body
from app.gateway.problems import problem_of
from app.gateway.routing import QueueName, add_route
from app.gateway.schemas import BatchView, TaskBatch, TaskView
from app.gateway.tracing import traceparent
from app.gateway.views import answer, task_members
from app.services.enqueueing import check_batch_size
from app.services.new_task import BatchTask, NewTask, read_new_task
from app.services.queue_manager import Enqueued, QueueManager
from app.services.validation import Location, invalid

_TASK_EXAMPLES = {
    "A task for a built-in handler": {"type": "echo", "payload": {"hello": "world"}},
    "A task delivered to a URL in five minutes": {
        "type": "order.paid",
        "payload": {"order_id": 4711},
        "metadata": {"source": "shop"},
        "delay": "5m",
        "max_retries": 5,
        "callback_url": "https://example.com/hooks/orders",
    },
}
_BATCH_EXAMPLES = {
    "Two tasks": {"tasks": [{"type": "echo", "payload": {"n": 1}}, {"type": "echo", "payload": {"n": 2}}]},
}
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same key and body within 24 hours gives the first answer again.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}


_TASK_CODES = ("task_too_large", "delay_not_supported", "queue_full", "rate_limited", "ledger_disabled")


class TaskRoutes:
    """``/v1/queues/{queue}/tasks``."""

    def __init__(self, manager: QueueManager) -> None:
        """Put tasks into the queues of ``manager``."""
        self._manager = manager

    def add_to(self, router: APIRouter) -> None:
        """Register the routes."""
        codes = ("malformed_json", "not_found", "queue_not_found", "backend_unavailable")
        add_route(
            router,
            "POST /v1/queues/{queue}/tasks",
            self.enqueue_task,
            view=TaskView,
            refused=(*codes, *_TASK_CODES),
            status_code=202,
            summary="Enqueue a task",
            tags=["Tasks"],
            response_description="The queue has the task.",
            openapi_extra={"requestBody": json_body(NewTask, _TASK_EXAMPLES), "parameters": [_IDEMPOTENCY_KEY]},
        )
        add_route(
            router,
            "POST /v1/queues/{queue}/tasks/batch",
            self.enqueue_tasks,
            view=BatchView,
            refused=codes,
            status_code=202,
            summary="Enqueue up to 1,000 tasks",
            tags=["Tasks"],
            response_description="Every task was accepted.",
            responses={207: {"model": BatchView, "description": "Some tasks were not accepted."}},
            openapi_extra={"requestBody": _batch_body()},
        )

    async def enqueue_task(self, request: Incoming, queue: QueueName) -> Response:
        """Put one task into a queue. The answer comes when the queue has it for good."""
        new = read_new_task(request.json_value(), NewTask)
        enqueued = await self._manager.enqueue(
            queue, new, idempotency_key=request.idempotency_key, traceparent=traceparent(request.raw_headers)
        )
        return answer(task_members(enqueued), 202, {"Location": f"/v1/tasks/{enqueued.task.id}"})

    async def enqueue_tasks(self, request: Incoming, queue: QueueName) -> Response:
        """Put up to 1,000 tasks into a queue, as one JSON document or as NDJSON with one task a line.

        Every task has its own verdict, in the order sent: an invalid one does not hold back the others.
        """
        if request.idempotency_key is not None:
            message = "a batch has an idempotency_key in each task instead"
            raise invalid(FieldError(("header", "Idempotency-Key"), message))
        read = _ndjson_tasks(request.content) if request.media_type(JSON, NDJSON) == NDJSON else _json_tasks(request)
        return _batch_answer(
            await self._manager.enqueue_batch(queue, read, traceparent=traceparent(request.raw_headers))
        )


def _batch_body() -> dict[str, Any]:
    body = json_body(TaskBatch, _BATCH_EXAMPLES)
    lines = "".join(f"{dumps(task)}\n" for task in _BATCH_EXAMPLES["Two tasks"]["tasks"])
    body["content"][NDJSON] = {"schema": {"type": "string", "description": "One task a line."}, "example": lines}
    return body


def _json_tasks(request: Incoming) -> list[BatchTask | Exception]:
    value = request.json_value()
    tasks = value.get("tasks") if isinstance(value, dict) and len(value) == 1 else None
    if not isinstance(tasks, list):
        raise invalid(FieldError(("body",), 'expected an object with one member, the array "tasks"'))
    check_batch_size(len(tasks))
    return [_read(task, ("body", "tasks", index)) for index, task in enumerate(tasks)]


def _ndjson_tasks(body: bytes) -> list[BatchTask | Exception]:
    body = body.removesuffix(b"\n")
    check_batch_size(body.count(b"\n") + 1 if body else 0)
    tasks: list[BatchTask | Exception] = []
    for index, line in enumerate(body.split(b"\n")):
        try:
            tasks.append(_read(loads(line), ("body", index)))
        except MalformedJsonError as error:
            tasks.append(error)
    return tasks


def _read(value: JsonValue, loc: Location) -> BatchTask | Exception:
    try:
        return read_new_task(value, BatchTask, loc)
    except InvalidTaskError as error:
        return error


def _batch_answer(verdicts: Sequence[Enqueued | Exception]) -> Response:
    results = [_verdict_members(index, verdict) for index, verdict in enumerate(verdicts)]
    accepted = sum(isinstance(verdict, Enqueued) for verdict in verdicts)
    members = {"accepted": accepted, "failed": len(results) - accepted, "results": results}
    return answer(members, 202 if accepted == len(results) else 207)


def _verdict_members(index: int, verdict: Enqueued | Exception) -> dict[str, object]:
    if isinstance(verdict, Enqueued):
        members: dict[str, object] = {"index": index, "status": 202, "id": verdict.task.id}
        return {**members, "deduplicated": True} if verdict.deduplicated else members
    problem = problem_of(verdict)
    if problem is None:
        raise verdict
    return {"index": index, "status": problem.status, "error": {"code": problem.code, "detail": problem.detail}}
