"""Reads request bodies within limits, so that large and slow ones do not hold up other requests."""

import asyncio
from collections.abc import Mapping

from starlette.types import Message, Receive

from mcp_queue.domain.errors import OverloadedError
from mcp_queue.gateway.dependencies import RequestLimits
from mcp_queue.gateway.problems import Problem, RequestRefusedError

# Smaller bodies are not counted: the limit on the number of requests bounds their memory.
_SMALL = 16 * 1024


class DisconnectedError(Exception):
    """The client went away before its body was complete."""


class SlowBodyError(OverloadedError):
    """The body of the request took too long to arrive."""


class BodyReader:
    """Reads bodies, and counts how many are coming in and how much memory the large ones hold."""

    def __init__(self, limits: RequestLimits) -> None:
        """Keep ``limits``."""
        self._limits = limits
        self._buffered = 0
        self._deadlines = _Deadlines(limits.body_timeout.total_seconds(), limits.max_receiving)

    async def read(self, path: str, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """Return the whole body. Call ``forget`` with it when it is no longer held.

        Raises:
            RequestRefusedError: 413, it is too large.
            SlowBodyError: it takes too long, or the limit of bodies coming in is reached and this one is the oldest.
            OverloadedError: the bodies hold too much memory already.
            DisconnectedError: the client went away.

        """
        limit = self._limits.body_limit(path)
        length = int(headers.get(b"content-length", b"0"))
        if length > limit:
            raise _too_large(limit)
        if not has_body(headers):
            return b""
        deadline = asyncio.timeout(None)
        try:
            async with deadline:
                self._deadlines.add(deadline)
                return await self._read(limit, receive)
        except TimeoutError as error:
            raise SlowBodyError from error
        finally:
            self._deadlines.discard(deadline)

    def forget(self, body: bytes) -> None:
        """Stop counting ``body``."""
        self._buffered -= _counted(len(body))

    async def _read(self, limit: int, receive: Receive) -> bytes:
        chunks: list[bytes] = []
        size, more = 0, True
        try:
            while more:
                message = await receive()
                chunk = _chunk(message, limit, size)
                self._count(size, size + len(chunk))
                size += len(chunk)
                chunks.append(chunk)
                more = message.get("more_body", False)
        except BaseException:  # cancellation included: what was counted is taken off, and the error is raised again
            self._buffered -= _counted(size)
            raise
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _count(self, before: int, after: int) -> None:
        growth = _counted(after) - _counted(before)
        if self._buffered + growth > self._limits.max_buffered_bytes:
            raise OverloadedError("too many large requests at once")
        self._buffered += growth


class _Deadlines:
    """Ends what takes longer than ``seconds``, and the oldest if there are more than ``most``.

    All share one timer: a timer for each body would take a tenth of the time of a small request.
    """

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._begun: dict[asyncio.Timeout, float] = {}  # the oldest first
        self._timer: asyncio.TimerHandle | None = None

    def add(self, deadline: asyncio.Timeout) -> None:
        """Let ``deadline`` begin. At the limit the oldest body makes room, so slow clients do not block others."""
        if len(self._begun) >= self._most:
            self._end(next(iter(self._begun)))
        self._begun[deadline] = asyncio.get_running_loop().time()
        if self._timer is None:
            self._watch()

    def discard(self, deadline: asyncio.Timeout) -> None:
        """Forget ``deadline``."""
        self._begun.pop(deadline, None)

    def _watch(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._seconds / 8, self._end_overdue)

    def _end_overdue(self) -> None:
        overdue = asyncio.get_running_loop().time() - self._seconds
        for deadline in [deadline for deadline, begun in self._begun.items() if begun <= overdue]:
            self._end(deadline)
        self._timer = None
        if self._begun:
            self._watch()

    def _end(self, deadline: asyncio.Timeout) -> None:
        del self._begun[deadline]
        deadline.reschedule(asyncio.get_running_loop().time())


def has_body(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a body follows ``headers``."""
    return headers.get(b"content-length", b"0").strip(b"0") != b"" or b"transfer-encoding" in headers


def _chunk(message: Message, limit: int, size: int) -> bytes:
    if message["type"] == "http.disconnect":
        raise DisconnectedError
    chunk: bytes = message.get("body", b"")
    if size + len(chunk) > limit:
        raise _too_large(limit)
    return chunk


def _counted(size: int) -> int:
    return size if size > _SMALL else 0


def _too_large(limit: int) -> RequestRefusedError:
    detail = f"the body of this request may have up to {limit} bytes"
    return RequestRefusedError(Problem(code="request_too_large", detail=detail))
