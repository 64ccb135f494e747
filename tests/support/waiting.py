"""Waiting for what another process does: it cannot signal, so it is asked again and again, up to a deadline."""

import asyncio
import time
from collections.abc import Awaitable, Callable

INTERVAL = 0.05  # seconds between two questions


async def eventually(check: Callable[[], Awaitable[bool]], seconds: float, what: str) -> None:
    """Return as soon as ``check`` is true.

    Raises:
        AssertionError: it is not after ``seconds``.

    """
    deadline = time.monotonic() + seconds
    while not await check():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        await pause()


async def pause(seconds: float = INTERVAL) -> None:
    """Let ``seconds`` pass."""
    await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=seconds)
