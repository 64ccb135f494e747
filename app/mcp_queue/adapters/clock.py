"""The machine's clock."""

import asyncio
import time
from datetime import UTC, datetime

from typing_extensions import override

from mcp_queue.ports import Clock


class SystemClock(Clock):
    """Reads the machine's time of day and sleeps on the running event loop."""

    @override
    def now(self) -> datetime:
        return datetime.now(UTC)  # noqa: TID251  # the Clock port's one implementation

    @override
    def monotonic(self) -> float:
        return time.monotonic()

    @override
    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
