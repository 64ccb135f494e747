"""A gateway over queues in memory."""

import pytest

from tests.support.gateway import GatewayKit


@pytest.fixture
def kit() -> GatewayKit:
    """Return a gateway with the limits of production."""
    return GatewayKit()
