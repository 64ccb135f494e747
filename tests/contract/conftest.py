"""The adapters that the contract suites run on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.queues.harness import QueueHarness, memory_harness, sqlite_harness, sqs_harness
from tests.support.sqs.localstack import use_localstack


@pytest.fixture(params=["memory", "sqlite", pytest.param("sqs", marks=pytest.mark.timeout(300))])
async def harness(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[QueueHarness]:
    """One backend after the other."""
    if request.param == "sqs":
        use_localstack(request.config, monkeypatch)
    harnesses = {"memory": memory_harness, "sqlite": lambda: sqlite_harness(tmp_path), "sqs": sqs_harness}
    async with harnesses[request.param]() as backend:
        yield backend
