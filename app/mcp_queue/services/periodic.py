"""Runs periodic jobs beside the main work of a process."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from mcp_queue.domain.errors import QueueError
from mcp_queue.ports import Clock

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PeriodicJob:
    """Work to do every ``interval``, counted from the end of the last run."""

    name: str
    interval: timedelta
    do: Callable[[], Awaitable[None]]


@contextlib.asynccontextmanager
async def running(jobs: Sequence[PeriodicJob], clock: Clock) -> AsyncIterator[None]:
    """Run ``jobs`` while the context is open; one that fails runs again at its next time."""
    tasks = [asyncio.create_task(_repeat(job, clock), name=job.name) for job in jobs]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _repeat(job: PeriodicJob, clock: Clock) -> None:
    failure: str | None = None
    while True:
        try:
            await job.do()
            failure = None
        except QueueError as error:
            # A failure that goes on for hours is logged once.
            if str(error) != failure:
                failure = str(error)
                logger.warning("%s failed: %s", job.name, failure)
        except Exception:  # a defect of one job is logged, and ends neither it nor the others
            logger.exception("%s failed", job.name)
        await clock.sleep(job.interval.total_seconds())
