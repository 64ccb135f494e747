"""Makes the HTTP request that the payload describes."""

from collections.abc import Mapping

from mcp_queue.domain.callbacks.headers import is_header_name, is_header_value
from mcp_queue.domain.enqueueing.payloads import WebhookPayload
from mcp_queue.domain.errors import InvalidPayloadError
from mcp_queue.domain.formats.strict_json import dumps
from mcp_queue.domain.task import JsonValue, Task
from mcp_queue.ports import CallbackRequest, CallbackSender
from mcp_queue.services.execution.callbacks import CallbackTimeouts, callback_result
from mcp_queue.services.execution.router import TaskRouter

router = TaskRouter()


@router.task("webhook", payload=WebhookPayload)
async def deliver(task: Task, payload: WebhookPayload, sender: CallbackSender, timeouts: CallbackTimeouts) -> JsonValue:
    """Return ``status`` and the JSON ``body`` of the answer.

    The request is not signed: it is the client's own words, and a signature would let them pass for this service's.

    Raises:
        InvalidPayloadError: a header is not one that a request may carry.
        RetryableError: the receiver cannot take it at the moment.
        PermanentError: the receiver refuses it, or its address may not be called.

    """
    content, content_type = _body(payload.body)
    headers = _checked(payload.headers)
    if content_type is not None and not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = content_type
    response = await sender.send(
        CallbackRequest(
            url=payload.url,
            method=payload.method,
            headers=headers,
            body=content,
            timeout=timeouts.of(task.queue),
        )
    )
    return {"status": response.status, "body": callback_result(response)}


def _body(body: JsonValue) -> tuple[bytes, str | None]:
    """Return a text as it is, everything else as JSON, and nothing for ``null``; each with its media type."""
    if body is None:
        return b"", None
    if isinstance(body, str):
        return body.encode(), "text/plain; charset=utf-8"
    return dumps(body).encode("ascii"), "application/json"


# Headers of the connection (RFC 9110, section 7.6.1) and of the message's framing. A client that could set them
# could make two requests out of one, or reach another virtual host.
_CONNECTION = frozenset({
    "connection", "content-length", "expect", "host", "keep-alive", "proxy-authenticate", "proxy-authorization",
    "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
})  # fmt: skip


def _checked(headers: Mapping[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not is_header_name(name) or not is_header_value(value):
            message = f"payload.headers.{name[:64]!r}: not an HTTP header of visible ASCII"
            raise InvalidPayloadError(message)
        if name.lower() in _CONNECTION:
            message = f"payload.headers.{name}: this header belongs to the connection"
            raise InvalidPayloadError(message)
    return dict(headers)
