"""A ledger, and dead letters, for the tests of the services."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.ledger import LedgerHarness, ledger_harness
from tests.support.ledger_databases import sqlite_url
from tests.support.letters import LetterKit, kit_with_ledger


@pytest.fixture
async def kit(tmp_path: Path) -> AsyncIterator[LetterKit]:
    """Return queues in memory over a ledger in a file of its own."""
    async with kit_with_ledger(tmp_path) as opened:
        yield opened


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[LedgerHarness]:
    """Return a ledger in a file of its own."""
    async with sqlite_url(tmp_path) as url, ledger_harness(url) as opened:
        yield opened
