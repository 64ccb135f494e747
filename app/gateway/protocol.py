"""HTTP connections with the limits that uvicorn does not set: for request heads, and for clients that do not read."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class GuardedProtocol(HttpToolsProtocol):
    """To be given to uvicorn as ``http``. What waits here holds a file descriptor, of which there are few.

    A head has ``head_seconds`` from the connection, or from its first byte on one that was used before, and
    ``head_bytes``. A client that reads nothing of a waiting answer for ``stalled_seconds`` is given up.
    """

    head_seconds = 10.0
    head_bytes = 64 * 1024
    stalled_seconds = 30.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Be made by uvicorn."""
        super().__init__(*args, **kwargs)
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_size = 0
        self._stalled_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Pass ``data`` on, and look after a head that is not complete with it."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:  # type: ignore[redundant-expr]  # None at first
            self._head_done()
            return
        self._head_size += len(data)
        if self._head_size > self.head_bytes:
            self.transport.abort()
        elif self._head_timer is None:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        super().connection_lost(exc)
        self._head_done()
        self.resume_writing()

    def pause_writing(self) -> None:
        """Give the client time to read."""
        super().pause_writing()
        if self._stalled_timer is None:
            self._stalled_timer = self.loop.call_later(self.stalled_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Note that the client has read."""
        super().resume_writing()
        if self._stalled_timer is not None:
            self._stalled_timer.cancel()
            self._stalled_timer = None

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.head_seconds, self.transport.abort)

    def _head_done(self) -> None:
        self._head_size = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
