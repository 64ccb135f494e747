"""Loads one POST route over raw connections, and the route that others are measured by: FastAPI that does nothing.

    python -m bench.http_load        # serves the empty route, prints its port, runs until SIGTERM

The other programs of this directory do that by themselves.
"""

import asyncio
import contextlib
import socket
import time
from typing import cast

import uvicorn
import uvloop
from fastapi import FastAPI

from mcp_queue.domain.formats.strict_json import dumps
from mcp_queue.domain.task import JsonValue
from mcp_queue.services.enqueueing.request import NewTask

CONNECTIONS = 64
PATH = "/v1/queues/tasks/tasks"
#: Seconds of load before anything counts.
WARM_UP = 0.3


def post(members: JsonValue) -> bytes:
    """Return a request that enqueues a task of ``members``."""
    body = dumps(members).encode()
    head = [
        f"POST {PATH} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


def empty_route() -> FastAPI:
    """Return an application whose POST route has the gateway's body model and does nothing."""
    app = FastAPI()

    @app.post(PATH, status_code=202)
    async def enqueue(task: NewTask) -> None:
        """Do nothing."""

    return app


async def serve() -> None:
    """Serve the empty route until SIGTERM, by the same server as the gateway's."""
    config = uvicorn.Config(empty_route(), http="httptools", lifespan="off", access_log=False, log_level="warning")
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    print(listener.getsockname()[1], flush=True)
    await uvicorn.Server(config).serve(sockets=[listener])


class Client(asyncio.Protocol):
    """Sends one request after the other over one connection, and counts the answers."""

    def __init__(self, request: bytes, ended: "asyncio.Future[None]") -> None:
        """Send ``request``; tell ``ended`` if the connection breaks or an answer is not 202."""
        self.answers = 0
        self._request = request
        self._ended = ended
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Send the next request once the answer is complete."""
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        if not head.startswith(b"HTTP/1.1 202"):
            self._fail(f"unexpected answer: {self._buffer!r}")
            return
        self._buffer = b""
        self.answers += 1
        self._transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell that the connection broke."""
        self._fail(f"connection lost: {exc}")

    def close(self) -> None:
        """Stop."""
        self._transport.abort()

    def _fail(self, reason: str) -> None:
        if not self._ended.done():
            self._ended.set_exception(RuntimeError(reason))


async def load(port: int, request: bytes, seconds: float) -> float:
    """Return how many of ``request`` a second the server at ``port`` answers to 64 clients."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    clients: list[Client] = []
    for _ in range(CONNECTIONS):
        _, client = await loop.create_connection(lambda: Client(request, ended), "127.0.0.1", port)
        clients.append(client)
    await _wait(ended, WARM_UP)
    before, began = sum(client.answers for client in clients), time.perf_counter()
    await _wait(ended, seconds)
    rate = (sum(client.answers for client in clients) - before) / (time.perf_counter() - began)
    ended.cancel()
    for client in clients:
        client.close()
    return rate


async def _wait(ended: "asyncio.Future[None]", seconds: float) -> None:
    """Return after ``seconds``, or raise what ended the load before."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(ended), seconds)


if __name__ == "__main__":
    uvloop.run(serve())
