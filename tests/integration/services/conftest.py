"""A ledger, and dead letters, for the tests of the services."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.dead_letters import DeadLetterKit, kit_with_ledger
from tests.support.ledger import LedgerHarness, ledger_harness, sqlite_url


@pytest.fixture
async def kit(tmp_path: Path) -> AsyncIterator[DeadLetterKit]:
    """Return queues in memory over a ledger in a file of its own."""
    async with kit_with_ledger(tmp_path) as opened:
        yield opened


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[LedgerHarness]:
    """Return a ledger in a file of its own."""
    async with sqlite_url(tmp_path) as url, ledger_harness(url) as opened:
        yield opened
