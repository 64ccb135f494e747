"""Routes that put tasks into queues."""

from fastapi import APIRouter
from starlette.responses import Response

from mcp_queue.domain.errors import FieldError, InvalidTaskError
from mcp_queue.domain.formats.strict_json import dumps
from mcp_queue.domain.operators.keys import KeyScope
from mcp_queue.domain.task import JsonValue
from mcp_queue.gateway.answers import JSON
from mcp_queue.gateway.resources.requests import QueueName
from mcp_queue.gateway.resources.tasks.batches import BatchReader
from mcp_queue.gateway.resources.tasks.schemas import BatchView, TaskBatch, TaskView
from mcp_queue.gateway.resources.tasks.views import (
    BatchAnswer,
    enqueued_answer,
    enqueued_body,
    replayed_answer,
)
from mcp_queue.gateway.server.documentation import RequestBody
from mcp_queue.gateway.server.request import NDJSON, GatewayRequest
from mcp_queue.gateway.server.routing import add_route
from mcp_queue.services.enqueueing.request import BatchTask, NewTask, read_new_task
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

    def __init__(self, manager: QueueManager, max_task_text: int) -> None:
        """Put tasks into the queues of ``manager``; in a batch each may have ``max_task_text`` bytes as it comes."""
        self._manager = manager
        self._reader = BatchReader(_read, max_task_text)

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
        read = self._reader.read_lines if request.media_type(JSON, NDJSON) == NDJSON else self._reader.read_json
        batch, answer = read(request.content), BatchAnswer(request.trace_id)
        for entries in batch.slices:
            try:
                verdicts = await self._manager.enqueue_batch(queue, entries, traceparent=request.traceparent)
            except Exception as error:  # what was sent before was accepted, and the client has to learn it
                if not answer.count:
                    raise
                answer.add([error] * (batch.count - answer.count))
                break
            answer.add(verdicts)
            del entries, verdicts  # before the next are read
        return answer.response()


def _key(key: str | None, value: JsonValue) -> IdempotencyKey | None:
    return None if key is None else IdempotencyKey(key, request_hash(value), enqueued_body)


def _batch_body() -> RequestBody:
    lines = "".join(f"{dumps(task)}\n" for task in _BATCH_EXAMPLES["Two tasks"]["tasks"])
    ndjson = {"schema": {"type": "string", "description": "One task a line."}, "example": lines}
    return RequestBody(TaskBatch, _BATCH_EXAMPLES, other_forms={NDJSON: ndjson})


def _read(value: JsonValue, loc: Location) -> Draft | Exception:
    try:
        new = read_new_task(value, BatchTask, loc)
        return Draft(new, _key(new.idempotency_key, value))
    except InvalidTaskError as error:
        return error
