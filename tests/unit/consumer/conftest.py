"""A running consumer whose end every test shares."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.support.consumer import ConsumerKit, make_kit

KitFactory = Callable[..., Any]


@pytest.fixture
async def consumer() -> AsyncIterator[KitFactory]:
    """Return a factory of started consumers; each is stopped at the end of the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(*args: Any, prepare: Callable[[ConsumerKit], Any] | None = None, **kwargs: Any) -> ConsumerKit:
            kit = make_kit(*args, **kwargs)
            if prepare is not None:
                prepare(kit)
            await stack.enter_async_context(kit.extender.running(kit.pool.lose))
            hurry = asyncio.Event()
            hurry.set()
            stack.push_async_callback(drain_now, kit, hurry)
            kit.pool.start()
            await kit.pass_time()
            return kit

        yield start


async def drain_now(kit: ConsumerKit, hurry: asyncio.Event) -> None:
    """Stop a consumer without waiting for its open polls."""
    draining = asyncio.create_task(kit.pool.drain(timedelta(seconds=1), hurry))
    while not draining.done():
        await kit.pass_time(25)
    await draining
