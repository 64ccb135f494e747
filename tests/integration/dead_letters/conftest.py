"""Dead letters on real backends."""

import pytest

from tests.support.sqs.localstack import LocalStack, use_localstack


@pytest.fixture
def localstack(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> LocalStack:
    """Point this process's AWS clients at the emulator."""
    return use_localstack(request.config, monkeypatch)
