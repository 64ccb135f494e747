"""A running consumer whose end every test shares."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.support.consumer import ConsumerKit, KitFactory, drain_now, make_kit


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
