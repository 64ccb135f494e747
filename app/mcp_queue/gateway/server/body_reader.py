"""Reads request bodies within limits, so that neither large nor slow ones cost others anything."""

import asyncio
from collections.abc import Mapping

from starlette.types import Message, Receive

from mcp_queue.domain.errors import OverloadedError
from mcp_queue.gateway.dependencies import Limits
from mcp_queue.gateway.problems import Problem, ProblemError

# Bodies up to this size are not counted: the number of requests bounds what they hold.
_SMALL = 64 * 1024


class DisconnectedError(Exception):
    """The client went away before its body was complete."""


class SlowBodyError(OverloadedError):
    """The body of the request took too long to arrive."""


class BodyReader:
    """Reads bodies, and knows how many are coming in and how much memory the large ones hold."""

    def __init__(self, limits: Limits) -> None:
        """Keep ``limits``."""
        self._limits = limits
        self._buffered = 0
        self._deadlines = _Deadlines(limits.body_timeout.total_seconds(), limits.max_receiving)

    async def read(self, path: str, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """Return the whole body, which is to be handed to ``forget`` when it is no longer held.

        Raises:
            ProblemError: 413, it is too large.
            SlowBodyError: it takes too long, or as many newer ones are coming in as may.
            OverloadedError: too much memory is held already.
            DisconnectedError: the rest of it will not come.

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
        except BaseException:  # cancellation included: what it counted is given back, and it is raised again
            self._buffered -= _counted(size)
            raise
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _count(self, before: int, after: int) -> None:
        growth = _counted(after) - _counted(before)
        if self._buffered + growth > self._limits.max_buffered_bytes:
            raise OverloadedError("too many large requests at once")
        self._buffered += growth


class _Deadlines:
    """Ends what takes longer than ``seconds``, and the oldest of more than ``most``.

    One timer looks after all of them: a timer for each, which hardly ever fires, takes a tenth of a small request.
    """

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._begun: dict[asyncio.Timeout, float] = {}  # the oldest first
        self._timer: asyncio.TimerHandle | None = None

    def add(self, deadline: asyncio.Timeout) -> None:
        """Let ``deadline`` begin; slow clients shut nobody out, since the slowest has to make room."""
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
    """Whether a body comes after ``headers``, of whatever length."""
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


def _too_large(limit: int) -> ProblemError:
    detail = f"the body of this request may have up to {limit} bytes"
    return ProblemError(Problem(code="request_too_large", detail=detail))
