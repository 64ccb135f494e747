"""HTTP connections with the limits that uvicorn does not set: for request heads, and for clients that do not read."""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class TooMuchError(Exception):
    """The client sends more than any client needs: the parser stops, and the connection is closed."""


class GuardedProtocol(HttpToolsProtocol):
    """To be given to uvicorn as ``http``. What waits here holds a file descriptor, of which there are few.

    A head has ``head_seconds`` from the connection, or from its first byte on one that was used before, and
    ``head_bytes``, as has whatever comes after it that is no body, and ``max_headers``. A client that reads nothing of
    a waiting answer for ``stalled_seconds`` is given up. It may send ``max_pipelined`` requests before the answer to
    the first. Of more than ``max_connections``, those give way that have waited for their clients the longest.
    """

    head_seconds = 10.0
    head_bytes = 64 * 1024
    max_headers = 100
    max_pipelined = 100
    max_connections = 2000
    stalled_seconds = 30.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Be made by uvicorn."""
        super().__init__(*args, **kwargs)
        self._head_timer: asyncio.TimerHandle | None = None
        self._unused = 0  # bytes since the last that belonged to a complete head or to a body
        self._stalled_timer: asyncio.TimerHandle | None = None
        self.waiting_since = self.loop.time()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._await_head()
        if len(self.connections) > self.max_connections:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        """Pass ``data`` on, and look after a head that is not complete with it."""
        self._unused += len(data)
        super().data_received(data)
        if self._unused > self.head_bytes:
            self.transport.abort()
        elif self._under_way:
            self._head_done()
        elif self._head_timer is None:
            self._await_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer behind a body."""
        if len(self.headers) >= self.max_headers:
            raise TooMuchError
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin a request, or let it wait for the one before."""
        if len(self.pipeline) >= self.max_pipelined:
            raise TooMuchError
        self._unused = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._unused = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self.waiting_since = self.loop.time()
        super().on_response_complete()
        if self.transport.is_closing():
            self._close_in_time()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection on which nothing came for a while."""
        super().timeout_keep_alive_handler()
        self._close_in_time()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
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

    @property
    def _under_way(self) -> bool:
        """Whether a request has come that is not answered; its body may be incomplete."""
        cycle = self.cycle
        return cycle is not None and not cycle.response_complete  # type: ignore[redundant-expr]  # None at first

    @property
    def waits(self) -> bool:
        """Whether it is the client's turn: to send the rest of a request, or to read."""
        return not self._under_way or self.cycle.more_body or self.flow.write_paused

    def _make_room(self) -> None:
        """Give up the connections that have waited the longest; many at once, since looking for them takes its time."""
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
        """Give the client up if it does not read what it has been sent: closing waits for it without a limit."""
        if self._stalled_timer is None and self.transport.get_write_buffer_size():
            self._stalled_timer = self.loop.call_later(self.stalled_seconds, self.transport.abort)
