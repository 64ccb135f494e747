"""Routes that put tasks into queues."""

from fastapi import APIRouter
from starlette.responses import Response

from mcp_queue.domain.errors import FieldError, InvalidTaskError, MalformedJsonError
from mcp_queue.domain.formats.strict_json import check_size, dumps, loads
from mcp_queue.domain.operators.keys import KeyScope
from mcp_queue.domain.task import JsonValue
from mcp_queue.gateway.answers import JSON
from mcp_queue.gateway.resources.requests import QueueName
from mcp_queue.gateway.resources.tasks.schemas import BatchView, TaskBatch, TaskView
from mcp_queue.gateway.resources.tasks.views import (
    batch_answer,
    enqueued_answer,
    enqueued_body,
    replayed_answer,
)
from mcp_queue.gateway.server.documentation import RequestBody
from mcp_queue.gateway.server.request import NDJSON, GatewayRequest
from mcp_queue.gateway.server.routing import add_route
from mcp_queue.services.enqueueing.request import BatchTask, NewTask, read_new_task
from mcp_queue.services.enqueueing.rules import check_batch_size
from mcp_queue.services.enqueueing.submission import Draft, IdempotencyKey, Replayed, request_hash
from mcp_queue.services.enqueueing.validation import Location, invalid
from mcp_queue.services.queues.manager import QueueManager

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


class EnqueueRoutes:
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
            body=RequestBody(NewTask, _TASK_EXAMPLES),
            openapi_extra={"parameters": [_IDEMPOTENCY_KEY]},
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
            body=_batch_body(),
        )

    async def enqueue_task(self, request: GatewayRequest, queue: QueueName) -> Response:
        """Put one task into a queue. The answer comes when the queue has stored it durably."""
        value = request.json_value()
        draft = Draft(read_new_task(value, NewTask), _key(request.idempotency_key, value))
        verdict = await self._manager.enqueue(queue, draft, traceparent=request.traceparent)
        if isinstance(verdict, Replayed):
            return replayed_answer(verdict)
        return enqueued_answer(verdict)

    async def enqueue_tasks(self, request: GatewayRequest, queue: QueueName) -> Response:
        """Put up to 1,000 tasks into a queue, as one JSON document or as NDJSON with one task a line.

        Every task has its own verdict, in the order sent: an invalid one does not hold back the others.
        """
        if request.idempotency_key is not None:
            message = "a batch has an idempotency_key in each task instead"
            raise invalid(FieldError(("header", "Idempotency-Key"), message))
        read = _ndjson_tasks(request.content) if request.media_type(JSON, NDJSON) == NDJSON else _json_tasks(request)
        verdicts = await self._manager.enqueue_batch(queue, read, traceparent=request.traceparent)
        return batch_answer(verdicts, request.trace_id)


def _key(key: str | None, value: JsonValue) -> IdempotencyKey | None:
    return None if key is None else IdempotencyKey(key, request_hash(value), enqueued_body)


def _batch_body() -> RequestBody:
    lines = "".join(f"{dumps(task)}\n" for task in _BATCH_EXAMPLES["Two tasks"]["tasks"])
    ndjson = {"schema": {"type": "string", "description": "One task a line."}, "example": lines}
    return RequestBody(TaskBatch, _BATCH_EXAMPLES, other_forms={NDJSON: ndjson})


def _json_tasks(request: GatewayRequest) -> list[Draft | Exception]:
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
    # A line that is not UTF-8 fails by itself.
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
