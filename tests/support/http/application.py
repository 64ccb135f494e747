"""Calls an application in this process, or serves it on a port and speaks to it byte by byte."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Message

from mcp_queue.gateway.server.connection_limits import GuardedProtocol

#: How long anything over a loopback connection may take.
PATIENCE = 10.0
JSON_TYPE = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """Return the body, which has to be JSON."""
        return json.loads(self.body)


async def call(
    app: ASGIApp,
    method: str,
    path: str,
    *,
    content: bytes | Iterable[bytes | None] = b"",
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> Answer:
    """Return what ``app`` answers, with status 0 where it answers nothing.

    ``json=…`` sends a JSON body. ``content`` in several chunks is sent as such; after ``None`` nothing more comes,
    and where there are no chunks the client has gone away.
    """
    headers = dict(headers or {})
    if "json" in members:
        content = json.dumps(members.pop("json")).encode()
        headers = JSON_TYPE | headers
    assert not members
    chunks: list[bytes | None] = [content] if isinstance(content, bytes) else list(content)
    headers.setdefault("Content-Length", str(sum(len(chunk or b"") for chunk in chunks)))
    exchange = _Exchange(chunks)
    async with asyncio.timeout(PATIENCE):
        await app(_scope(method, path, headers), exchange.receive, exchange.send)
    return exchange.answer()


def _scope(method: str, path: str, headers: Mapping[str, str]) -> dict[str, Any]:
    path, _, query = path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 80),
        "state": {},
    }


class _Exchange:
    """The server's side of one request."""

    def __init__(self, chunks: list[bytes | None]) -> None:
        self._chunks = chunks
        self._sent: list[Message] = []

    async def receive(self) -> Message:
        if not self._chunks:
            return {"type": "http.disconnect"}
        chunk = self._chunks.pop(0)
        if chunk is None:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": chunk, "more_body": bool(self._chunks)}

    async def send(self, message: Message) -> None:
        self._sent.append(message)

    def answer(self) -> Answer:
        if not self._sent:
            return Answer(0, {}, b"")
        start, *bodies = self._sent
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in start["headers"]}
        return Answer(start["status"], headers, b"".join(message.get("body", b"") for message in bodies))


class RunningServer:
    """A uvicorn server in this event loop."""

    def __init__(self, port: int, server: uvicorn.Server | None = None) -> None:
        """Listen on ``port``; ``server`` is what ``serving`` runs."""
        self._server = server
        self.port = port

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Ask it to stop, as a signal would."""
        assert self._server is not None, "only what serving runs can be stopped"
        self._server.should_exit = True


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, protocol: type[GuardedProtocol] = GuardedProtocol) -> AsyncIterator[RunningServer]:
    """Serve ``app`` as in production, on a port of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            app, http=protocol, lifespan="off", access_log=False, log_config=None, timeout_graceful_shutdown=5
        )
        server = uvicorn.Server(config)
        running = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield RunningServer(listener.getsockname()[1], server)
        finally:
            server.should_exit = True
            async with asyncio.timeout(PATIENCE):
                await running


class RawClient:
    """One connection, over which bytes go as they are."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Be made by ``connected``."""
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Send ``data``."""
        self._writer.write(data)
        async with asyncio.timeout(PATIENCE):
            await self._writer.drain()

    async def answer(self) -> Answer:
        """Return the next answer, which has to have a length."""
        async with asyncio.timeout(PATIENCE):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status, *lines = head.rstrip("\r\n").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await self._reader.readexactly(int(headers["content-length"]))
        return Answer(int(status.split(" ")[1]), headers, body)

    async def read(self, size: int) -> bytes:
        """Return the next ``size`` bytes."""
        async with asyncio.timeout(PATIENCE):
            return await self._reader.readexactly(size)

    async def closed(self) -> bool:
        """Return once the server has closed the connection."""
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError):
                while await self._reader.read(65536):
                    pass
        return True

    async def close(self) -> None:
        """Close the connection."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


@contextlib.asynccontextmanager
async def connected(server: RunningServer) -> AsyncIterator[RawClient]:
    """Open a connection to ``server``."""
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    client = RawClient(reader, writer)
    try:
        yield client
    finally:
        await client.close()


def post(path: str, body: bytes, *, length: int | None = None, **headers: str) -> bytes:
    """Return a POST request with a JSON body; ``length`` is what it claims, where that is not the truth."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: test",
        "Content-Type: application/json",
        f"Content-Length: {len(body) if length is None else length}",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body
