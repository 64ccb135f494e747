"""Jobs done again and again."""

from datetime import timedelta

import pytest

from mcp_queue.domain.errors import BackendUnavailableError
from mcp_queue.services.periodic import PeriodicJob, running
from mcp_queue.testing import FakeClock


async def test_a_job_that_fails_is_done_again_at_its_next_time() -> None:
    """Neither an expected error nor a defect ends a job."""
    clock, done = FakeClock(), []
    errors: list[Exception] = [BackendUnavailableError(), RuntimeError("defect")]

    async def work() -> None:
        done.append(clock.monotonic())
        if errors:
            raise errors.pop(0)

    async with running([PeriodicJob("job", timedelta(seconds=10), work)], clock):
        await clock.advance(timedelta(seconds=25))

    assert [0.0, 10.0, 20.0] == done


async def test_failure_that_goes_on_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """A database that is down for hours fills no log; what fails anew, or otherwise, is said again."""
    clock = FakeClock()
    errors = [BackendUnavailableError("down")] * 3 + [
        None,
        BackendUnavailableError("down"),
        BackendUnavailableError("odd"),
    ]

    async def work() -> None:
        error = errors.pop(0) if errors else None
        if error is not None:
            raise error

    async with running([PeriodicJob("job", timedelta(seconds=1), work)], clock):
        await clock.advance(timedelta(seconds=10))

    assert ["job failed: down", "job failed: down", "job failed: odd"] == caplog.messages
