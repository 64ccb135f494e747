"""LocalStack for the tests of this directory."""

from pathlib import Path

import pytest

from tests.support.sqs.localstack import LocalStack, use_localstack

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
