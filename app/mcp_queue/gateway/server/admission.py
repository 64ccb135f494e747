"""The middleware that every request passes first: keys, limits, metrics, and answers to errors."""

import asyncio
from contextlib import suppress

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mcp_queue.domain.errors import OverloadedError
from mcp_queue.gateway.dependencies import GatewayDependencies
from mcp_queue.gateway.problems import RequestRefusedError, response_to
from mcp_queue.gateway.server.auth import SERVICE_PATHS, UNAUTHENTICATED, Admitted, quota_headers
from mcp_queue.gateway.server.body_reader import BodyReader, DisconnectedError, SlowBodyError, has_body
from mcp_queue.gateway.server.memory import SLICE_BYTES, UNCOUNTED, WorkingMemory, working_memory
from mcp_queue.gateway.server.request import attach, check_head, trace_id_of

_LINGER_SECONDS = 2.0
# Bytes of an answer that count as much: no less than the server's high-water mark.
_MUCH = 64 * 1024
# In the metrics, the status of a request whose client went away; nginx made it common.
_CLIENT_CLOSED = 499


class AdmissionMiddleware:
    """ASGI middleware that passes on requests with a valid key and a complete body, up to a number at a time."""

    def __init__(self, app: ASGIApp, dependencies: GatewayDependencies) -> None:
        """Guard ``app``."""
        self._app = app
        self._authenticator = dependencies.authenticator
        self._max_in_work = dependencies.limits.max_in_work
        self._clock = dependencies.clock
        self._new_trace_id = dependencies.new_trace_id
        limits = self._limits = dependencies.limits
        self._bodies = BodyReader(limits)
        self._memory = WorkingMemory(
            limits.max_working_bytes, limits.body_timeout.total_seconds(), dependencies.give_back_memory
        )
        self._observe_request = dependencies.observe_request
        self._in_work = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Anything else than HTTP is passed on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = self._clock.monotonic()
        exchange = _Exchange(scope, receive, send)
        try:
            await self._serve(exchange)
        finally:
            duration = self._clock.monotonic() - began
            route, status = exchange.scope.get("route"), exchange.status or _CLIENT_CLOSED
            self._observe_request(exchange.scope["method"], route and route.path, status, duration)

    async def _serve(self, exchange: "_Exchange") -> None:
        try:
            # Before anything is read, so that a request without a key costs no more than this.
            exchange.admitted = self._authenticator.admit(exchange.path, exchange.headers, self._clock)
            check_head(exchange.scope["headers"], exchange.headers)
            body = await self._bodies.read(exchange.path, exchange.headers, exchange.receive)
        except DisconnectedError:
            return
        except (RequestRefusedError, OverloadedError) as error:
            response = self._response_to(error, exchange)
            if not has_body(exchange.headers):
                await exchange.answer(response)
                return
            # A client that is too slow, or waits for 100 Continue, is not sending now.
            sending = not isinstance(error, SlowBodyError) and b"expect" not in exchange.headers
            await exchange.answer_and_close(response, linger=_LINGER_SECONDS if sending else 0)
            return
        try:
            await self._work(exchange, body)
        finally:
            self._bodies.forget(body)

    async def _work(self, exchange: "_Exchange", body: bytes) -> None:
        if self._in_work >= self._max_in_work and exchange.path not in SERVICE_PATHS:
            error = OverloadedError("too many requests are being worked on")
            await exchange.answer(self._response_to(error, exchange))
            return
        attach(exchange.scope, exchange.headers, body, exchange.admitted.caller)
        self._in_work += 1
        try:
            if len(body) <= UNCOUNTED:
                await self._app(exchange.scope, exchange.replay(body), exchange.send)
            else:
                async with self._memory.reserved(working_memory(body, self._limits.max_task_text + SLICE_BYTES)):
                    await self._app(exchange.scope, exchange.replay(body), exchange.send)
        except Exception as error:
            if exchange.status:  # the answer has begun: it can only be broken off
                raise
            await exchange.answer(self._response_to(error, exchange))
        finally:
            self._in_work -= 1

    def _response_to(self, error: Exception, exchange: "_Exchange") -> Response:
        return response_to(error, trace_id_of(exchange.headers, self._new_trace_id))


class _Exchange:
    """A request and its answer. ``status`` is 0 until the answer begins."""

    __slots__ = ("_send", "admitted", "headers", "path", "receive", "scope", "status")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A HEAD request is answered like GET; the server leaves the body out.
        self.scope = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        self.path: str = scope["path"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.receive = receive
        self.status = 0
        self.admitted: Admitted = UNAUTHENTICATED
        self._send = send

    async def send(self, message: Message) -> None:
        """Pass ``message`` on to the server."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.admitted.quota is not None:
                headers = quota_headers(self.admitted.quota)
                message["headers"] += [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        elif len(message.get("body", b"")) > _MUCH and not message.get("more_body", False):
            # The server waits with what follows until the client has read: until then the memory is taken.
            await self._send({**message, "more_body": True})
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    def replay(self, body: bytes) -> Receive:
        """Return a ``receive`` that returns ``body``, which has been read already, first."""
        message: Message | None = {"type": "http.request", "body": body, "more_body": False}

        async def receive() -> Message:
            nonlocal message
            if message is None:
                return await self.receive()
            once, message = message, None
            return once

        return receive

    async def answer(self, response: Response) -> None:
        """Send ``response``."""
        await response(self.scope, self.receive, self.send)

    async def answer_and_close(self, response: Response, linger: float) -> None:
        """Send ``response`` to a client whose body is not complete, and close the connection.

        First, what the client still sends for up to ``linger`` seconds is dropped: closing earlier would make TCP
        drop the answer before the client reads it.
        """
        response.headers["Connection"] = "close"
        start = {"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers}
        await self.send(start)
        await self.send({"type": "http.response.body", "body": response.body, "more_body": True})
        with suppress(TimeoutError):
            async with asyncio.timeout(linger):
                while (await self.receive()).get("more_body", False):
                    pass
        await self.send({"type": "http.response.body", "body": b"", "more_body": False})
