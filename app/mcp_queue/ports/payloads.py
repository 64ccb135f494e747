"""Bodies that are too large for a message."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class PayloadPointer:
    """Where a body lies that is too large for a message."""

    bucket: str
    key: str


class PayloadStore(Protocol):
    """Keeps bodies that are too large for a message, for longer than any queue keeps the message."""

    async def put(self, bucket: str, body: str, *, keep: bool = False) -> PayloadPointer:
        """Store a body in ``bucket``; with ``keep`` it never expires.

        Raises:
            BackendUnavailableError: the store does not answer.

        """
        ...

    async def get(self, pointer: PayloadPointer) -> str:
        """Return a body, whoever stored it.

        Raises:
            NotFoundError: there is nothing, or nothing that this service may read from there.
            InvalidTaskError: what lies there is no text, or larger than any task may be.
            BackendUnavailableError: the store does not answer.

        """
        ...

    async def keep(self, pointer: PayloadPointer) -> None:
        """Save a body from expiry; return also where it is gone.

        Raises:
            BackendUnavailableError: the store does not answer.

        """
        ...
