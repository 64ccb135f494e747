"""A real HTTP receiver whose answers are scripted and whose requests are recorded.

In a test: ``async with Receiver() as receiver``. From another process: ``python -m tests.support.http.receiver``
prints its port and runs until it is terminated. ``PUT /script`` takes
``{"/path": [{"status": 503}, {"status": 200}]}``, ``GET /requests`` returns ``{"requests": [...]}`` and
``DELETE /requests`` forgets them.
"""

import asyncio
import signal
import ssl
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Self

from aiohttp import web


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How one request is answered.

    ``size`` streams that many more bytes after ``body``. ``delay`` seconds pass first. ``drop`` closes the connection
    unanswered, ``hang`` keeps it open and never answers, ``stall`` stops after the headers and the body.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    size: int = 0
    delay: float = 0
    drop: bool = False
    hang: bool = False
    stall: bool = False


@dataclass(frozen=True, kw_only=True)
class ReceivedRequest:
    """A request as it came; header names are in lower case. ``connection`` tells connections apart."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: str
    connection: int


class Receiver:
    """Answers each path by its script: in order, the last answer again and again; 200 without one."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        """Listen on a free port of ``host``."""
        self.requests: list[ReceivedRequest] = []
        self.port = 0
        self._host = host
        self._tls = tls
        self._scripts: dict[str, deque[Answer]] = {}
        self._arrived = asyncio.Condition()
        self._closing = asyncio.Event()
        self._connections: dict[object, int] = {}
        application = web.Application(client_max_size=64 * 1024 * 1024)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, 0, ssl_context=self._tls)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.set()
        await self._runner.cleanup()

    def url(self, path: str = "/", host: str | None = None) -> str:
        """Return the URL of ``path``, under another name of this machine where ``host`` is given."""
        return f"{'http' if self._tls is None else 'https'}://{host or self._host}:{self.port}{path}"

    def script(self, path: str, *answers: Answer) -> None:
        """Answer requests to ``path`` with ``answers``."""
        self._scripts[path] = deque(answers)

    async def arrived(self, count: int = 1) -> list[ReceivedRequest]:
        """Return the requests when ``count`` of them have come in all."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)
        return self.requests

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append(
            ReceivedRequest(
                method=request.method,
                path=request.raw_path,
                headers={name.lower(): value for name, value in request.headers.items()},
                body=body.decode(),
                connection=self._connections.setdefault(request.transport, len(self._connections)),
            )
        )
        async with self._arrived:
            self._arrived.notify_all()
        return await self._answer(request, self._next(request.path))

    def _next(self, path: str) -> Answer:
        script = self._scripts.get(path)
        if not script:
            return Answer()
        return script.popleft() if len(script) > 1 else script[0]

    async def _answer(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        if answer.delay:
            await self._closed(answer.delay)
        if answer.drop and request.transport is not None:
            request.transport.abort()
        if answer.hang:
            await self._closed()
        if not answer.size and not answer.stall:
            return web.Response(status=answer.status, headers=answer.headers, text=answer.body)
        return await self._stream(request, answer)

    async def _stream(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        await response.prepare(request)
        await response.write(answer.body.encode())
        try:
            for _ in range(answer.size // _CHUNK):
                await response.write(b"x" * _CHUNK)
        except ConnectionError:
            return response  # the caller has had enough
        await response.write(b"x" * (answer.size % _CHUNK))
        if answer.stall:
            await self._closed()
        return response

    async def _closed(self, seconds: float | None = None) -> None:
        waiting = asyncio.ensure_future(self._closing.wait())
        await asyncio.wait([waiting], timeout=seconds)
        waiting.cancel()


_CHUNK = 64 * 1024


class _ControlledReceiver(Receiver):
    """A receiver that another process scripts over HTTP."""

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        match request.method, request.path:
            case "PUT", "/script":
                for path, answers in (await request.json()).items():
                    self.script(path, *(Answer(**answer) for answer in answers))
                return web.Response(status=204)
            case "GET", "/requests":
                return web.json_response({"requests": [asdict(received) for received in self.requests]})
            case "DELETE", "/requests":
                self.requests.clear()
                return web.Response(status=204)
            case _:
                return await super()._handle(request)


async def _serve() -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with _ControlledReceiver() as receiver:
        sys.stdout.write(f"{receiver.port}\n")
        sys.stdout.flush()
        await stopped.wait()


if __name__ == "__main__":
    asyncio.run(_serve())
