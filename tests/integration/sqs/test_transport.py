"""Answers that are lost or no answers at all, over real connections."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from mcp_queue.adapters.sqs.backend import SqsBackend
from mcp_queue.domain.delivery import Accepted
from mcp_queue.domain.errors import BackendUnavailableError
from tests.support.metrics import CountedCalls
from tests.support.sqs.client import sqs_backend, sqs_spec
from tests.support.tasks import a_task

ARN = "arn:aws:sqs:us-east-1:111122223333:work"
URL = "https://sqs.us-east-1.amazonaws.com/111122223333/work"

Answer = Callable[[web.Request, list[bytes]], Awaitable[web.StreamResponse]]


async def accept(request: web.Request, _bodies: list[bytes]) -> web.Response:
    """Accept every entry."""
    entries = json.loads(await request.read())["Entries"]
    return web.json_response({"Successful": [{"Id": entry["Id"], "MessageId": "m"} for entry in entries]})


@asynccontextmanager
async def backend_on(answer: Answer, bodies: list[bytes], metrics: CountedCalls) -> AsyncIterator[SqsBackend]:
    """Provide a backend on a server that answers every call but those for attributes with ``answer``."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.headers["X-Amz-Target"] == "AmazonSQS.GetQueueAttributes":
            return web.json_response({"Attributes": {"QueueArn": ARN}})
        bodies.append(await request.read())
        return await answer(request, bodies)

    application = web.Application()
    application.router.add_post("/{path:.*}", handle)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with sqs_backend(
            sqs_spec("work", URL), region="us-east-1", endpoint_url=endpoint, metrics=metrics
        ) as backend:
            yield backend
    finally:
        await runner.cleanup()


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


async def test_a_batch_whose_answer_was_lost_is_sent_again_unchanged() -> None:
    """It may have been taken twice then, and never not at all."""

    async def lose_the_first(request: web.Request, bodies: list[bytes]) -> web.StreamResponse:
        if len(bodies) == 1:
            assert request.transport is not None
            request.transport.abort()
        return await accept(request, bodies)

    bodies: list[bytes] = []
    async with backend_on(lose_the_first, bodies, CountedCalls()) as backend:
        assert Accepted("m") == await backend.queue("work").enqueue(a_task("t-1"))
    first, second = map(json.loads, bodies)
    assert first == second


async def test_a_service_that_fails_is_asked_again() -> None:
    """A status of 503 is nobody's verdict on the task."""

    async def fail_the_first(request: web.Request, bodies: list[bytes]) -> web.StreamResponse:
        if len(bodies) == 1:
            return web.Response(status=503, text="<html>down</html>", content_type="text/html")
        return await accept(request, bodies)

    bodies: list[bytes] = []
    async with backend_on(fail_the_first, bodies, CountedCalls()) as backend:
        assert Accepted("m") == await backend.queue("work").enqueue(a_task("t-1"))


async def test_an_answer_that_is_no_json_is_none() -> None:
    """As of a proxy that means well."""

    async def babble(_request: web.Request, _bodies: list[bytes]) -> web.StreamResponse:
        return web.Response(text="<html>welcome</html>", content_type="text/html")

    async with backend_on(babble, [], CountedCalls()) as backend:
        with pytest.raises(BackendUnavailableError):
            await backend.queue("work").enqueue(a_task("t-1"))


async def test_an_entry_without_a_verdict_is_not_accepted() -> None:
    """Whatever the status of its call."""

    async def forget(_request: web.Request, _bodies: list[bytes]) -> web.StreamResponse:
        return web.json_response({"Successful": []})

    async with backend_on(forget, [], CountedCalls()) as backend:
        with pytest.raises(BackendUnavailableError):
            await backend.queue("work").enqueue(a_task("t-1"))


async def test_an_error_is_known_in_its_older_spelling() -> None:
    """As SQS sends it in a header beside the new one."""

    async def refuse(_request: web.Request, _bodies: list[bytes]) -> web.StreamResponse:
        return web.json_response(
            {"__type": "com.amazonaws.sqs#KmsDisabled", "message": "The key is disabled."},
            status=400,
            headers={"x-amzn-query-error": "KMS.DisabledException;Sender"},
        )

    metrics = CountedCalls()
    async with backend_on(refuse, [], metrics) as backend:
        with pytest.raises(BackendUnavailableError, match="KmsDisabled: The key is disabled"):
            await backend.queue("work").enqueue(a_task("t-1"))
    assert ["kms"] == metrics.outcomes("SendMessageBatch")
