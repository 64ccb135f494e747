"""A payload store in memory."""

from itertools import count

from mcp_queue.domain.errors import BackendUnavailableError, NotFoundError
from mcp_queue.ports import PayloadPointer


class MemoryPayloads:
    """Keeps bodies, and fails when told to."""

    def __init__(self) -> None:
        """Start empty."""
        self.bodies: dict[PayloadPointer, str] = {}
        self.kept: set[PayloadPointer] = set()
        self.down = False
        self._numbers = count(1)

    async def put(self, bucket: str, body: str, *, keep: bool = False) -> PayloadPointer:
        """Store a body."""
        self._check()
        pointer = PayloadPointer(bucket, f"key-{next(self._numbers)}")
        self.bodies[pointer] = body
        if keep:
            self.kept.add(pointer)
        return pointer

    async def get(self, pointer: PayloadPointer) -> str:
        """Return a body."""
        self._check()
        if pointer not in self.bodies:
            raise NotFoundError
        return self.bodies[pointer]

    async def keep(self, pointer: PayloadPointer) -> None:
        """Keep a body."""
        self._check()
        self.kept.add(pointer)

    def _check(self) -> None:
        if self.down:
            raise BackendUnavailableError
