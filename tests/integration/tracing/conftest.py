"""Who takes spans, who takes callbacks, and an emulator of SQS."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.http.receiver import Receiver
from tests.support.sqs.localstack import LocalStack, use_localstack
from tests.support.traces import Collector

HERE = Path(__file__).parent
#: Seconds. The first test of a cold machine installs LocalStack.
TIMEOUT = 300


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests of this directory time for an emulator to be installed."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(TIMEOUT))


@pytest.fixture
def localstack(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> LocalStack:
    """Point this process's AWS clients at the emulator."""
    return use_localstack(request.config, monkeypatch)


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    """Run a collector."""
    async with Collector() as running:
        yield running


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Run a receiver of callbacks."""
    async with Receiver() as running:
        yield running
