"""The handlers that come with the product, between a task and their services."""

import json
from datetime import UTC, datetime, timedelta
from types import ModuleType

import pytest

from mcp_queue.domain.errors import InvalidPayloadError
from mcp_queue.domain.task import JsonValue, Task
from mcp_queue.handlers import echo, embedding, webhook
from mcp_queue.ports import CallbackRequest, CallbackResponse, CallbackSender, Embedding, EmbeddingClient
from mcp_queue.services.execution.callbacks import CallbackTimeouts

SECONDS_8 = timedelta(seconds=8)


class RecordingSender:
    """A sender that keeps requests and answers each alike."""

    def __init__(self) -> None:
        """Start without a request."""
        self.requests: list[CallbackRequest] = []

    async def send(self, request: CallbackRequest) -> CallbackResponse:
        """Keep ``request``."""
        self.requests.append(request)
        return CallbackResponse(status=202, content_type="application/json", body=b'{"ok":true}')


class FixedEmbeddings:
    """A client to which every text is alike."""

    async def embed(self, text: str, model: str) -> Embedding:
        """Return a short vector."""
        return Embedding(model=f"{model}-1", vector=[0.5, len(text)], usage={"total_tokens": 2})


async def run(module: ModuleType, payload: JsonValue, sender: RecordingSender | None = None) -> JsonValue:
    """Run the module's handler with every service it may ask for."""
    (task_type,) = module.router.types()
    task = Task(id="1", type=task_type, queue="q", created_at=datetime(2026, 1, 1, tzinfo=UTC), payload=payload)
    services: dict[type, object] = {
        CallbackSender: sender or RecordingSender(),
        CallbackTimeouts: CallbackTimeouts({"q": SECONDS_8}),
        EmbeddingClient: FixedEmbeddings(),
    }
    module.router.check(services)
    result: JsonValue = await module.router.run(task, services)
    return result


@pytest.mark.parametrize("payload", [None, {"a": [1, "ü"]}, "text"])
async def test_echo_returns_its_payload(payload: JsonValue) -> None:
    """Whatever it is."""
    assert payload == await run(echo, payload)


async def test_embedding_returns_model_vector_and_usage() -> None:
    """The model is the one that the endpoint names."""
    expected = {"model": "small-1", "embedding": [0.5, 3], "usage": {"total_tokens": 2}}

    assert expected == await run(embedding, {"text": "abc", "model": "small", "agent_id": "a"})


async def test_webhook_makes_the_request_of_its_payload() -> None:
    """Unsigned: the words are the client's own."""
    sender = RecordingSender()
    payload: JsonValue = {
        "url": "https://example.com/",
        "method": "PUT",
        "headers": {"X-Token": "t"},
        "body": {"a": "ü"},
        "retries": 2,
    }

    result = await run(webhook, payload, sender)

    expected = CallbackRequest(
        url="https://example.com/",
        method="PUT",
        headers={"X-Token": "t", "Content-Type": "application/json"},
        body=b'{"a":"\\u00fc"}',
        timeout=SECONDS_8,
    )
    assert [expected] == sender.requests
    assert {"status": 202, "body": {"ok": True}} == result


@pytest.mark.parametrize(
    ("body", "expected", "content_type"),
    [
        (None, b"", None),
        ("grün", "grün".encode(), "text/plain; charset=utf-8"),
        (0, b"0", "application/json"),
        ([1, 2], b"[1,2]", "application/json"),
    ],
)
async def test_webhook_sends_a_text_as_it_is_and_the_rest_as_json(
    body: JsonValue, expected: bytes, content_type: str | None
) -> None:
    """Nothing is sent for null."""
    sender = RecordingSender()

    await run(webhook, {"url": "https://example.com/", "body": body}, sender)

    (request,) = sender.requests
    assert (expected, content_type) == (request.body, request.headers.get("Content-Type"))


async def test_webhook_keeps_the_clients_content_type() -> None:
    """In whatever case it is written."""
    sender = RecordingSender()
    payload: JsonValue = {"url": "https://example.com/", "headers": {"content-type": "text/csv"}, "body": "a,b"}

    await run(webhook, payload, sender)

    assert {"content-type": "text/csv"} == sender.requests[0].headers


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("Host", "internal", "belongs to the connection"),
        ("content-length", "5", "belongs to the connection"),
        ("Transfer-Encoding", "chunked", "belongs to the connection"),
        ("CONNECTION", "keep-alive", "belongs to the connection"),
        ("Proxy-Authorization", "x", "belongs to the connection"),
        ("Upgrade", "h2c", "belongs to the connection"),
        ("X-A", "a\r\nX-B: b", "not an HTTP header"),
        ("X-A\r\nX-B", "b", "not an HTTP header"),
        ("X A", "b", "not an HTTP header"),
        ("", "b", "not an HTTP header"),
        ("X-A", "ü", "not an HTTP header"),
        ("X-A", "a\x00", "not an HTTP header"),
    ],
)
async def test_webhook_refuses_headers_that_could_bend_the_request(name: str, value: str, reason: str) -> None:
    """Framing and routing are this service's business."""
    sender = RecordingSender()

    with pytest.raises(InvalidPayloadError, match=reason):
        await run(webhook, json.loads(json.dumps({"url": "https://example.com/", "headers": {name: value}})), sender)
    assert sender.requests == []
