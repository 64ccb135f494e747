"""Time."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Time. The only source of it outside the adapters."""

    def now(self) -> datetime:
        """Return the time of day, aware and in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds since some fixed moment; never steps back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds``."""
        ...
