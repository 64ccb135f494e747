"""A receiver, and a sender that may call it."""

from collections.abc import AsyncIterator

import pytest

from mcp_queue.adapters.callbacks.sender import AiohttpCallbackSender
from mcp_queue.testing import FakeClock
from tests.support.http.callbacks import LOOPBACK
from tests.support.http.receiver import Receiver
from tests.support.metrics import CountingMetrics


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock at noon of a known day."""
    return FakeClock()


@pytest.fixture
def outcomes() -> CountingMetrics:
    """Return what counts outcomes."""
    return CountingMetrics()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Run a receiver on loopback."""
    async with Receiver() as running:
        yield running


@pytest.fixture
async def sender(clock: FakeClock, outcomes: CountingMetrics) -> AsyncIterator[AiohttpCallbackSender]:
    """Open a sender that may call loopback."""
    async with AiohttpCallbackSender(LOOPBACK, clock, outcomes) as opened:
        yield opened
