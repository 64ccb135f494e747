"""What the tests of the command line share."""

from collections.abc import AsyncIterator

import pytest

from tests.support.processes.cli import PretendedGateway, pretended_gateway


@pytest.fixture
async def gateway() -> AsyncIterator[PretendedGateway]:
    """Return a gateway that pretends."""
    async with pretended_gateway() as running:
        yield running
