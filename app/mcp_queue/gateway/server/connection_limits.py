"""Limits that uvicorn does not set on HTTP connections: on request heads, and on clients that do not read."""

import asyncio
import secrets
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mcp_queue.gateway.problems import Problem, render
from mcp_queue.gateway.server.upgrades import ignore_offer


class TooMuchError(Exception):
    """The client sends more than is allowed: the parser stops, and the connection is closed."""


class GuardedProtocol(HttpToolsProtocol):
    """The ``http`` option of uvicorn. Each connection holds a file descriptor, so the number is limited.

    A request head has to be complete within ``head_seconds`` of the connection, or of its first byte on a connection
    that was used before. It may have ``head_bytes`` and ``max_headers``; trailers count as well. A connection is closed
    when the client reads nothing of a waiting answer for ``stalled_seconds``. A client may send ``max_pipelined``
    requests before the answer to the first. Above ``max_connections``, the connections that have waited longest for
    their clients are closed.
    """

    head_seconds = 10.0
    head_bytes = 64 * 1024
    max_headers = 100
    max_pipelined = 100
    max_connections = 2000
    stalled_seconds = 30.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take what uvicorn passes."""
        super().__init__(*args, **kwargs)
        self._head_timer: asyncio.TimerHandle | None = None
        self._unused = 0  # bytes since the last complete head or body
        self._stalled_timer: asyncio.TimerHandle | None = None
        self.waiting_since = self.loop.time()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Wait for the first head."""
        super().connection_made(transport)
        self._await_head()
        if len(self.connections) > self.max_connections:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        """Pass ``data`` on, and time a head that is not complete with it."""
        self._unset_keepalive_if_required()
        self._unused += len(data)
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self.send_400_response("this is not an HTTP request")
        if self._unused > self.head_bytes:
            self.transport.abort()
        elif self._under_way:
            self._head_done()
        elif self._head_timer is None:
            self._await_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer after a body."""
        if len(self.headers) >= self.max_headers:
            raise TooMuchError
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin a request, or queue it behind the one before."""
        if len(self.pipeline) >= self.max_pipelined:
            raise TooMuchError
        self._unused = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a chunk of a body."""
        self._unused = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request, but not one whose body follows an offer to upgrade."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are no request, and close the connection.

        Where an earlier request is not answered, its client would take this for its answer, so there is none.
        """
        if self._under_way and (self.cycle.response_started or not self.cycle.more_body or self.pipeline):
            self.transport.abort()
            return
        problem = Problem(code="malformed_request", detail=msg, headers={"Connection": "close"})
        response = render(problem, secrets.token_hex(16))
        lines = [b"HTTP/1.1 400 Bad Request", *(b"%b: %b" % header for header in response.raw_headers), b"", b""]
        self.transport.write(b"\r\n".join(lines) + response.body)
        self.transport.close()
        self._close_in_time()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self.waiting_since = self.loop.time()
        super().on_response_complete()
        if self.transport.is_closing():
            self._close_in_time()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that was idle for too long."""
        super().timeout_keep_alive_handler()
        self._close_in_time()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers."""
        super().connection_lost(exc)
        self._head_done()
        self.resume_writing()

    def pause_writing(self) -> None:
        """Give the client time to read."""
        super().pause_writing()
        self._close_in_time()

    def resume_writing(self) -> None:
        """Note that the client has read."""
        super().resume_writing()
        if self._stalled_timer is not None:
            self._stalled_timer.cancel()
            self._stalled_timer = None

    def _parse(self, data: bytes) -> None:
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                data = data[offer.args[0] :]
                ignore_offer(self)
            else:
                return

    @property
    def _under_way(self) -> bool:
        """Whether a request has begun that is not answered; its body may be incomplete."""
        cycle = self.cycle
        return cycle is not None and not cycle.response_complete  # type: ignore[redundant-expr]  # None at first

    @property
    def waits(self) -> bool:
        """Whether it is the client's turn: to send the rest of a request, or to read."""
        return not self._under_way or self.cycle.more_body or self.flow.write_paused

    def _make_room(self) -> None:
        """Close the connections that have waited longest; several at once, since finding them takes time."""
        others = cast("set[GuardedProtocol]", self.connections) - {self}
        waiting = sorted((other for other in others if other.waits), key=lambda other: other.waiting_since)
        for other in waiting[: self.max_connections // 20 + 1] or [self]:
            other.transport.abort()

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.head_seconds, self.transport.abort)

    def _head_done(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _close_in_time(self) -> None:
        """Abort the connection later if the client does not read: closing would wait for it without a limit."""
        if self._stalled_timer is None and self.transport.get_write_buffer_size():
            self._stalled_timer = self.loop.call_later(self.stalled_seconds, self.transport.abort)
