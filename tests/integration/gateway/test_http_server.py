"""The gateway behind a real server, asked by clients that behave and by clients that do not."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mcp_queue.adapters.clock import SystemClock
from mcp_queue.adapters.sqlite import SqliteBackend
from mcp_queue.domain.delivery import Accepted
from mcp_queue.domain.formats.serialization import JsonTaskSerializer
from mcp_queue.domain.queues import Backend, QueueKind, QueueSpec
from mcp_queue.domain.task import Task
from mcp_queue.gateway.dependencies import RequestLimits
from mcp_queue.gateway.server.connection_limits import GuardedProtocol
from mcp_queue.testing import InMemoryQueue
from tests.support.gateway import GatewayKit
from tests.support.http.application import PATIENCE, RawClient, connected, post, serving
from tests.support.tasks import make_spec

TASKS = "/v1/queues/tasks/tasks"
TASK = b'{"type": "echo"}'


async def test_concurrent_clients_are_all_served() -> None:
    """64 clients at once each get a task of their own."""
    kit = GatewayKit()
    async with serving(kit.app) as server, aiohttp.ClientSession(server.url) as session:

        async def enqueue(number: int) -> str:
            async with session.post(TASKS, json={"type": "echo", "payload": number}) as response:
                assert 202 == response.status
                return str((await response.json())["id"])

        ids = await asyncio.gather(*(enqueue(number) for number in range(64)))
    assert 64 == len(set(ids))
    assert 64 == (await kit.tasks.stats()).approximate_messages


async def test_accepted_task_is_in_the_embedded_queue(tmp_path: Path) -> None:
    """Behind a 202 stands a task in the file, which outlives the gateway."""
    path = tmp_path / "queue.db"
    clock, spec = SystemClock(), QueueSpec(name="kept", kind=QueueKind.STANDARD, backend=Backend.SQLITE)
    async with SqliteBackend(path, clock=clock, serializer=JsonTaskSerializer()) as backend:
        kit = GatewayKit(extra={"kept": backend.queue(spec)})
        async with serving(kit.app) as server, aiohttp.ClientSession(server.url) as session:

            async def enqueue() -> int:
                async with session.post("/v1/queues/kept/tasks", json={"type": "echo"}) as answer:
                    return answer.status

            assert [202] * 64 == await asyncio.gather(*(enqueue() for _ in range(64)))
    async with SqliteBackend(path, clock=clock, serializer=JsonTaskSerializer()) as backend:
        assert 64 == (await backend.queue(spec).stats()).approximate_messages


async def test_pipelined_requests_are_answered_in_order() -> None:
    """Requests that come in one segment are answered one after the other."""
    async with serving(GatewayKit().app) as server, connected(server) as client:
        await client.send(post(TASKS, TASK) + post("/v1/queues/nope/tasks", TASK) + post(TASKS, TASK))
        assert [202, 404, 202] == [(await client.answer()).status for _ in range(3)]


async def test_head_request_is_answered_without_a_body() -> None:
    """The length is that of GET; the next answer on the connection is not mistaken for a body."""
    async with (
        serving(GatewayKit().app) as server,
        aiohttp.ClientSession(server.url) as session,
        session.head("/healthz") as head,
        session.get("/healthz") as get,
    ):
        assert (200, b"") == (head.status, await head.read())
        assert str(len(await get.read())) == head.headers["Content-Length"]


async def test_chunked_body_is_read() -> None:
    """A body without a length is read to its end."""
    head = f"POST {TASKS} HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with serving(GatewayKit().app) as server, connected(server) as client:
        await client.send(head.encode() + b"5\r\n" + TASK[:5] + b"\r\n")
        await client.send(b"b\r\n" + TASK[5:] + b"\r\n0\r\n\r\n")
        assert 202 == (await client.answer()).status


async def test_endless_chunked_body_is_cut_off() -> None:
    """A client that never stops sending reads its 413, and is closed."""
    kit = GatewayKit(RequestLimits(max_task_bytes=1000))
    head = f"POST {TASKS} HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with serving(kit.app) as server, connected(server) as client:
        await client.send(head.encode())
        flood = asyncio.create_task(_flood(client, b"8000\r\n" + b" " * 0x8000 + b"\r\n"))
        answer = await client.answer()
        assert (413, "request_too_large") == (answer.status, answer.json()["code"])
        with pytest.raises(ConnectionError):
            await flood


async def _flood(client: RawClient, data: bytes) -> None:
    while True:
        await client.send(data)


async def test_announced_giant_is_refused_before_it_is_sent() -> None:
    """A Content-Length of a gibibyte is answered at once, and the answer arrives although the client sends on."""
    async with serving(GatewayKit().app) as server, connected(server) as client:
        await client.send(post(TASKS, b" " * 1_000_000, length=1024**3))
        answer = await client.answer()
        assert (413, "close") == (answer.status, answer.headers["connection"])
        await client.close()


async def test_client_that_asks_first_is_told_to_continue_or_not() -> None:
    """``Expect: 100-continue`` gets 100 where the body would be read, and the refusal where it would not."""
    async with serving(GatewayKit().app) as server:
        async with connected(server) as client:
            await client.send(post(TASKS, b"", length=len(TASK), Expect="100-continue"))
            assert b"HTTP/1.1 100 Continue\r\n\r\n" == await client.read(25)
            await client.send(TASK)
            assert 202 == (await client.answer()).status
        async with connected(server) as client:
            await client.send(post(TASKS, b"", length=10**9, Expect="100-continue"))
            assert 413 == (await client.answer()).status
            assert await client.closed()


async def test_slow_bodies_shut_nobody_out() -> None:
    """More stalled bodies than may be coming in at once: the oldest make room, and others are served meanwhile."""
    kit = GatewayKit(RequestLimits(max_receiving=8, max_in_work=4))
    async with serving(kit.app) as server, AsyncExitStack() as stack:
        slow = [await stack.enter_async_context(connected(server)) for _ in range(16)]
        for client in slow:
            await client.send(post(TASKS, b"{", length=len(TASK)))
        async with connected(server) as client:
            await client.send(post(TASKS, TASK))
            assert 202 == (await client.answer()).status
        refused = await slow[0].answer()
        assert (503, "overloaded", "close") == (refused.status, refused.json()["code"], refused.headers["connection"])
        assert await slow[0].closed()
        await slow[-1].send(TASK[1:])
        assert 202 == (await slow[-1].answer()).status


async def test_body_has_to_be_complete_in_time() -> None:
    """A body that stops in the middle is answered and closed once its time is over."""
    kit = GatewayKit(RequestLimits(body_timeout=timedelta(milliseconds=100)))
    async with serving(kit.app) as server, connected(server) as client:
        await client.send(post(TASKS, b"{", length=len(TASK)))
        assert 503 == (await client.answer()).status
        assert await client.closed()


class Impatient(GuardedProtocol):
    """The limits of production, without the waiting."""

    head_seconds = 0.1
    head_bytes = 2000
    stalled_seconds = 0.1


@pytest.mark.parametrize("sent", [b"", b"POST /v1/queues HTTP/1.1\r\nHost: t\r\n"])
async def test_head_has_to_be_complete_in_time(sent: bytes) -> None:
    """A connection on which no request comes is closed; so is one on which it stops in the middle of its head."""
    async with serving(GatewayKit().app, Impatient) as server, connected(server) as client:
        await client.send(sent)
        assert await client.closed()


async def test_used_connection_has_to_be_complete_in_time_again() -> None:
    """The next request on a connection has the time of a head from its first byte."""
    async with serving(GatewayKit().app, Impatient) as server, connected(server) as client:
        await client.send(post(TASKS, TASK))
        assert 202 == (await client.answer()).status
        await client.send(b"POST /v1")
        assert await client.closed()


async def test_endless_head_is_cut_off() -> None:
    """Headers without end hold no memory."""
    async with serving(GatewayKit().app, Impatient) as server, connected(server) as client:
        await client.send(b"GET /healthz HTTP/1.1\r\n")
        with pytest.raises(ConnectionError):
            await _flood(client, b"X-Header: " + b"x" * 90 + b"\r\n")


async def test_client_that_reads_nothing_is_given_up() -> None:
    """Answers that nobody reads are held for a while only."""
    lost = asyncio.Event()

    class Watched(Impatient):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            lost.set()

    async with serving(GatewayKit().app, Watched) as server, connected(server) as client:
        for _ in range(Watched.max_pipelined):
            await client.send(b"GET /openapi.json HTTP/1.1\r\nHost: t\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            await lost.wait()


async def test_closing_does_not_wait_for_a_client_that_reads_nothing() -> None:
    """The rest of a last answer is dropped after a while, however little it is."""
    lost = asyncio.Event()

    class Watched(Impatient):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            lost.set()

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        # More than all buffers on the way hold, so that some of it is left; what waits to be written is little then.
        await Response(b" " * 64_000_000, headers={"Connection": "close"})(scope, receive, send)

    async with serving(answer, Watched) as server, connected(server) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            await lost.wait()


@pytest.mark.parametrize(
    ("lines", "refusal"),
    [
        ("Host: a\r\nHost: b", (400, "malformed_request")),
        ("Host: a\r\nTransfer-Encoding: gzip, chunked", (501, "not_supported")),
        ("Host: a\r\nTransfer-Encoding: chunked, gzip", (400, "malformed_request")),
        ("Host: a\r\nContent-Length: 3\r\nContent-Length: 4", (400, "malformed_request")),
        ("no colon", (400, "malformed_request")),
    ],
)
async def test_wrong_head_is_answered_with_a_problem(lines: str, refusal: tuple[int, str]) -> None:
    """Whether the parser refuses it or the gateway itself."""
    async with serving(GatewayKit().app) as server, connected(server) as client:
        await client.send(f"POST {TASKS} HTTP/1.1\r\n{lines}\r\nContent-Type: application/json\r\n\r\n".encode())
        answer = await client.answer()
        assert refusal == (answer.status, answer.json()["code"])
        assert "application/problem+json" == answer.headers["content-type"]
        if "Host: b" not in lines:
            assert "close" == answer.headers["connection"]
            assert await client.closed()


async def test_bytes_behind_a_request_get_no_answer_before_its_own() -> None:
    """The client would take the problem of the second for the answer to the first."""
    queue = Held(GatewayKit())
    async with serving(GatewayKit(extra={"held": queue}).app) as server, connected(server) as client:
        await client.send(post("/v1/queues/held/tasks", TASK) + b"no request\r\n\r\n")
        assert await client.closed()


async def test_flood_of_headers_is_cut_off() -> None:
    """Many small headers are refused as one large head is; as many as anybody needs are read."""
    head = b"GET /healthz HTTP/1.1\r\nHost: t\r\n"
    async with serving(GatewayKit().app) as server:
        async with connected(server) as client:
            await client.send(head + b"a: b\r\n" * 99 + b"\r\n")
            assert 200 == (await client.answer()).status
        async with connected(server) as client:
            await client.send(head + b"a: b\r\n" * 100 + b"\r\n")
            assert 400 == (await client.answer()).status
            assert await client.closed()


@pytest.mark.parametrize("trailer", [b"a: b\r\n" * 5000, b"a" * 0x8000], ids=["many", "one without end"])
async def test_flood_of_trailers_is_cut_off(trailer: bytes) -> None:
    """What comes behind a body is held to the limits of a head."""
    head = f"POST {TASKS} HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with serving(GatewayKit().app) as server, connected(server) as client:
        await client.send(head.encode() + b"1\r\n{\r\n0\r\n")
        with pytest.raises(ConnectionError):
            await _flood(client, trailer)


async def test_body_in_tiny_chunks_is_read() -> None:
    """However much more its frame is than itself."""
    body = b'{"type": "echo", "payload": "' + b"x" * 30_000 + b'"}'
    head = f"POST {TASKS} HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with serving(GatewayKit().app) as server, connected(server) as client:
        await client.send(head.encode() + b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n")
        assert 202 == (await client.answer()).status


async def test_flood_of_pipelined_requests_is_cut_off() -> None:
    """What a client asks before it has its first answer is held in memory: no more of it than any client needs."""
    async with serving(GatewayKit().app) as server, connected(server) as client:
        await client.send(b"GET /healthz HTTP/1.1\r\n\r\n" * 1000)
        assert await client.closed()


async def test_connection_that_waits_the_longest_makes_room() -> None:
    """Idle connections shut nobody out, whether they sent nothing yet, a part of a request, or a whole one before."""

    class Crowded(GuardedProtocol):
        max_connections = 8

    async with serving(GatewayKit().app, Crowded) as server, AsyncExitStack() as stack:
        idle = [await stack.enter_async_context(connected(server)) for _ in range(8)]
        await idle[0].send(b"POST /v1")
        await idle[1].send(post(TASKS, b"{", length=len(TASK)))
        await idle[2].send(post(TASKS, TASK))
        assert 202 == (await idle[2].answer()).status
        for client in idle[:2]:
            other = await stack.enter_async_context(connected(server))
            await other.send(post(TASKS, TASK))
            assert 202 == (await other.answer()).status
            assert await client.closed()
        await idle[2].send(post(TASKS, TASK))
        assert 202 == (await idle[2].answer()).status


async def test_request_in_work_makes_no_room() -> None:
    """Where every connection is served, it is the new one that is closed."""

    class Crowded(GuardedProtocol):
        max_connections = 2

    queue = Held(GatewayKit())
    async with serving(GatewayKit(extra={"held": queue}).app, Crowded) as server, AsyncExitStack() as stack:
        working = [await stack.enter_async_context(connected(server)) for _ in range(2)]
        for client in working:
            queue.asked.clear()
            await client.send(post("/v1/queues/held/tasks", TASK))
            async with asyncio.timeout(PATIENCE):
                await queue.asked.wait()
        async with connected(server) as third:
            assert await third.closed()
        queue.go.set()
        assert [202, 202] == [(await client.answer()).status for client in working]


class Held(InMemoryQueue):
    """A queue that answers when it is told to."""

    def __init__(self, kit: GatewayKit) -> None:
        """Be held."""
        super().__init__(make_spec("held"), clock=kit.clock, serializer=kit.serializer)
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    async def enqueue(self, task: Task) -> Accepted:
        """Wait for ``go``."""
        self.asked.set()
        await self.go.wait()
        return await super().enqueue(task)


async def test_stopping_server_answers_what_it_has() -> None:
    """A request in work when the signal comes is answered; after it the connection and the server are closed."""
    queue = Held(GatewayKit())
    kit = GatewayKit(extra={"held": queue})
    async with serving(kit.app) as server, connected(server) as client, connected(server) as idle:
        await client.send(post("/v1/queues/held/tasks", TASK))
        async with asyncio.timeout(PATIENCE):
            await queue.asked.wait()
        server.stop()
        assert await idle.closed()
        queue.go.set()
        answer = await client.answer()
        assert (202, "close") == (answer.status, answer.headers["connection"])
        assert await client.closed()
    assert 1 == (await queue.stats()).approximate_messages
