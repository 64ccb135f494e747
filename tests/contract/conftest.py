"""The adapters that the contract suites run on."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.strict_harness import strict_harness
from tests.support.aws.emulators import moto_of_session, use_endpoint
from tests.support.queues.harness import QueueHarness, memory_harness, sqlite_harness, sqs_harness
from tests.support.sqs.localstack import use_localstack

HERE = Path(__file__).parent
#: Every test runs on these. LocalStack plays SQS for the whole suite, and the strict service in memory beside it.
EVERYWHERE = ["memory", "sqlite", "strict", "sqs"]
#: Seconds. The first test of a cold machine installs LocalStack.
EMULATOR_TIME = 300


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test on every backend; those marked ``second_emulator`` on moto too."""
    if "harness" not in metafunc.fixturenames or metafunc.definition.path.parent != HERE:  # the ledger has its own
        return
    second = metafunc.definition.get_closest_marker("second_emulator") is not None
    names = [*EVERYWHERE, *(["moto"] if second else [])]
    slow = pytest.mark.timeout(EMULATOR_TIME)
    metafunc.parametrize(
        "harness", [pytest.param(name, marks=[slow] if name == "sqs" else []) for name in names], indirect=True
    )


@pytest.fixture
async def harness(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[QueueHarness]:
    """One backend after the other."""
    if request.param == "sqs":
        use_localstack(request.config, monkeypatch)
    if request.param == "moto":
        use_endpoint(monkeypatch, moto_of_session(request.config).url)
    harnesses = {
        "memory": memory_harness,
        "sqlite": lambda: sqlite_harness(tmp_path),
        "strict": strict_harness,
        "sqs": sqs_harness,
        "moto": sqs_harness,
    }
    async with harnesses[request.param]() as backend:
        yield backend
