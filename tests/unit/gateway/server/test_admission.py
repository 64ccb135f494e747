"""Limits on requests, one request at a time."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest
from starlette.types import Message, Receive, Scope, Send

from mcp_queue.domain.delivery import Accepted
from mcp_queue.domain.task import Task
from mcp_queue.gateway.dependencies import RequestLimits
from mcp_queue.gateway.server.admission import AdmissionMiddleware
from mcp_queue.testing import InMemoryQueue
from tests.support.gateway import GatewayKit
from tests.support.http.application import JSON_TYPE, Answer, call
from tests.support.tasks import make_spec

TASKS = "/v1/queues/tasks/tasks"
BATCH = f"{TASKS}/batch"
KIBIBYTE = 1024


async def chunked(kit: GatewayKit, path: str, *chunks: bytes) -> Answer:
    """Post ``chunks`` without a Content-Length."""
    headers = JSON_TYPE | {"Transfer-Encoding": "chunked", "Content-Length": "0"}
    return await call(kit.app, "POST", path, content=chunks, headers=headers)


async def test_body_may_come_in_pieces(kit: GatewayKit) -> None:
    """A body is put together from as many chunks as it comes in."""
    assert 202 == (await chunked(kit, TASKS, b'{"type"', b': "echo"', b"}")).status


async def test_announced_body_over_the_limit_is_refused_unread() -> None:
    """Content-Length alone is enough for 413."""
    kit = GatewayKit(RequestLimits(max_task_bytes=100))
    headers = JSON_TYPE | {"Content-Length": str(100 + 64 * KIBIBYTE + 1)}
    answer = await call(kit.app, "POST", TASKS, content=b"", headers=headers)
    assert (413, "request_too_large", "close") == (answer.status, answer.json()["code"], answer.headers["connection"])


async def test_body_over_the_limit_is_refused_while_it_comes() -> None:
    """Without a Content-Length the bytes are counted as they are read."""
    kit = GatewayKit(RequestLimits(max_task_bytes=100))
    answer = await chunked(kit, TASKS, b" " * (64 * KIBIBYTE), b" " * 100, b" ")
    assert (413, "request_too_large") == (answer.status, answer.json()["code"])


async def test_body_at_the_limit_is_read() -> None:
    """The limit itself is allowed: the task may be as large as its queue takes, plus 64 KiB."""
    kit = GatewayKit(RequestLimits(max_task_bytes=100))
    body = b'{"type": "echo"}'.ljust(100 + 64 * KIBIBYTE)
    assert 202 == (await call(kit.app, "POST", TASKS, content=body, headers=JSON_TYPE)).status


async def test_batches_have_a_limit_of_their_own() -> None:
    """A batch may be larger than a task."""
    kit = GatewayKit(RequestLimits(max_task_bytes=100, max_request_bytes=200 * KIBIBYTE))
    body = b'{"tasks": [{"type": "echo"}]}'.ljust(200 * KIBIBYTE)
    assert 202 == (await call(kit.app, "POST", BATCH, content=body, headers=JSON_TYPE)).status
    answer = await call(kit.app, "POST", BATCH, content=body + b" ", headers=JSON_TYPE)
    assert (413, "request_too_large") == (answer.status, answer.json()["code"])


async def test_large_bodies_share_a_budget() -> None:
    """What does not fit beside what is held is put off; small bodies always fit."""
    kit = GatewayKit(RequestLimits(max_buffered_bytes=100 * KIBIBYTE))
    large, small = b'{"type": "echo"}'.ljust(101 * KIBIBYTE), b'{"type": "echo"}'.ljust(64 * KIBIBYTE)
    answer = await call(kit.app, "POST", TASKS, content=large, headers=JSON_TYPE)
    assert (503, "overloaded", "1") == (answer.status, answer.json()["code"], answer.headers["retry-after"])
    assert 202 == (await call(kit.app, "POST", TASKS, content=small, headers=JSON_TYPE)).status


@pytest.mark.parametrize("chunks", [[b'{"type": "echo"}'.ljust(90 * KIBIBYTE)], [b"x" * 90 * KIBIBYTE, b"\xff"]])
async def test_budget_is_given_back(chunks: list[bytes]) -> None:
    """A large body is forgotten once it is answered, whatever the answer is."""
    kit = GatewayKit(RequestLimits(max_buffered_bytes=100 * KIBIBYTE))
    statuses = {(await chunked(kit, TASKS, *chunks)).status for _ in range(3)}
    assert statuses in ({202}, {400})


async def test_budget_of_a_body_that_broke_off_is_given_back() -> None:
    """A client that goes away in the middle leaves nothing behind, and gets no answer."""
    kit = GatewayKit(RequestLimits(max_buffered_bytes=100 * KIBIBYTE))
    body = b'{"type": "echo"}'.ljust(90 * KIBIBYTE)
    for _ in range(3):
        answer = await call(kit.app, "POST", TASKS, content=[], headers=JSON_TYPE | {"Content-Length": "5"})
        assert 0 == answer.status
    assert 202 == (await call(kit.app, "POST", TASKS, content=body, headers=JSON_TYPE)).status
    gone = {"handler": "none", "method": "POST", "status": "4xx"}
    assert 3 == kit.registry.get_sample_value("http_request_duration_seconds_count", gone)


class Held(InMemoryQueue):
    """A queue that answers when it is told to."""

    go: asyncio.Event
    asked: asyncio.Semaphore

    async def enqueue(self, task: Task) -> Accepted:
        """Wait for ``go``."""
        self.asked.release()
        await self.go.wait()
        return await super().enqueue(task)


def held(max_in_work: int) -> tuple[GatewayKit, Held]:
    """Return a gateway with a queue that holds its requests, and that queue."""
    plain = GatewayKit()
    queue = Held(make_spec("held"), clock=plain.clock, serializer=plain.serializer)
    queue.go, queue.asked = asyncio.Event(), asyncio.Semaphore(0)
    return GatewayKit(RequestLimits(max_in_work=max_in_work), extra={"held": queue}), queue


async def held_requests(kit: GatewayKit, queue: Held, number: int) -> Sequence["asyncio.Task[Answer]"]:
    """Return requests that are being worked on."""
    path = "/v1/queues/held/tasks"
    requests = [asyncio.create_task(call(kit.app, "POST", path, json={"type": "a"})) for _ in range(number)]
    for _ in range(number):
        await queue.asked.acquire()
    return requests


async def test_more_requests_than_can_be_worked_on_are_put_off() -> None:
    """Beyond the limit the answer is 503 at once; as soon as one is done there is room again."""
    kit, queue = held(max_in_work=2)
    requests = await held_requests(kit, queue, 2)
    answer = await call(kit.app, "POST", TASKS, json={"type": "a"})
    assert (503, "overloaded", "1") == (answer.status, answer.json()["code"], answer.headers["retry-after"])
    queue.go.set()
    assert [202, 202] == [(await request).status for request in requests]
    assert 202 == (await call(kit.app, "POST", TASKS, json={"type": "a"})).status


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_overloaded_gateway_still_answers_those_who_watch_it(path: str) -> None:
    """Probes and metrics are served whatever the load, or an overload would end in a restart."""
    kit, queue = held(max_in_work=1)
    (request,) = await held_requests(kit, queue, 1)
    assert 200 == (await call(kit.app, "GET", path)).status
    queue.go.set()
    await request


async def test_cancelled_request_makes_room() -> None:
    """A request that ends by cancellation, as at the end of a drain, is no longer counted."""
    kit, queue = held(max_in_work=1)
    (request,) = await held_requests(kit, queue, 1)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert 202 == (await call(kit.app, "POST", TASKS, json={"type": "a"})).status


async def stalled(kit: GatewayKit) -> Answer:
    """Post a body that stops in the middle."""
    return await call(kit.app, "POST", TASKS, content=[b"{", None], headers=JSON_TYPE | {"Content-Length": "9"})


async def test_slow_body_is_given_up() -> None:
    """A body that is not complete in time is answered 503, and its connection closed."""
    kit = GatewayKit(RequestLimits(body_timeout=timedelta(milliseconds=80)))
    answer = await stalled(kit)
    assert (503, "overloaded", "close") == (answer.status, answer.json()["code"], answer.headers["connection"])
    assert "took too long" in answer.json()["detail"]


async def test_oldest_body_makes_room_for_a_new_one() -> None:
    """Where as many bodies are coming in as may, the one that takes longest is given up for the next."""
    kit = GatewayKit(RequestLimits(max_receiving=2))
    first, second = (asyncio.create_task(stalled(kit)) for _ in range(2))
    await asyncio.sleep(0)
    assert 202 == (await call(kit.app, "POST", TASKS, json={"type": "a"})).status
    assert 503 == (await first).status
    assert not second.done()
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second


async def test_answer_that_has_begun_is_broken_off() -> None:
    """A failure in the middle of an answer reaches the server, which closes the connection."""

    async def breaks_off(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await call(AdmissionMiddleware(breaks_off, GatewayKit().dependencies()), "GET", "/")


async def test_body_can_be_received_once_more() -> None:
    """Code that knows nothing of the middleware reads the body as it would from the server."""
    received: list[Message] = []

    async def reads(scope: Scope, receive: Receive, send: Send) -> None:
        received.extend([await receive(), await receive()])

    await call(AdmissionMiddleware(reads, GatewayKit().dependencies()), "POST", "/", content=[b"a", b"b"])
    assert [{"type": "http.request", "body": b"ab", "more_body": False}, {"type": "http.disconnect"}] == received


async def test_what_is_no_request_passes_through() -> None:
    """The middleware guards HTTP requests only."""
    passed: list[str] = []

    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        passed.append(scope["type"])

    async def receive() -> Message:
        return {}

    async def send(message: Message) -> None:
        pass

    await AdmissionMiddleware(other, GatewayKit().dependencies())({"type": "lifespan"}, receive, send)
    assert ["lifespan"] == passed
