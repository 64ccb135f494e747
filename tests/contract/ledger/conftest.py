"""The databases that the ledger's contract suite runs on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mcp_queue.adapters.ledger.ledger import Ledger
from mcp_queue.testing import FakeClock
from tests.support.ledger import LedgerHarness, ledger_harness, postgres_url, sqlite_url


@pytest.fixture(params=["sqlite", "postgres"])
async def harness(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LedgerHarness]:
    """One database after the other, each empty."""
    urls = {"sqlite": lambda: sqlite_url(tmp_path), "postgres": lambda: postgres_url(request.config)}
    async with urls[request.param]() as url, ledger_harness(url) as opened:
        yield opened


@pytest.fixture
def ledger(harness: LedgerHarness) -> Ledger:
    """The ledger under test."""
    return harness.ledger


@pytest.fixture
def clock(harness: LedgerHarness) -> FakeClock:
    """The clock of the ledger under test."""
    return harness.clock
