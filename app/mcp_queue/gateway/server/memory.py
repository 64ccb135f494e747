"""Bounds the memory of the requests that are being worked on, whatever is in their bodies."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from mcp_queue.domain.errors import OverloadedError
from mcp_queue.domain.formats.strict_json import MAX_VALUES

#: Bodies up to this size are not counted: the limit on the number of requests bounds their memory.
UNCOUNTED = 512
#: Bytes of a batch, about, that are parsed and sent at a time. Smaller batches are sent as a whole.
SLICE_BYTES = 1024 * 1024
# Bytes of memory that a value takes at most, for each comma and bracket in front of one: the worst are nested objects
# with one member each. Measured with CPython 3.11 to 3.14.
_VALUE = 240
# How often what is sent exists at most: for the queue, for the ledger, in a call to SQS, and in the answer.
_COPIES = 6
# Bytes of ASCII that a byte of UTF-8 takes at most: "é" is two bytes, and six as an escape.
_ESCAPED = 3


def working_memory(body: bytes, slice_bytes: int) -> int:
    """Return how many bytes of memory ``body`` takes at most while it is worked on, besides itself.

    It is decoded and parsed as a whole; at most ``slice_bytes`` of it are sent at a time. What holds for every content
    is an estimate: text that is mostly commas is taken for values.
    """
    size = len(body)
    plain = body.isascii()
    # A text takes as many bytes for each character as its widest needs.
    width = 1 if plain else 4 if body.translate(None, _NARROW) else 2
    values = min(body.count(b",") + body.count(b"{") + body.count(b"["), MAX_VALUES)
    sent = min(size, slice_bytes) * (1 if plain else _ESCAPED)
    return 2 * width * size + _VALUE * values + _COPIES * sent


class WorkingMemory:
    """Lets requests in as long as their memory fits; the others wait for their turn.

    Small requests have a quarter of ``limit`` to themselves, so that they never wait for large ones. A request that is
    too large for its part is let in alone.
    """

    def __init__(self, limit: int, patience: float, give_back: Callable[[], None]) -> None:
        """Wait up to ``patience`` seconds; ``give_back`` returns what large requests took to the system."""
        self._small = limit // 64
        self._light = _Share(limit // 4)
        self._heavy = _Share(limit - limit // 4)
        self._patience = patience
        self._give_back = give_back

    @asynccontextmanager
    async def reserved(self, size: int) -> AsyncIterator[None]:
        """Hold ``size`` bytes while the context is open.

        Raises:
            OverloadedError: there was no room for them in time.

        """
        share = self._light if size <= self._small else self._heavy
        if not share.take(size):
            try:
                async with asyncio.timeout(self._patience):
                    await share.wait(size)
            except TimeoutError as error:
                raise OverloadedError("too many large requests at once") from error
        try:
            yield
        finally:
            share.free(size)
            if share is self._heavy:
                self._give_back()


class _Share:
    """A number of bytes that requests take and free, in the order in which they asked."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def take(self, size: int) -> bool:
        """Take ``size`` bytes if nobody waits and they are free."""
        if self._waiting or not self._fits(size):
            return False
        self._taken += size
        return True

    async def wait(self, size: int) -> None:
        """Take ``size`` bytes when it is their turn."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._let_in()
            else:  # its turn came in the same moment
                self.free(size)
            raise

    def free(self, size: int) -> None:
        """Give ``size`` bytes back."""
        self._taken -= size
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting:
            size, turn = self._waiting[0]
            if not turn.cancelled():
                if not self._fits(size):
                    return
                self._taken += size
                turn.set_result(None)
            self._waiting.popleft()

    def _fits(self, size: int) -> bool:
        return not self._taken or self._taken + size <= self._limit


# The bytes of characters that two bytes of memory hold: all but the first bytes of four-byte sequences.
_NARROW = bytes(range(0xF0))
