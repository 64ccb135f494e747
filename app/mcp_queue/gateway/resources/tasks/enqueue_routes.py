"""Putting tasks into queues."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from mcp_queue.domain.enqueueing.claims import Answer
from mcp_queue.domain.errors import FieldError, InvalidTaskError
from mcp_queue.domain.formats.strict_json import MalformedJsonError, check_size, dumps, loads
from mcp_queue.domain.operators.keys import KeyScope
from mcp_queue.domain.task import JsonValue
from mcp_queue.gateway.openapi import json_body
from mcp_queue.gateway.problems import problem_of
from mcp_queue.gateway.resources.schemas import BatchView, TaskBatch, TaskView
from mcp_queue.gateway.resources.views import answer, replay, replayed_members, task_members
from mcp_queue.gateway.server.request import JSON, NDJSON, Incoming
from mcp_queue.gateway.server.routing import QueueName, add_route
from mcp_queue.gateway.server.tracing import traceparent
from mcp_queue.services.enqueueing.request import BatchTask, NewTask, read_new_task
from mcp_queue.services.enqueueing.rules import check_batch_size
from mcp_queue.services.enqueueing.submission import Draft, Enqueued, IdempotencyKey, Replayed, request_hash
from mcp_queue.services.enqueueing.validation import Location, invalid
from mcp_queue.services.queues.manager import QueueManager

ACCEPTED = 202

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


_TASK_CODES = (
    "task_too_large", "delay_not_supported", "queue_full", "rate_limited", "ledger_disabled",
    "idempotency_in_progress", "idempotency_key_reused",
)  # fmt: skip


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
            scope=KeyScope.ENQUEUE,
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
            scope=KeyScope.ENQUEUE,
            status_code=202,
            summary="Enqueue up to 1,000 tasks",
            tags=["Tasks"],
            response_description="Every task was accepted.",
            responses={207: {"model": BatchView, "description": "Some tasks were not accepted."}},
            openapi_extra={"requestBody": _batch_body()},
        )

    async def enqueue_task(self, request: Incoming, queue: QueueName) -> Response:
        """Put one task into a queue. The answer comes when the queue has it for good."""
        value = request.json_value()
        draft = Draft(read_new_task(value, NewTask), _key(request.idempotency_key, value))
        verdict = await self._manager.enqueue(queue, draft, traceparent=traceparent(request.raw_headers))
        if isinstance(verdict, Replayed):
            return replay(verdict)
        response = answer(task_members(verdict), ACCEPTED, {"Location": f"/v1/tasks/{verdict.task.id}"})
        if verdict.claim is not None:
            await self._manager.confirm([(verdict.claim, Answer(ACCEPTED, bytes(response.body)))])
        return response

    async def enqueue_tasks(self, request: Incoming, queue: QueueName) -> Response:
        """Put up to 1,000 tasks into a queue, as one JSON document or as NDJSON with one task a line.

        Every task has its own verdict, in the order sent: an invalid one does not hold back the others.
        """
        if request.idempotency_key is not None:
            message = "a batch has an idempotency_key in each task instead"
            raise invalid(FieldError(("header", "Idempotency-Key"), message))
        read = _ndjson_tasks(request.content) if request.media_type(JSON, NDJSON) == NDJSON else _json_tasks(request)
        verdicts = await self._manager.enqueue_batch(queue, read, traceparent=traceparent(request.raw_headers))
        await self._manager.confirm([
            (verdict.claim, Answer(ACCEPTED, dumps(task_members(verdict)).encode()))
            for verdict in verdicts
            if isinstance(verdict, Enqueued) and verdict.claim is not None
        ])  # fmt: skip
        return _batch_answer(verdicts)


def _key(key: str | None, value: JsonValue) -> IdempotencyKey | None:
    return None if key is None else IdempotencyKey(key, request_hash(value))


def _batch_body() -> dict[str, Any]:
    body = json_body(TaskBatch, _BATCH_EXAMPLES)
    lines = "".join(f"{dumps(task)}\n" for task in _BATCH_EXAMPLES["Two tasks"]["tasks"])
    body["content"][NDJSON] = {"schema": {"type": "string", "description": "One task a line."}, "example": lines}
    return body


def _json_tasks(request: Incoming) -> list[Draft | Exception]:
    value = request.json_value()
    tasks = value.get("tasks") if isinstance(value, dict) and len(value) == 1 else None
    if not isinstance(tasks, list):
        raise invalid(FieldError(("body",), 'expected an object with one member, the array "tasks"'))
    check_batch_size(len(tasks))
    return [_read(task, ("body", "tasks", index)) for index, task in enumerate(tasks)]


def _ndjson_tasks(body: bytes) -> list[Draft | Exception]:
    body = body.removesuffix(b"\n")
    check_batch_size(body.count(b"\n") + 1 if body else 0)
    lines = body.split(b"\n")
    # Whatever is no UTF-8 is its line's own mistake.
    check_size([line.decode(errors="replace") for line in lines])
    tasks: list[Draft | Exception] = []
    for index, line in enumerate(lines):
        try:
            tasks.append(_read(loads(line), ("body", index)))
        except MalformedJsonError as error:
            tasks.append(error)
    return tasks


def _read(value: JsonValue, loc: Location) -> Draft | Exception:
    try:
        new = read_new_task(value, BatchTask, loc)
        return Draft(new, _key(new.idempotency_key, value))
    except InvalidTaskError as error:
        return error


def _batch_answer(verdicts: Sequence[Enqueued | Replayed | Exception]) -> Response:
    results = [_verdict_members(index, verdict) for index, verdict in enumerate(verdicts)]
    accepted = sum(not isinstance(verdict, Exception) for verdict in verdicts)
    members = {"accepted": accepted, "failed": len(results) - accepted, "results": results}
    return answer(members, ACCEPTED if accepted == len(results) else 207)


def _verdict_members(index: int, verdict: Enqueued | Replayed | Exception) -> dict[str, object]:
    if isinstance(verdict, Enqueued | Replayed):
        task = task_members(verdict) if isinstance(verdict, Enqueued) else replayed_members(verdict)
        members: dict[str, object] = {"index": index, "status": ACCEPTED, "id": task["id"]}
        return {**members, "deduplicated": True} if "deduplicated" in task else members
    problem = problem_of(verdict)
    if problem is None:
        raise verdict
    return {"index": index, "status": problem.status, "error": {"code": problem.code, "detail": problem.detail}}
