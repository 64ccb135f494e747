"""A gateway over queues in memory, and one that remembers its tasks in a ledger."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.gateway import GatewayKit
from tests.support.ledger import LedgerHarness, ledger_harness, sqlite_url


@pytest.fixture
def kit() -> GatewayKit:
    """Return a gateway with the limits of production."""
    return GatewayKit()


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[LedgerHarness]:
    """Return a ledger in a file of its own."""
    async with sqlite_url(tmp_path) as url, ledger_harness(url) as opened:
        yield opened


@pytest.fixture
def remembering(harness: LedgerHarness) -> GatewayKit:
    """Return a gateway with a ledger."""
    return GatewayKit(harness=harness)
