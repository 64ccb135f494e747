"""Builds the HTTP request that carries a task to a callback URL, and reads the result from its answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from urllib.parse import quote

from mcp_queue.domain.callbacks.signatures import webhook_id
from mcp_queue.domain.errors import MalformedJsonError
from mcp_queue.domain.formats.serialization import format_time
from mcp_queue.domain.formats.strict_json import dumps, loads
from mcp_queue.domain.task import JsonValue, Task
from mcp_queue.domain.task_states import MAX_RESULT_BYTES
from mcp_queue.ports import CallbackRequest, CallbackResponse

_DEFAULT_TIMEOUT = timedelta(seconds=30)
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
# Visible ASCII without the sign of the encoding itself.
_HEADER_SAFE = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")
# Text as ASCII JSON takes up to three times its UTF-8, and has to fit with its mark, or the mark would be cut too.
_KEPT_OF_A_CUT_BODY = MAX_RESULT_BYTES // 3 - 64


@dataclass(frozen=True, slots=True)
class CallbackTimeouts:
    """How long one call to a client's URL may take, by the name of the task's queue."""

    by_queue: Mapping[str, timedelta]

    def of(self, queue: str) -> timedelta:
        """Return the limit; 30 s for a queue that a foreign message made up."""
        return self.by_queue.get(queue, _DEFAULT_TIMEOUT)


def callback_request(
    task: Task,
    url: str,
    *,
    attempt: int,
    timeout: timedelta,
    headers: Mapping[str, str] = _NO_HEADERS,
    secrets: Sequence[str] | None = None,
) -> CallbackRequest:
    """Return the request of ``attempt`` (from 1); ``headers`` and ``secrets`` are those of the task's route."""
    return CallbackRequest(
        url=url,
        body=_body(task, attempt),
        timeout=timeout,
        headers={**headers, **_headers(task, attempt)},
        signed_as=webhook_id(task.id),
        secrets=secrets,
    )


def _body(task: Task, attempt: int) -> bytes:
    members = {
        "id": task.id,
        "type": task.type,
        "queue": task.queue,
        "priority": task.priority,
        "payload": task.payload,
        "metadata": task.metadata,
        "created_at": format_time(task.created_at),
        "attempt": attempt,
        "max_attempts": task.max_retries + 1,
    }
    return dumps(members).encode("ascii")


def _headers(task: Task, attempt: int) -> dict[str, str]:
    # Ids and types of other producers may hold what a header cannot.
    headers = {
        "Content-Type": "application/json",
        "X-Task-Id": quote(task.id, safe=_HEADER_SAFE),
        "X-Task-Type": quote(task.type, safe=_HEADER_SAFE),
        "X-Task-Queue": quote(task.queue, safe=_HEADER_SAFE),
        "X-Task-Attempt": str(attempt),
    }
    if task.traceparent is not None:
        headers["traceparent"] = quote(task.traceparent, safe=_HEADER_SAFE)
    return headers


def callback_result(response: CallbackResponse) -> JsonValue:
    """Return the answer's JSON body as the task's result, ``None`` where it has none.

    Of a body that was cut the beginning is the result, as text and marked as such.
    """
    media_type = response.content_type.partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        return None
    if response.truncated:
        return {"truncated": True, "text": response.body[:_KEPT_OF_A_CUT_BODY].decode("utf-8", "replace")}
    try:
        return loads(response.body)
    except MalformedJsonError:
        # The receiver took the task: an answer that cannot be read does not undo that.
        return None
